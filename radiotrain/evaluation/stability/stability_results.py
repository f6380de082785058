"""Results on reproducibility and uncertainty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from radiotrain.evaluation.results import Comparison
from radiotrain.statistics.auc import Interval

Standing = Literal["within", "about", "beyond", "not known"]


@dataclass(frozen=True)
class Member:
    """One training of a configuration: its run, seed and fold, and what it reaches."""

    run: str
    seed: int | None
    fold: int | None
    auc: float | None
    auc_validation: float | None


@dataclass(frozen=True)
class Spread:
    """How far the trainings of one configuration lie apart on one target.

    A value that is not defined is None, and `reasons` says why under its name.

    Parameters
    ----------
    over
        What differs between the members: seed, fold, or seed and fold.
    ensemble
        The run that is their mean; None where there is none.
    mean, sd, lowest, highest
        Of the members' test AUCs; `sd` has the divisor one less than their number.
    mean_validation, sd_validation
        The same of validation.
    variance_seed, variance_fold, variance_residual
        Components, where every seed was trained on every fold.
    sd_of_training, sd_of_training_ci95
        Standard deviation of the AUC of one more training: from the components where there are
        any, else `sd`.
    noise_floor, noise_floor_ci95
        Difference of test AUC that 95 % of pairs of trainings of this configuration stay below.
    """

    configuration: str
    target: str
    over: str
    members: tuple[Member, ...]
    ensemble: str | None = None
    mean: float | None = None
    sd: float | None = None
    lowest: float | None = None
    highest: float | None = None
    mean_validation: float | None = None
    sd_validation: float | None = None
    variance_seed: float | None = None
    variance_fold: float | None = None
    variance_residual: float | None = None
    sd_of_training: float | None = None
    sd_of_training_ci95: Interval | None = None
    noise_floor: float | None = None
    noise_floor_ci95: Interval | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PairNoise:
    """A comparison of two runs beside what training again would do to it."""

    target: str
    run: str
    other: str
    standing: Standing
    sentence: str
    noise_floor: float | None = None
    noise_floor_ci95: Interval | None = None


@dataclass(frozen=True)
class PatientUncertainty:
    """How certain a run is of one test patient.

    Parameters
    ----------
    num_predictions
        Predictions that the mean is over: networks, folds, augmented images.
    sd, mutual_information
        Over these; None where there is one. Information in nats: entropy of the mean less mean
        entropy, high where the predictions disagree.
    entropy
        Of the mean probability, in nats.
    distance_to_threshold
        Probability less the threshold from validation.
    is_right
        Whether the classification at the threshold is correct; None where there is none, or no label.
    """

    run: str
    target: str
    patient_id: str
    label: int
    probability: float
    num_predictions: int
    sd: float | None
    entropy: float
    mutual_information: float | None
    distance_to_threshold: float | None
    is_right: bool | None


@dataclass(frozen=True)
class SelectivePoint:
    """The patients that a run is most certain of, at one coverage.

    Parameters
    ----------
    change, change_ci95
        AUC − that of all patients; paired bootstrap.
    """

    coverage: float
    num_patients: int
    num_positive: int
    auc: float | None
    auc_ci95: Interval | None
    change: float | None
    change_ci95: Interval | None
    sensitivity: float | None
    specificity: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Selective:
    """What deferring the least certain patients does to one run and target.

    Parameters
    ----------
    points
        From full coverage down.
    area, area_ci95
        Mean change of the AUC over the coverages below 1.
    sentence
        Verdict in words.
    """

    run: str
    target: str
    points: tuple[SelectivePoint, ...]
    area: float | None
    area_ci95: Interval | None
    sentence: str
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stability:
    """All that was found of noise."""

    spreads: tuple[Spread, ...] = ()
    pairs: tuple[PairNoise, ...] = ()
    patients: tuple[PatientUncertainty, ...] = ()
    selective: tuple[Selective, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; single patients are in ``uncertainty.csv`` only."""
        values = asdict(replace(self, patients=()))
        del values["patients"]
        return values

    def noise_of(self, comparison: Comparison) -> PairNoise | None:
        """Return what training again would do to a comparison."""
        who = comparison.target, comparison.run, comparison.other
        return next((p for p in self.pairs if (p.target, p.run, p.other) == who), None)

    @property
    def drawn(self) -> tuple[Selective, ...]:
        """Those of `selective` that have a curve."""
        return tuple(found for found in self.selective if found.points)

    @property
    def unknown_floors(self) -> tuple[tuple[str, int], ...]:
        """Sentences about comparisons whose noise floor is not known, and how many each is for."""
        unknown = (pair.sentence for pair in self.pairs if pair.noise_floor is None)
        return tuple(Counter(unknown).items())


def patients_of(
    patients: Sequence[PatientUncertainty],
) -> dict[tuple[str, str], tuple[PatientUncertainty, ...]]:
    """Return patients by run and target."""
    found: dict[tuple[str, str], list[PatientUncertainty]] = {}
    for patient in patients:
        found.setdefault((patient.run, patient.target), []).append(patient)
    return {key: tuple(of_one) for key, of_one in found.items()}
