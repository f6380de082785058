"""Files on this machine and on object stores.

====================  ==============================================================================
``files.py``          read, list and write whole files; folders that no other user may read
``durable.py``        local writes that outlast a loss of power
``digests.py``        checksums inside files
``file_cache.py``     local copies of remote files, for as long as a patient is processed
``folder_lock.py``    one writer for each folder or file
``lock_notes.py``     the lock files, and the processes that they name
``s3_options.py``     addresses, credentials and patience of object stores
``s3_filesystem.py``  s3fs that waits for an object store
====================  ==============================================================================
"""
