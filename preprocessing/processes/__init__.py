"""The machine and its processes.

=====================  =============================================================================
``machine.py``         memory, processors and host names that the process may use
``worker_process.py``  how worker processes start: one thread, no signals
``stop_notice.py``     signals that ask a run to stop
``dask_client.py``     Dask clients: on this machine or on a running cluster
=====================  =============================================================================
"""
