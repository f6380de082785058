"""Plots of the report: SVG for the page, PDF and PNG for a manuscript.

===================  ===================================================================
``forest.py``        Forest plot of subgroups
``plot.py``          Common plot code, and the ROC plot
``result_plots.py``  Calibration, decision curve, selective prediction and summary plots
===================  ===================================================================
"""
