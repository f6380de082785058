"""Where a network looks, and whether a map of it can be believed.

====================  ============================================================================
``explained.py``      the function that is explained: a model's mean logit of one target
``attribution.py``    integrated gradients, and occlusion to check them by
``randomise.py``      the same networks with weights drawn anew
``scores.py``         maps to numbers: inside the tumour, deletion, likeness
``choose.py``         which patients are looked at
``find.py``           the road; ``pictures.py`` draws, ``verdict.py`` judges
``results.py``        what is found
====================  ============================================================================
"""
