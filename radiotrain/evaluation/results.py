"""Results of an evaluation, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from radiotrain.evaluation.leak_checks import LeakCheck
from radiotrain.statistics.auc import Interval
from radiotrain.statistics.calibration import Bin, CalibrationCurve
from radiotrain.statistics.decision_curve import NetBenefit
from radiotrain.statistics.influence import Sampling
from radiotrain.statistics.operating_point import (
    Confusion,
    EqualRate,
    OperatingPoint,
    PredictiveValues,
)
from radiotrain.statistics.recalibration import Deployed, Recalibration

CONFIDENCE = 0.95

ALPHA = 0.05
"""Two-sided level of all tests."""

ASSUMED_CORRELATION = 0.5
"""Of the AUCs of two models on the same patients, before both are known."""


Claim = Literal["primary", "corrected", "exploratory", "none"]


@dataclass(frozen=True)
class OuterResult:
    """One outer part of a cross-validated test by itself.

    Parameters
    ----------
    number
        ``outer`` in the predictions table.
    num_patients, num_positive, num_validation
        Patients with a known label.
    auc, auc_ci95
        After DeLong; None where they are not defined.
    threshold
        Youden's, chosen on the part's validation patients; None where there is none.
    """

    number: int
    num_patients: int
    num_positive: int
    num_validation: int
    auc: float | None = None
    auc_ci95: Interval | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class TargetResult:
    """How well one run reads one target, on its test patients.

    A value that is not defined is None, and `reasons` says why under the value's name.

    Parameters
    ----------
    num_patients, num_positive
        Test patients with a known label, and those with label 1.
    num_missing_label
        Test patients left out because their label is missing.
    num_predictions
        Most predictions averaged for a test patient: the number of folds in the ensemble.
    num_validation, num_validation_positive
        Validation patients with a known label, pooled over folds.
    sampling
        Which of the two intervals of `auc_pr` and `brier` is shown.
    auc_ci95
        The score interval, which tables show first. DeLong's plain one stands beside it because
        published ones are DeLong's.
    prevalence
        Share of positives, which is also the PR-AUC of chance.
    permutation_p, permutation_range95
        Of the AUC against permuted labels: p, and the middle 95 % of their AUCs.
    claim
        What the headline may say: ``primary`` (named beforehand), ``corrected`` (one of the family of
        all headlines), ``exploratory`` (not among the results named as primary, or these were named
        too late), ``none`` (no headline: a baseline model, or one of an ensemble's members).
    permutation_p_holm
        p corrected for the family of the headlines; see `family.Family`.
    detectable_auc
        Least AUC that this many patients tell apart from 0.5 with 80 % power.
    detectable_auc_corrected
        The same at the level that is left of 5 % after the correction for the family.
    detectable_difference
        Least gain over this AUC, of a model whose AUC correlates with it by
        `ASSUMED_CORRELATION`, that these patients show with 80 % power.
    auc_pr, brier, log_loss, ece
        Average precision; mean squared distance; nats; mean distance of promised and found share.
    calibration_intercept, calibration_slope
        0 and 1 where probabilities mean what they say.
    observed_to_expected, scaled_brier
        Number of positives over the sum of probabilities; Brier score as a share of the prevalence's.
    calibration_curve
        The smooth curve, with the mean and the 90th percentile of its distance from the diagonal.
    predictive_values
        PPV and NPV of the first operating point at other prevalences.
    reliability
        The bins of the calibration plot.
    deployed
        Calibration of the probabilities that ``radiotrain predict`` shows: after Platt's curve of
        validation.
    recalibrations
        As predicted, and after temperature and isotonic scaling fitted on validation.
    net_benefits
        The decision curve at some thresholds.
    auc_validation
        Over all validation patients, pooled over folds.
    num_validation_folds, num_validation_folds_defined
        Folds with a known label among their validation patients, and those with both classes.
    auc_validation_mean_of_folds
        Mean of the AUCs of the latter. Pooled folds mix networks, whose levels of probability
        differ: the AUC over them may lie far lower (Forman and Scholz 2010).
    threshold
        Youden's, chosen on the validation patients; a probability at or above it is called
        positive. It and the values after it are those of the first operating point.
    operating_points
        What all thresholds chosen on validation do on the test patients.
    threshold_caution
        Why a threshold from validation may not keep its sensitivity on test patients; often empty.
    outer
        Of a cross-validated test, each outer part by itself; then the AUC is of pairs within a part.
    reasons
        Name of an undefined value to one clause for a person.
    """

    run: str
    target: str
    num_patients: int
    num_positive: int
    num_missing_label: int
    num_predictions: int
    num_validation: int
    num_validation_positive: int
    sampling: Sampling = "population"
    prevalence: float | None = None
    auc: float | None = None
    auc_ci95: Interval | None = None
    auc_ci95_delong: Interval | None = None
    auc_ci95_bootstrap: Interval | None = None
    permutation_p: float | None = None
    permutation_range95: Interval | None = None
    claim: Claim = "none"
    permutation_p_holm: float | None = None
    detectable_auc: float | None = None
    detectable_auc_corrected: float | None = None
    detectable_difference: float | None = None
    auc_pr: float | None = None
    auc_pr_ci95_population: Interval | None = None
    auc_pr_ci95_within_classes: Interval | None = None
    brier: float | None = None
    brier_ci95_population: Interval | None = None
    brier_ci95_within_classes: Interval | None = None
    log_loss: float | None = None
    ece: float | None = None
    calibration_intercept: float | None = None
    calibration_intercept_ci95: Interval | None = None
    calibration_slope: float | None = None
    calibration_slope_ci95: Interval | None = None
    observed_to_expected: float | None = None
    observed_to_expected_ci95: Interval | None = None
    scaled_brier: float | None = None
    calibration_curve: CalibrationCurve = field(default_factory=CalibrationCurve)
    predictive_values: tuple[PredictiveValues, ...] = ()
    reliability: tuple[Bin, ...] = ()
    deployed: Deployed = field(default_factory=Deployed)
    recalibrations: tuple[Recalibration, ...] = ()
    net_benefits: tuple[NetBenefit, ...] = ()
    auc_validation: float | None = None
    num_validation_folds: int = 0
    num_validation_folds_defined: int = 0
    auc_validation_mean_of_folds: float | None = None
    threshold: float | None = None
    threshold_source: str | None = None
    sensitivity: float | None = None
    sensitivity_ci95: Interval | None = None
    specificity: float | None = None
    specificity_ci95: Interval | None = None
    confusion: Confusion | None = None
    operating_points: tuple[OperatingPoint, ...] = ()
    threshold_caution: str = ""
    outer: tuple[OuterResult, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def auc_pr_ci95(self) -> Interval | None:
        """The interval of average precision that answers the question of `sampling`."""
        if self.sampling == "population":
            return self.auc_pr_ci95_population
        return self.auc_pr_ci95_within_classes

    @property
    def brier_ci95(self) -> Interval | None:
        """The interval of the Brier score that answers the question of `sampling`."""
        if self.sampling == "population":
            return self.brier_ci95_population
        return self.brier_ci95_within_classes

    @property
    def auc_half_width(self) -> float | None:
        """Half the width of the AUC's interval, or None where there is none."""
        interval = self.auc_ci95
        return None if interval is None else (interval[1] - interval[0]) / 2


@dataclass(frozen=True)
class Comparison:
    """Two runs that read one target: the AUC of `run` less that of `other`.

    A value that is not defined is None, and `reasons` says why under the value's name.

    Parameters
    ----------
    design
        ``paired`` where both were tested on the same patients, ``unpaired`` where on different
        ones; None where on some of the same, which cannot be compared.
    difference, standard_error, difference_ci95_delong, p
        After DeLong, with the covariance where paired, and Satterthwaite's degrees of freedom; p is
        two-sided.
    null_range95
        The middle 95 % of differences where the two runs are swapped within patients at random.
    p_holm
        p corrected for all comparisons of the evaluation.
    correlation
        Of the two AUCs over test sets.
    detectable_difference
        Least difference that these patients show with 80 % power, at this correlation.
    positives_only_run, positives_only_other, negatives_only_run, negatives_only_other
        Patients of a class that one run alone classifies correctly, each run at its own threshold
        from validation.
    sensitivity_p, specificity_p
        McNemar's exact p within the positives, within the negatives. They compare each run with its
        threshold: equally good runs at different thresholds differ.
    sensitivity_p_holm, specificity_p_holm
        Corrected for all tests of this kind, two a comparison.
    equal_rate, equal_rate_p_holm
        The runs themselves, where both call equally many patients positive; p corrected for all
        comparisons.
    note
        What to know about a value that is defined; often empty.
    """

    target: str
    run: str
    other: str
    design: str | None = None
    difference: float | None = None
    standard_error: float | None = None
    difference_ci95_delong: Interval | None = None
    difference_ci95_bootstrap: Interval | None = None
    null_range95: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    correlation: float | None = None
    detectable_difference: float | None = None
    positives_only_run: int | None = None
    positives_only_other: int | None = None
    negatives_only_run: int | None = None
    negatives_only_other: int | None = None
    sensitivity_p: float | None = None
    sensitivity_p_holm: float | None = None
    specificity_p: float | None = None
    specificity_p_holm: float | None = None
    equal_rate: EqualRate | None = None
    equal_rate_p_holm: float | None = None
    note: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """The results whose headlines are tested together, and what was named beforehand.

    Parameters
    ----------
    headlines
        (run, target) of all results that get a headline.
    members
        Those that p is corrected for: the primary ones, or all headlines where none was named.
    primary
        Those that were named as primary.
    on_record
        Whether the access log says so, written before the test patients were read.
    too_late
        Why naming them confirms nothing; empty where it does.
    num_earlier
        Other accesses to the same test patients, of other models or with another primary result.
    least_p_holm
        Least corrected p that one of the members can have, by the number of permutations and of
        patients; None without members.
    """

    headlines: tuple[tuple[str, str], ...] = ()
    members: tuple[tuple[str, str], ...] = ()
    primary: tuple[tuple[str, str], ...] = ()
    on_record: bool = False
    too_late: str = ""
    num_earlier: int = 0
    least_p_holm: float | None = None

    @property
    def size(self) -> int:
        """Number of tests that p is corrected for."""
        return len(self.members)


@dataclass(frozen=True)
class Evaluation:
    """All results of a table, and what is needed to get them again.

    Parameters
    ----------
    results
        One for each run and target, in the order of the table.
    seed, num_resamples
        Of the bootstrap; also of the permuted labels.
    sampling
        How the test patients were drawn, see `statistics.influence`.
    comparisons
        One for each two runs of a target, in the order of the table.
    warnings
        Sentences for a person, about the table as a whole or one result.
    leak_checks
        What was looked for in the table; findings are among the warnings too.
    family
        Which results' headlines are tested together.
    cohort
        Name of the collection that the patients are of, where that is known.
    """

    results: tuple[TargetResult, ...]
    seed: int
    num_resamples: int
    comparisons: tuple[Comparison, ...] = ()
    warnings: tuple[str, ...] = ()
    leak_checks: tuple[LeakCheck, ...] = ()
    family: Family = field(default_factory=Family)
    cohort: str = ""
    confidence: float = CONFIDENCE
    sampling: Sampling = "population"
