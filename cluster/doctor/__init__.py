"""Diagnose a Ray cluster: its nodes, its network, its storage.

===============  ===================================================================================
``examine.py``   All nodes looked at, one by one and two by two
``exchange.py``  One of two processes that add up a tensor: ``python -m cluster.doctor.exchange
``facts.py``     What is measured of a cluster
``judge.py``     What is wrong with a cluster, and what to do: from what was measured alone
``start.py``     Whether a Ray starts on this machine: ``python -m cluster.doctor.start`` prints
===============  ===================================================================================
"""
