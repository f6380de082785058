"""Whether a run does equally well in groups of patients: by age, scanner, receptors and others.

====================  ============================================================================
``facts.py``          what is known of patients, from a table of anyone's
``from_store.py``     the same from a store
``variables.py``      which of it is looked at
``cuts.py``           groups from one covariate: fixed cuts, tertiles of development patients, texts
``measure.py``        the numbers of one group
``heterogeneity.py``  whether the AUCs of groups differ by more than chance
``find.py``           all groups of all runs, corrected for how many were looked at
``verdict.py``        what to make of it, in words
``results.py``        what is found, as frozen values; small counts are hidden here
``forest.py``         the plot
====================  ============================================================================
"""
