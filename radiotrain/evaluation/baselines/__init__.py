"""Baseline models of a few numbers per patient, for comparison with networks.

=================  =================================================================================
``covariates.py``  Covariates as features, told apart by name: clinical ones, and those of the
``features.py``    A table of features: one row a patient, one named column a number
``models.py``      Two models of a few numbers: one straight, one that bends
``names.py``       How baselines are told from networks in a predictions table
``predict.py``     Baselines' rows of the predictions table, so that everything treats them as it
``radiomics.py``   Radiomic features of the tumour region: shape, first-order and texture, by
=================  =================================================================================
"""
