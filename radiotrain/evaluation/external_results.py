"""Results of a test on an external cohort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from radiotrain.evaluation.shortcuts.shortcut_results import AcquisitionResult
from radiotrain.evaluation.subgroups.subgroup_results import FEWEST_SHOWN, VariableResult
from radiotrain.statistics.auc import Interval


@dataclass(frozen=True)
class CohortTarget:
    """A target of the models and the label of the cohort that it is tested on."""

    target: str
    label: str
    num_positive: int
    num_negative: int
    num_missing: int


@dataclass(frozen=True)
class RateTransport:
    """A share at a threshold, on validation patients and on the external cohort.

    Parameters
    ----------
    validation, external
        Shares; None where nobody could be counted.
    difference, difference_ci95
        External − validation, with Newcombe's hybrid score interval.
    """

    validation: float | None
    validation_ci95: Interval | None
    external: float | None
    external_ci95: Interval | None
    difference: float | None
    difference_ci95: Interval | None


@dataclass(frozen=True)
class PointTransport:
    """One threshold, chosen on validation patients of the training cohort.

    Parameters
    ----------
    rule
        How it was chosen.
    threshold
        None where there is none, and `reason` says why.
    """

    rule: str
    threshold: float | None
    sensitivity: RateTransport | None = None
    specificity: RateTransport | None = None
    reason: str = ""


@dataclass(frozen=True)
class Transport:
    """What becomes of one run and target on the external cohort.

    Parameters
    ----------
    auc_validation, auc_external
        None where undefined.
    auc_difference, auc_difference_ci95
        External − validation, of two independent AUCs (DeLong).
    """

    run: str
    target: str
    num_validation: int
    auc_validation: float | None
    auc_external: float | None
    auc_difference: float | None
    auc_difference_ci95: Interval | None
    points: tuple[PointTransport, ...]


@dataclass(frozen=True)
class CalibrationState:
    """How good probabilities are; a value that is undefined is None.

    Parameters
    ----------
    observed_expected, observed_expected_ci95
        Share of positives over the mean probability; Wilson's interval of the share, over that mean.
    """

    mean_probability: float | None = None
    observed_expected: float | None = None
    observed_expected_ci95: Interval | None = None
    intercept: float | None = None
    intercept_ci95: Interval | None = None
    slope: float | None = None
    slope_ci95: Interval | None = None
    brier: float | None = None
    log_loss: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LargeRecalibration:
    """One run and target before and after recalibration in the large.

    Parameters
    ----------
    shift
        By which all logits lie too low in this cohort: the intercept with the slope kept at 1, fitted to
        all its labels.
    num_parts
        Parts of the cross-fitting behind `after`.
    after
        Of probabilities whose shift was fitted to the other parts; None where that was not possible, and
        `reason` says why.
    """

    run: str
    target: str
    num_patients: int
    num_positive: int
    shift: float | None
    before: CalibrationState
    after: CalibrationState | None
    num_parts: int
    reason: str = ""


@dataclass(frozen=True)
class CaseMixRow:
    """One property of the patients in both cohorts.

    Parameters
    ----------
    training, external
        As text: mean (SD), or patients and share.
    difference
        Standardized difference, external − training for numbers and shares, without sign for
        several categories; on the first of a variable's rows.
    """

    variable: str
    value: str
    training: str
    external: str
    difference: float | None = None


@dataclass(frozen=True)
class RangeRow:
    """One property of the images, and how many patients of the cohort lie outside training's range.

    Parameters
    ----------
    training, external
        As text.
    num_known, num_outside
        Patients of the external cohort.
    """

    label: str
    training: str
    external: str
    num_known: int
    num_outside: int

    @property
    def outside_shown(self) -> str:
        """How many lie outside, as it may be printed."""
        few = 0 < self.num_outside < FEWEST_SHOWN
        return f"<{FEWEST_SHOWN}" if few else str(self.num_outside)


@dataclass(frozen=True)
class SiteResults:
    """Results by one covariate that tells sites or scanners apart.

    Parameters
    ----------
    variable
        The covariate.
    within
        Run and target to the AUC over pairs of patients of one site, as `stratified_area` gives it.
    """

    variable: str
    results: tuple[VariableResult, ...]
    within: tuple[WithinSites, ...]


@dataclass(frozen=True)
class WithinSites:
    """AUC over pairs of patients of one site only: free of differences between sites."""

    run: str
    target: str
    auc: float | None
    auc_ci95: Interval | None
    auc_all_pairs: float | None
    reason: str = ""


@dataclass(frozen=True)
class External:
    """All that an external test says beyond the predictions table.

    Parameters
    ----------
    store, fingerprint
        Where the cohort is, and which patients it has.
    log
        Where its accesses are logged.
    num_accesses
        How often it was tested, this time included.
    excluded
        Finding code to patients of the store that could not be used.
    left_out
        Sentences on targets of the models that are not tested.
    differences
        Sentences on preprocessing settings that are not those of training.
    phases
        Which of the cohort's phases the networks read; empty where all are read as they are.
    training
        The training store; empty where it was not at hand.
    cohort_models
        What predicts each target within the external cohort by itself, cross-validated.
    """

    store: str
    fingerprint: str
    log: str
    num_accesses: int
    num_patients: int
    targets: tuple[CohortTarget, ...]
    excluded: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    phases: tuple[int, ...] = ()
    training: str = ""
    transports: tuple[Transport, ...] = ()
    recalibrations: tuple[LargeRecalibration, ...] = ()
    case_mix: tuple[CaseMixRow, ...] = ()
    ranges: tuple[RangeRow, ...] = ()
    sites: tuple[SiteResults, ...] = ()
    cohort_models: tuple[AcquisitionResult, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; small counts are withheld as in the report."""
        values = asdict(self)
        for row, shown in zip(self.ranges, values["ranges"], strict=True):
            text = row.outside_shown
            shown["num_outside"] = int(text) if text.isdigit() else text
        for site, shown in zip(self.sites, values["sites"], strict=True):
            for result, kept in zip(site.results, shown["results"], strict=True):
                kept["groups"] = [group.to_json() for group in result.groups]
        return values
