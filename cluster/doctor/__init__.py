"""Diagnose a Ray cluster: its nodes, its network, its storage.

===============  ==========================================================
``examine.py``   Measure all nodes of a cluster, each alone and in pairs
``exchange.py``  One of two processes that add up a tensor over the network
``facts.py``     Measurements of a cluster
``judge.py``     Findings about a cluster, from its measurements
``start.py``     Try whether Ray starts on this machine
===============  ==========================================================
"""
