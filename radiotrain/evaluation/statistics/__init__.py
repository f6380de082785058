"""Numbers from labels and probabilities, and nothing else; docs/statistics.md names the witness of each.

=========================  =====================================================================
``auc.py``                 AUC and its variance after DeLong
``bootstrap.py``           intervals by resampling, many resamples at a time
``comparison.py``          whether two models differ
``paired_permutation.py``  the differences that chance gives
``permutation.py``         the AUC that chance gives
``power.py``               what a test set can show
``operating_point.py``     thresholds from validation, and what they do on the test set
``calibration.py``         whether probabilities mean what they say
``recalibration.py``       probabilities put right by validation patients: one temperature, or a step
``platt.py``               the same by a logistic curve, which `predict` and exports use
``decision_curve.py``      net benefit
=========================  =====================================================================
"""
