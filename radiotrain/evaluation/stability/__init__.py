"""Reproducibility across seeds and folds, ensembles, and uncertainty of single patients.

========================  ==========================================================================
``replicates.py``         Replicates of a predictions table, and the ensemble of each configuration
``spread.py``             How far the trainings of a configuration lie apart, and what that makes
``stability.py``          Everything about the noise of one evaluation
``stability_results.py``  What seeds, folds and single patients tell of a result's noise, as frozen
``uncertainty.py``        How sure a run is of each test patient
========================  ==========================================================================
"""
