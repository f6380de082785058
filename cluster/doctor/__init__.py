"""Whether a cluster is fit to train on: what its nodes have, reach and say to each other.

``facts.py`` is what is measured, ``probe.py`` measures it on a node, ``examine.py`` on all, and ``judge.py``
says what is wrong and what to do. ``exchange.py`` and ``start.py`` are programs of their own: two nodes that
add up a tensor, and a Ray that is tried.
"""
