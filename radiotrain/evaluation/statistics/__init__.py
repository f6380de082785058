"""Numbers from labels and probabilities, and nothing else; docs/statistics.md names the witness of each.

=========================  ==========================================================================
``auc.py``                 AUC and its variance after DeLong
``auc_interval.py``        its interval that tables show first
``pooled_auc.py``          AUCs over pairs within outer parts, and their differences
``influence.py``           intervals of Brier score and average precision, for either sampling
``bootstrap.py``           the AUC's interval by resampling, many resamples at a time
``comparison.py``          whether the AUCs of two models differ
``noninferiority.py``      whether an AUC is lower than another by less than a margin
``satterthwaite.py``       degrees of freedom of a sum of estimated variances
``paired_calls.py``        whether two models differ in sensitivity or specificity
``paired_permutation.py``  the differences that chance gives
``large_samples.py``       permutations of many patients by their normal limit
``permutation.py``         the AUC that chance gives
``power.py``               what a test set can show
``operating_point.py``     thresholds from validation, and what they do on the test set
``predictive_values.py``   PPV and NPV at other prevalences
``calibration.py``         whether probabilities mean what they say
``smooth_calibration.py``  calibration as a curve, observed to expected events, scaled Brier score
``recalibration.py``       probabilities put right by validation patients: one temperature, or a step
``platt.py``               the same by a logistic curve, which `predict` and exports use
``member_scale.py``        members of an ensemble, each calibrated before the mean
``deployed.py``            how good test probabilities are as `predict` gives them
``decision_curve.py``      net benefit
=========================  ==========================================================================
"""
