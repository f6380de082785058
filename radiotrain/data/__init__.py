"""Patients of a split, and the order and the batches in which they are trained on."""
