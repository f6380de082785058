"""Predictions in, numbers, plots and a report out.

========================  ==========================================================================
``from_runs.py``          runs and promoted models to a predictions table; opens the sealed test set
``from_outer.py``         the same of all outer parts of a cross-validated test
``predicting.py``         predictions of models on one split, and baseline models beside them
``model.py``              a run or promoted model, as evaluation sees it
``predictions.py``        the predictions table, ours or anyone's; `table_files.py` reads its file
``patients.py``           one probability a patient from it
``evaluate.py``           the table to results: `measure.py` one run, `run_pairs.py` two
``measure_outer.py``      what differs where a run was tested in outer parts
``ranking.py``            AUC and its differences, over all patients or within outer parts
``choose_pairs.py``       which runs are compared with each other
``family.py``             which headlines are corrected together, and which results are primary
``results.py``            what is found, as frozen values
``cautions.py``           what to know before believing it
``validation_gap.py``     whether validation AUCs are higher than test AUCs
``threshold_caution.py``  thresholds of single networks used on means
``describe_runs.py``      what the report says of the store, split and training that runs came from
``withheld.py``           which counts of patients are not shown
``spreadsheet.py``        texts from the data that no spreadsheet takes for formulas
``statistics/``           pure functions of labels and probabilities
``baselines/``            what a network has to beat
``leaks/``                patients on both sides of the split
``external/``             tests on another cohort
``shortcuts/``            whether the scanner is read instead of the tumour
``subgroups/``            whether it holds for everyone: results by age, scanner, receptors
``stability/``            whether training again gives the same: noise floor, ensembles, uncertainty
``saliency/``             where a network looks, and whether the map can be believed
``report/``               the HTML and the JSON
``compare/``              two reports beside each other
========================  ==========================================================================

What judges a table (all but `from_runs.py`, `model.py`, `describe_runs.py`, `baselines/`, `leaks/`, `shortcuts/`, `saliency/`,
and where `subgroups/` reads what is known of patients and `stability/` what a run's configuration is)
imports neither torch nor the store.
"""
