"""Plots of the report: SVG for the page, PDF and PNG for a manuscript.

===================  ===============================================================================
``forest.py``        The forest plot: the AUC of each group with its interval, variables below each
``plot.py``          What all plots share, and the ROC plot: SVG for the page; PDF and PNG for a
``result_plots.py``  Calibration plots and decision curves
===================  ===============================================================================
"""
