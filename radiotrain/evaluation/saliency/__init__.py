"""Saliency maps of networks, and whether such a map can be believed.

=======================  ===========================================================================
``attribution.py``       Which voxels a logit rests on: integrated gradients, and occlusion to
``pictures.py``          A patient's map over the images: three slices of the tumour, for people
``saliency_maps.py``     From models and their test predictions to maps, scores and pictures
``saliency_results.py``  What is found about where networks look
``scores.py``            Maps to numbers: how much lies in the tumour, what removing the most
=======================  ===========================================================================
"""
