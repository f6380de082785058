"""The report: one HTML file that needs nothing else, and the numbers beside it.

========================  ======================================================================
``context.py``            what it can say beyond the predictions table
``facts.py``              what is known of the networks and the data, as plain values
``verdict.py``            one plain sentence for each result
``page.py``               what its templates are given; ``pages.py`` which page shows what
``overview.py``           the figure of the summary
``characteristics.py``    table 1: patients by partition
``failures.py``           false negatives and false positives by group
``numbers.py``            how numbers are written; ``places.py`` places without a machine's paths
``plots.py``              ROC plots; ``result_plots.py`` those of one result, ``probability_plots.py``
                          calibration and decision curves, ``flow_diagram.py`` the flow of patients
``sentences.py``          networks and images in words, for the card and the checklists
``model_card.py``         the model card
``checklists/``           CLAIM 2024, TRIPOD+AI, METRICS
``published.py``          what others have published on the same cohort
``metrics_json.py``       all numbers as JSON
``write.py``              writes all of it; ``claim.py`` keeps its folder to one writer and one subject
========================  ======================================================================
"""
