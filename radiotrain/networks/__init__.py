"""The networks, by the names papers use.

===============  =========================================================================
``registry.py``  name to network, built from MONAI's modules
``memory.py``    activations computed anew in the backward pass
``fusion.py``    clinical covariates beside the images
``mean.py``      several networks as one
``weights.py``   published weights as a beginning
``cost.py``      parameters and operations, without computing
===============  =========================================================================
"""
