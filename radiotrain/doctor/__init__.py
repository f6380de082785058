"""Whether a machine is fit to work on: what it has, and what to mend.

``facts.py`` is what is measured, ``measure.py`` measures one thing each, ``examine.py`` all, and ``judge.py``
says what is wrong and what to do, as ``findings.py`` has it. ``cluster.doctor`` does the same for the nodes of a cluster.
"""
