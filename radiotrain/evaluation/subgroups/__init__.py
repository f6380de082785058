"""Subgroups: whether a run does equally well by age, scanner, receptors and other covariates.

=======================  ===========================================================================
``covariates.py``        What is known of patients beyond their images: from a table of anyone's
``subgroup_results.py``  What is found in groups of patients, as frozen values; small counts never
``subgroup_tests.py``    All groups of all runs and targets, tested, and corrected for how many
``variables.py``         Which variables a report looks at, in which order, and how each makes
=======================  ===========================================================================
"""
