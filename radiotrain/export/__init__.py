"""Trained models that travel: a folder each, with all that is needed to predict and no pickle in it.

=====================  ============================================================================
``write.py``           from a trained model to its folder; `new_folder.py` keeps it whole or not
                       there at all, `packages.py` asks for what a format needs
``describe.py``        from a model, its store and its split to ``model.json``
``description.py``     what ``model.json`` holds; `meaning.py` what probabilities mean,
                       `cohort_ranges.py` whom it was trained on
``card.py``            the model card; `how_to_run.py` its part on running each format
``weights.py``         safetensors
``load.py``            a safetensors folder, read back
``to_bundle.py``       a MONAI bundle; `crop_evaluator.py` travels with it, and so may
                       `robust_intensities.py`, which is in model cards too
``to_onnx.py``         one graph for onnxruntime
=====================  ============================================================================
"""
