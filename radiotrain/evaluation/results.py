"""What an evaluation finds: frozen values that the report, the JSON and the table all print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from radiotrain.evaluation.auc import Interval
from radiotrain.evaluation.operating_point import Confusion

CONFIDENCE = 0.95


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
    prevalence
        Share of positives, which is also the PR-AUC of a coin.
    threshold
        Chosen on the validation patients; a probability at or above it is called positive.
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
    prevalence: float | None = None
    auc: float | None = None
    auc_ci95_delong: Interval | None = None
    auc_ci95_bootstrap: Interval | None = None
    auc_pr: float | None = None
    brier: float | None = None
    auc_validation: float | None = None
    threshold: float | None = None
    threshold_source: str | None = None
    sensitivity: float | None = None
    sensitivity_ci95: Interval | None = None
    specificity: float | None = None
    specificity_ci95: Interval | None = None
    confusion: Confusion | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def auc_ci95(self) -> Interval | None:
        """The interval that the tables show first: DeLong's."""
        return self.auc_ci95_delong

    @property
    def auc_half_width(self) -> float | None:
        """Half the width of the AUC's interval, or None where there is none."""
        interval = self.auc_ci95
        return None if interval is None else (interval[1] - interval[0]) / 2


@dataclass(frozen=True)
class Evaluation:
    """All results of a table, and what is needed to get them again.

    Parameters
    ----------
    results
        One for each run and target, in the order of the table.
    seed, num_resamples
        Of the bootstrap.
    warnings
        Sentences for a person, about the table as a whole or one result.
    """

    results: tuple[TargetResult, ...]
    seed: int
    num_resamples: int
    warnings: tuple[str, ...] = ()
    confidence: float = CONFIDENCE
