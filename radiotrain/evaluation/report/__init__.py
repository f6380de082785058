"""The report: one HTML file without external references, and tables beside it.

======================  ============================================================================
``characteristics.py``  Table 1: what is known of the patients of each partition (CLAIM 2024, item
``conclusions.py``      One plain sentence for each result: what the test set shows, and what it
``context.py``          What a report can say beyond the predictions table
``flow_diagram.py``     The flow of patients as a diagram: cohort, exclusions, development and
``metrics_json.py``     All numbers of an evaluation as strictly valid JSON: null for what is
``model_card.py``       The model card, filled in as far as the run knows it
``page.py``             The report's pages: what their templates are given
``places.py``           Take the paths of a machine out of what a report says: a report travels
``write.py``            The report: HTML that needs nothing else, and the numbers, tables and plots
======================  ============================================================================
"""
