"""Acquisition shortcuts: whether a target is read from the tumour or from the scanner.

=======================  =================================================================
``acquisition.py``       Acquisition parameters and background intensities of patients
``folds.py``             Folds of one scanner each
``left_out.py``          AUC on scanners that were left out of the training
``shortcut_gate.py``     Shortcut gate: test whether a target is read from the acquisition
``shortcut_results.py``  Results and conclusions of the shortcut gate
=======================  =================================================================
"""
