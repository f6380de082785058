"""Diagnose this machine.

==============  ==========================================================================
``examine.py``  The machine looked at, one thing after the other
``facts.py``    What is measured of a machine
``judge.py``    What is wrong with a machine, and what to do: from what was measured alone
``measure.py``  One measurement a function; none of them raises for what it finds
==============  ==========================================================================
"""
