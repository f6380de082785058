"""What a network has to beat: models of a few numbers a patient, fitted without any network.

======================  ============================================================
``features.py``         a table of features; which patients may be read
``covariates.py``       clinical columns and acquisition columns, told apart by name
``size.py``             the tumour's extents and volume
``kinetics.py``         how the tumour region enhances
``radiomics.py``        IBSI features of the tumour region
``radiomics_cache.py``  the same of many patients, measured once
``models.py``           logistic regression and gradient boosting
``nested.py``           nested cross-validation on the split's own folds
``predict.py``          the predictions table
``names.py``            how they are told from networks there
======================  ============================================================
"""
