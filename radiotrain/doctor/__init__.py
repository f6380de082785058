"""Diagnose this machine.

==============  ===============================================
``examine.py``  Measure this machine
``facts.py``    Measurements of a machine, and findings
``judge.py``    Findings about a machine, from its measurements
``measure.py``  Single measurements, none of which raises
==============  ===============================================
"""
