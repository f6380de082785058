"""Test trained models on another cohort: ``radiotrain evaluate MODEL… --external STORE``.

=========================  =============================================================
``access.py``              Access log of an external cohort
``case_mix.py``            Case mix and sites of an external cohort
``cohort.py``              External store: phases, overlapping patients and target names
``external_baselines.py``  Baselines on an external cohort
``external_models.py``     Models as they are tested on an external cohort
``external_test.py``       Run the external test
``inputs_match.py``        Compare the images of a cohort with those of the training
``transport.py``           Transport of AUC, thresholds and calibration
=========================  =============================================================

Nothing chooses by the labels of the other cohort: thresholds come from validation patients of the training
cohort, and what is fitted to its labels is cross-fitted and named.
"""
