"""Reporting checklists, filled in as far as a run can answer them.

==============  =============================================
``answers.py``  Answers to checklist items from an evaluation
``fill.py``     Checklists with their answers
==============  =============================================
"""
