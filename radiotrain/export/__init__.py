"""Export trained models: one folder each, with everything needed for inference.

=========================  =============================================================
``card.py``                Model card of an export, and how to run each format
``crop_evaluator.py``      Command of a bundle: predict crops
``describe.py``            Describe a model: calibration, training cohort and inputs
``description.py``         ``model.json``: the description of an exported model
``load.py``                Load an exported safetensors folder
``packages.py``            Packages that each format needs
``robust_intensities.py``  Robust normalisation of a crop, inside a bundle
``to_bundle.py``           Write a MONAI bundle
``to_onnx.py``             Write ``model.onnx``: all members and their mean in one graph
``weights.py``             Read and write weights as safetensors
``write.py``               Write an export folder, whole or not at all
=========================  =============================================================
"""
