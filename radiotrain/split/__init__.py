"""Split patients into folds and a sealed test set, and log each access to the test set.

======================  ============================================================================
``access_log.py``       The access log: each time a test set was opened, beside its split, one file
``balance.py``          Swaps after dealing, so that each target by itself is even over the parts
``extend.py``           Patients that a store got after it was split: added to the folds and to a
``outer_folds.py``      Splits of a cross-validated test: every patient is a test patient of one of
``split.py``            Who trains, who validates, who is kept for the test: patient-wise
``test_set_access.py``  The seal on the test set: nothing reads test patients without an access
======================  ============================================================================
"""
