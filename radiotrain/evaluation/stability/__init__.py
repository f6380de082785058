"""Reproducibility across seeds and folds, ensembles, and uncertainty of single patients.

========================  ========================================================
``replicates.py``         Replicates of a configuration, and their ensemble
``spread.py``             Variance across seeds and folds
``stability.py``          All reproducibility analyses of one evaluation
``stability_results.py``  Results on reproducibility and uncertainty
``uncertainty.py``        Uncertainty of single patients, and selective prediction
========================  ========================================================
"""
