"""Run folders: what a run leaves on disk, and what is read back from it.

=====================  ================================================================
``checked_files.py``   JSON and Parquet files with checksums
``checkpoint.py``      Checkpoints of a training
``early_stopping.py``  Early stopping of a run: which epoch is kept, when a run ends
``epoch_metrics.py``   Metrics of an epoch, and ``metrics.jsonl``
``locations.py``       Locations of a run's store and split, also after a move
``predict_run.py``     Predict patients with a trained run; test-time augmentation
``promoted.py``        ``promoted.json``: a model made of a sweep's best trial
``provenance.py``      ``inputs.json``: origin of a run's images, and software versions
``run_folder.py``      Run folder: all files of a run
=====================  ================================================================
"""
