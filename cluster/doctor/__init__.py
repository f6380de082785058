"""Whether a cluster is fit to train on: what its nodes have, reach and say to each other.

``facts.py`` is what is measured, ``probe.py`` measures it on a node, ``examine.py`` on all, and ``judge.py``
says what is wrong and what to do.
"""
