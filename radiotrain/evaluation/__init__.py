"""Predictions in, numbers, plots and a report out.

====================  ============================================================================
``from_runs.py``      runs and promoted models to a predictions table; opens the sealed test set
``model.py``          a run or promoted model, as evaluation sees it
``predictions.py``    the predictions table, ours or anyone's; `table_files.py` reads its file
``patients.py``       one probability a patient from it
``evaluate.py``       the table to results: `measure.py` one run, `run_pairs.py` two
``results.py``        what is found, as frozen values
``cautions.py``       what to know before believing it
``describe_runs.py``  what the report says of the store, split and training that runs came from
``spreadsheet.py``    texts from the data that no spreadsheet takes for formulas
``statistics/``       pure functions of labels and probabilities
``baselines/``        what a network has to beat
``leaks/``            patients on both sides of the split
``shortcuts/``        whether the scanner is read instead of the tumour
``subgroups/``        whether it holds for everyone: results by age, scanner, receptors
``stability/``        whether training again gives the same: noise floor, ensembles, uncertainty
``saliency/``         where a network looks, and whether the map can be believed
``report/``           the HTML and the JSON
``compare/``          two reports beside each other
====================  ============================================================================

What judges a table (all but `from_runs.py`, `model.py`, `describe_runs.py`, `baselines/`, `leaks/`, `shortcuts/`, `saliency/`,
and where `subgroups/` reads what is known of patients and `stability/` what a run's configuration is)
imports neither torch nor the store.
"""
