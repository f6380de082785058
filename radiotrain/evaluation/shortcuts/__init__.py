"""The shortcut gate: whether a target is read from the tumour, or from how the images were made.

===================  ===========================================================================
``acquisition.py``   what is known of how images were made, and what their background shows of it
``probe.py``         what a network's last features give away beside the target
``stratified.py``    AUC from pairs of one fold or one scanner only
``left_out.py``      what models are worth on a scanner that they were not fitted on
``folds.py``         a split with a scanner in each fold, to train networks for it
``find.py``          the road; ``verdict.py`` judges
``results.py``       what is found
===================  ===========================================================================
"""
