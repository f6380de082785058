"""Patients of a split, their voxels, covariates and augmentation, and the batches of an epoch.

====================  =============================================================
``augmentation.py``   Augmentation of a batch on its device
``batches.py``        Batches, the next ones prepared while the network works
``covariates.py``     Encode clinical covariates as numbers, from training patients
``leaky_columns.py``  Refuse covariates that reveal the target, by name or by value
``patients.py``       Patients of a split: ids, labels, covariates and voxels
``sampler.py``        Order of patients in an epoch, and each worker's share
``storage.py``        Voxels in memory: device, shared memory or streamed
``to_device.py``      Copy the small tensors of a batch to the device together
====================  =============================================================
"""
