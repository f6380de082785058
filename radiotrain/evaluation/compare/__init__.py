"""Two reports beside each other: which of their runs is better, and what was done differently.

====================  ============================================================================
``report_folder.py``  a report, as another command reads it
``pairs.py``          each run of the one with each of the other, corrected for how many
``calls.py``          how sensitivity and specificity differ
``proportions.py``    intervals of the difference of two shares
``margin.py``         whether A is non-inferior to B
``settings.py``       which settings differ
``cautions.py``       what to know before believing it
``verdict.py``        what to make of it, in words
``results.py``        what is found, as frozen values
``write.py``          the page and the JSON
====================  ============================================================================
"""
