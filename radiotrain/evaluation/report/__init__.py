"""The report: one HTML file without external references, and tables beside it.

======================  ==============================================================
``characteristics.py``  Table 1 (CLAIM 2024, item 36), and counts of failures by group
``conclusions.py``      One sentence per result: what the test set shows
``context.py``          Context of a report beyond the predictions table
``flow_diagram.py``     Flow diagram of patients
``metrics_json.py``     Write ``metrics.json``; undefined values are null
``model_card.py``       Model card
``page.py``             Report pages: values for the templates
``places.py``           Remove paths of the machine from a report
``write.py``            Write the report folder
======================  ==============================================================
"""
