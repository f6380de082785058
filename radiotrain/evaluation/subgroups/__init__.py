"""Subgroups: whether a run does equally well by age, scanner, receptors and other covariates.

=======================  ==========================================================
``covariates.py``        Read covariates of patients from a table
``subgroup_results.py``  Results in subgroups, with small counts withheld
``subgroup_tests.py``    Measure and test all subgroups, corrected for their number
``variables.py``         Subgroup variables and their cut points
=======================  ==========================================================
"""
