"""Baseline models of a few numbers per patient, for comparison with networks.

=================  =========================================================
``covariates.py``  Covariates as features: clinical and acquisition
``features.py``    Feature table: size and kinetics of the tumour region
``models.py``      Baseline models and their nested cross-validation
``names.py``       Names of baselines in a predictions table
``predict.py``     Fit baselines and add their rows to the predictions table
``radiomics.py``   IBSI radiomic features of the tumour region, cached
=================  =========================================================
"""
