"""Evaluate a predictions table: measures, comparisons, analyses and the report.

=======================  ===========================================================================
``cautions.py``          What a careful reader should know before believing a result
``evaluate.py``          A predictions table in, frozen results and comparisons of runs out
``external_results.py``  What an external test finds, as frozen values that the report and the JSON
``family.py``            The family of the headlines: which results are tested together, and which
``feature_probe.py``     What a network's last features give away beside the target: a linear probe
``from_outer.py``        From models of all outer parts of a cross-validated test to one
``from_runs.py``         From trained runs, and models promoted from sweeps, to a predictions table
``leak_checks.py``       What the search for leaks finds
``measure.py``           All numbers of one run and target, from its test and validation patients
``model.py``             A run, or a model promoted from a sweep, as evaluation sees it
``numbers.py``           How pages write numbers: after the AMA Manual of Style, and "to" between
``patients.py``          One probability for each patient of a split: the unit that every metric
``predicting.py``        Predictions of models on one split, and what to know of the models before
``predictions.py``       The predictions table: the only input of the evaluation, whatever model
``published.py``         What others have published on a cohort, to stand beside our rows of the
``results.py``           What an evaluation finds: frozen values that the report, the JSON and the
``run_pairs.py``         Each two runs of a target beside each other, corrected for how many there
``tables.py``            Tables that anyone may bring: text with any usual separator, an Excel
``withheld.py``          Which counts of patients are withheld, so that subtraction does not give a
=======================  ===========================================================================

What judges a table imports neither torch nor the store. Exceptions read models or stores: the modules that
make a table (from runs, from outer parts), the model, baselines, leak checks, shortcuts, saliency maps,
covariates of subgroups, and configurations of replicates.
"""
