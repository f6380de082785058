"""Testing trained models on another cohort: ``radiotrain evaluate MODEL… --external STORE``.

======================  ============================================================================
``evaluate.py``         the whole of it: from models and a store to predictions and report
``models.py``           runs, promoted models and exports, as they are tested here
``cohort.py``           the store of the other cohort, with its phases and labels mapped
``targets.py``          which of its labels is which target
``inputs_match.py``     whether its images are made as the networks were trained on
``overlap.py``          patients of the training cohort in it
``access.py``           its access log
``baselines.py``        baselines fitted to the training cohort, and what predicts the target in this one
``transport.py``        AUC and thresholds on validation and on this cohort
``recalibration.py``    calibration before and after recalibration in the large
``case_mix.py``         how its patients differ from the training cohort's
``sites.py``            results by site
``results.py``          what is found
======================  ============================================================================

Nothing chooses by the labels of the other cohort: thresholds come from validation patients of the training
cohort, and what is fitted to its labels is cross-fitted and named.
"""
