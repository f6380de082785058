"""Patients of a split, their voxels, covariates and augmentation, and the batches of an epoch.

====================  ==============================================================================
``augmentation.py``   Random changes of a batch on its device: drawn for the whole batch, applied
``batches.py``        Batches one after the other, the next ones made ready while the network works
``covariates.py``     Clinical covariates as numbers: learnt from training patients alone, missing
``leaky_columns.py``  Which columns tell what is to be predicted, by their names: receptors
``patients.py``       Patients of a split: who they are, what is known of them, and where their
``sampler.py``        The order in which patients are trained on, and how a global batch is shared
``storage.py``        Where patients are kept while a network trains: a decision on sizes, made
``to_device.py``      Small tensors of a batch brought to a device together
====================  ==============================================================================
"""
