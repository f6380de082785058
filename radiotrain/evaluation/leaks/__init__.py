"""Whether the test set says what it seems to: one examination on both sides, one patient twice.

====================  ============================================================================
``in_store.py``       what is looked for in a store and its split, each time the test set is opened
``in_covariates.py``  covariates of networks that tell a target
``in_table.py``       what shows in a predictions table alone, whatever model made it
``duplicates.py``     one examination under two ids, found by its crop
``results.py``        what is found
====================  ============================================================================
"""
