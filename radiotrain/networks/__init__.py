"""Networks by the names papers use, and modules around them.

=================  =================================================================================
``cost.py``        What a network costs, found without computing anything: on torch's meta device
``ensemble.py``    Several networks as one, whose probability is the mean of theirs, each
``fusion.py``      Late fusion: clinical covariates beside the images
``pretrained.py``  Published weights as a beginning: MedicalNet's, or any state dict of the same
``registry.py``    The networks, by the names papers use, built from MONAI's modules
=================  =================================================================================
"""
