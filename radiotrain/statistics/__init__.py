"""Statistics from labels and probabilities alone; docs/statistics.md names the oracle of each.

=========================  =========================================================================
``auc.py``                 Area under the ROC curve, and its variance after DeLong
``auc_comparison.py``      Whether the AUCs of two models differ, on the same patients or on
``calibration.py``         Whether probabilities mean what they say: intercept, slope, bins, Brier
``decision_curve.py``      Net benefit: what calling patients by a model is worth against calling
``degrees_of_freedom.py``  The degrees of freedom of a variance that is the sum of several
``influence.py``           Intervals of the Brier score and of average precision, for each of two
``member_scale.py``        Members of an ensemble on one scale: each calibrated on its own
``operating_point.py``     Thresholds chosen on validation, and what they do on the test set
``pooled_auc.py``          AUC of a cross-validated test: pairs of patients of one outer part only
``power.py``               What a test set of a given size can show, before or after it is opened
``recalibration.py``       Probabilities put right by validation patients: Platt's logistic curve
``resampling.py``          Stratified bootstrap of the AUC and the ROC curve, many resamples at a
``stratified_auc.py``      AUC from pairs within the same stratum only: a fold, a scanner, or both
=========================  =========================================================================
"""
