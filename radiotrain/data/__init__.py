"""Patients of a split, and the order and the batches in which they are trained on.

===================  =====================================================================
``patients.py``      who they are, what is known of them, where their voxels are kept
``covariates.py``    clinical covariates as numbers, and what refuses them
``leaky_names.py``   columns whose names say that they tell a target
``leaky_values.py``  columns whose values do
``name_words.py``    the words of a column's name
``order.py``         who is trained on when, and by which worker
``batches.py``       batches made ready while the network works
``voxels.py``        one patient's voxels as networks are given them
``placement.py``     where voxels are kept; `shared.py` one copy for all processes of a host
``few.py``           a split of a few patients
===================  =====================================================================
"""
