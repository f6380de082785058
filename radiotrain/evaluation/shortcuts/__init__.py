"""The shortcut gate: whether a target is read from the tumour, or from how the images were made.

===================  ===========================================================================
``acquisition.py``   what is known of how images were made, and what their background shows of it
``probe.py``         what a network's last features give away beside the target
``stratified.py``    AUC from pairs of one fold or one scanner only
``find.py``          the road; ``verdict.py`` judges
``results.py``       what is found
===================  ===========================================================================
"""
