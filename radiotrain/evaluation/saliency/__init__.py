"""Saliency maps of networks, and whether such a map can be believed.

=======================  =======================================================
``attribution.py``       Integrated gradients, occlusion and randomised networks
``pictures.py``          Saliency map over three slices of the tumour
``saliency_maps.py``     Saliency maps of test patients
``saliency_results.py``  Results and conclusions about saliency maps
``scores.py``            Scores of a saliency map
=======================  =======================================================
"""
