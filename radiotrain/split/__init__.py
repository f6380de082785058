"""Split patients into folds and a sealed test set, and log each access to the test set.

======================  =========================================================
``access_log.py``       Access log of a test set
``balance.py``          Balance the targets of a split by swaps of patients
``extend.py``           Extend a split by new patients
``outer_folds.py``      Outer folds of a cross-validated test
``split.py``            Split: patient-wise, stratified, sealed, stored as JSON
``test_set_access.py``  Open the sealed test set, with a record in the access log
======================  =========================================================
"""
