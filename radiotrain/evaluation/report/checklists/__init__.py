"""Reporting checklists, filled in as far as a run can answer them.

==============  ====================================================================================
``answers.py``  What an evaluation and its context can answer of a checklist, by key; nothing is
``fill.py``     The checklists with their answers, for the report and as a table
==============  ====================================================================================
"""
