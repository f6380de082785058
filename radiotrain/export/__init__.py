"""Export trained models: one folder each, with everything needed for inference.

=========================  =========================================================================
``card.py``                The model card of an export: that of the report, as far as no test
``crop_evaluator.py``      Runs a bundle's network on crops and writes their probabilities
``describe.py``            From a model, its store and its split to what ``model.json`` says
``description.py``         ``model.json``: what an exported model is, what it reads, what its
``load.py``                An exported safetensors folder, read back into networks that predict
``packages.py``            What must be installed for a format
``robust_intensities.py``  A crop's voxels as a network is given them that was trained with
``to_bundle.py``           A MONAI bundle, whose configuration MONAI's own workflow runs
``to_onnx.py``             ``model.onnx``: all members and their mean in one graph
``weights.py``             Weights as safetensors: tensors by name, and nothing that could run
``write.py``               From a trained model to its folder, whole or not at all
=========================  =========================================================================
"""
