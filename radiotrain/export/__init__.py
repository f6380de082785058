"""Trained models that travel: a folder each, with all that is needed to predict and no pickle in it."""
