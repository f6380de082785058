"""Run folders: what a run leaves on disk, and what is read back from it.

=====================  =============================================================================
``checked_files.py``   JSON files with a schema version and a checksum, read back whole or refused
``checkpoint.py``      Checkpoints: all that is needed to go on, whole or not at all, the last two
``early_stopping.py``  Which epoch is kept and when to stop: pure decisions on the history of
``epoch_metrics.py``   What is measured in an epoch, and how it is said
``locations.py``       Where a run's store and split are: where it was trained with them, or where
``predict_run.py``     Probabilities of patients from a trained run, in the table that evaluation
``promoted.py``        A model made of a sweep's best trial: what it is, in ``promoted.json`` of
``provenance.py``      How a run's images were made and how its training patients were imaged
``run_folder.py``      The run folder: everything a run leaves behind, on a folder or an object
=====================  =============================================================================
"""
