"""Programs that print a table of ratios; ``python -m benchmarks.NAME``. Not tests.

====================  =======================================================================
``preprocessing.py``  preprocessing, against its floor and against what one would use instead
``augmentation.py``   changes of training images, against torch and MONAI
``networks.py``       training steps, against MONAI's networks
``training.py``       the loop, against the same step without data
``scaling.py``        steps of one, two and four workers
``ray_overhead.py``   what Ray Train adds
``sweep_startup.py``  what starting a trial takes
``stopping.py``       what early stopping would have saved and cost
``evaluation.py``     the statistics of one test set
``code_size.py``      files, lines, cycles and documentation, counted
``coverage.py``       how often intervals hold the truth
``inference.py``      error rates and power of whole reports
``large_table.py``    20,000 patients or 100 runs
``new_patient.py``    one new patient, from files to page
``inputs.py``         broken voxels and padding
``splits.py``         how evenly targets are dealt
``object_store.py``   requests of an object store for each patient
====================  =======================================================================
"""
