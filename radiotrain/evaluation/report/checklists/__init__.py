"""Reporting checklists, filled in as far as a run can answer them.

====================  =====================================================================
``*.yaml``            items in our own words, each with the key of its answer
``answers.py``        what this evaluation knows, by key
``of_models.py``      the same about networks and their data
``fill.py``           the two put together, and ``checklists.csv``
====================  =====================================================================
"""
