"""Acquisition shortcuts: whether a target is read from the tumour or from the scanner.

=======================  ===========================================================================
``acquisition.py``       What is known of how a patient's images were made, and what their
``folds.py``             Folds of one scanner each, so that every network is trained without one
``left_out.py``          What models are worth on a scanner that they were not fitted on
``shortcut_gate.py``     The shortcut gate: whether a target is read from the tumour, or from how
``shortcut_results.py``  What the shortcut gate finds
=======================  ===========================================================================
"""
