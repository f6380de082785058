"""How much of a result is chance of training: replicates, ensembles, uncertainty of patients.

======================  ==========================================================================
``configurations.py``   which runs are one configuration trained again
``replicates.py``       replicates of a table, and the ensemble of each configuration
``variance.py``         how much seeds and folds move a number
``spread.py``           that of the AUC, and beside each comparison of two runs
``uncertainty.py``      how sure a run is of each patient
``selective.py``        what is gained where the least sure patients are left to someone else
``find.py``             all of these, of one evaluation
``results.py``          what is found, as frozen values
``plots.py``            the curve of selective prediction
======================  ==========================================================================
"""
