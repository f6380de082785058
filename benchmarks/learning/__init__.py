"""How networks learn on few patients, by simulations whose truth is known.

=================  =====================================================================
``__main__.py``    runs one of them by its name: ``python -m benchmarks.learning epochs``
``epochs.py``      which epoch is kept, judged by the AUC on thousands of new patients
``ensembles.py``   members of an ensemble on one scale
``covariates.py``  clinical covariates beside a network
=================  =====================================================================
"""
