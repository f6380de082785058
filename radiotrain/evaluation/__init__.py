"""Evaluate a predictions table: measures, comparisons, analyses and the report.

=======================  ==============================================================
``cautions.py``          Cautions about results
``evaluate.py``          Evaluate a predictions table
``external_results.py``  Results of a test on an external cohort
``family.py``            Family of headline results, for correction of multiple tests
``feature_probe.py``     Linear probe of a network's last features
``from_outer.py``        Predictions table of a cross-validated test
``from_runs.py``         Predictions table and analyses of trained runs
``leak_checks.py``       Leak checks: duplicates, covariates, store and table
``measure.py``           All measures of one run and target
``model.py``             Model for evaluation: a run or a promoted model
``numbers.py``           Number formats of pages, after the AMA Manual of Style
``patients.py``          One probability per patient: the unit of every metric
``predicting.py``        Predict the patients of one split with several models
``predictions.py``       Predictions table: the only input of the evaluation
``published.py``         Published results on the Duke cohort
``results.py``           Results of an evaluation, as frozen values
``run_pairs.py``         Compare the runs of one target in pairs
``tables.py``            Read tables of any common format; write spreadsheet-safe cells
``withheld.py``          Counts that are withheld so that none reveals a patient
=======================  ==============================================================

What judges a table imports neither torch nor the store. Exceptions read models or stores: the modules that
make a table (from runs, from outer parts), the model, baselines, leak checks, shortcuts, saliency maps,
covariates of subgroups, and configurations of replicates.
"""
