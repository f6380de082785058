"""Networks by the names papers use, and modules around them.

=================  ==============================================
``cost.py``        Parameters, operations and memory of a network
``ensemble.py``    Ensemble: mean probability of several networks
``fusion.py``      Late fusion of images and clinical covariates
``pretrained.py``  Load published weights
``registry.py``    Networks by name, built from MONAI's modules
=================  ==============================================
"""
