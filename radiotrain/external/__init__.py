"""Test trained models on another cohort: ``radiotrain evaluate MODEL… --external STORE``.

=========================  =========================================================================
``access.py``              The access log of an external cohort: how often it was tested, with
``case_mix.py``            How the patients of an external cohort differ from the training cohort's
``cohort.py``              The store of another cohort, as models of fewer phases read it
``external_baselines.py``  Baselines of both cohorts: fitted to the training cohort and tested
``external_models.py``     Runs, promoted models and exports as they are tested on another cohort
``external_test.py``       From trained models and the store of another cohort to predictions and
``inputs_match.py``        Whether a cohort's images are made as the networks were trained on; pure
``transport.py``           What becomes of the AUC and of thresholds from validation patients on
=========================  =========================================================================

Nothing chooses by the labels of the other cohort: thresholds come from validation patients of the training
cohort, and what is fitted to its labels is cross-fitted and named.
"""
