"""Statistics from labels and probabilities alone; docs/statistics.md names the oracle of each.

=========================  ==========================================================
``auc.py``                 AUC, DeLong's variance and intervals
``auc_comparison.py``      Compare two AUCs: DeLong, permutation, non-inferiority
``calibration.py``         Calibration, Brier score and log loss
``decision_curve.py``      Decision curve: net benefit
``degrees_of_freedom.py``  Satterthwaite's degrees of freedom
``influence.py``           Intervals of Brier score and average precision
``member_scale.py``        Calibrate the members of an ensemble on one scale
``operating_point.py``     Thresholds, sensitivity, specificity, paired tests of them
``pooled_auc.py``          AUC pooled over the outer folds of a cross-validated test
``power.py``               Minimum detectable AUC and difference
``recalibration.py``       Recalibration: Platt, temperature, isotonic
``resampling.py``          Bootstrap and permutation of the AUC
``stratified_auc.py``      AUC from pairs within a stratum
=========================  ==========================================================
"""
