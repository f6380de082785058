"""Describe a model: calibration, training cohort and inputs.

Axis legend: N patients, P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError
from preprocessing.common.redaction import without_credentials
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, PatientRecord, Store
from radiotrain.data.patients import target_columns
from radiotrain.data.storage import CLIP_MARGIN, COUNT_MARGIN, READERS, NormalisationRule
from radiotrain.evaluation.baselines.covariates import (
    FEWEST_OF_A_CATEGORY,
    as_number,
    as_text,
    kind_of,
)
from radiotrain.evaluation.measure import FIXED_SENSITIVITY
from radiotrain.evaluation.model import Model
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.export.description import (
    OTHER,
    YOUDEN,
    Calibration,
    Cohort,
    Format,
    Images,
    Input,
    Isotonic,
    LabelCounts,
    Member,
    ModelDescription,
    MonaiNetwork,
    Network,
    Normalisation,
    OperatingPoint,
    Origin,
    Output,
    Platt,
    Range,
    Scale,
    Training,
)
from radiotrain.networks.ensemble import MeanOfNetworks
from radiotrain.networks.registry import monai_call
from radiotrain.runs.predict_run import TrainedNetwork, check_run, load_network
from radiotrain.runs.provenance import measure_images, software_versions
from radiotrain.runs.run_folder import open_run
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import check_sealed
from radiotrain.statistics.operating_point import confusion, sensitivity_threshold, youden_threshold
from radiotrain.statistics.recalibration import fit_platt, fit_temperature, isotonic_steps

NOBODY_VALIDATED = "no fold validated it, so no patient is left to learn it from"


def validation_scores(table: pd.DataFrame | None, run: str, target: str) -> PatientScores | None:
    """Return a target's validation predictions; None where nobody validated."""
    if table is None:
        return None
    checked = validate_predictions(table.assign(run=run), name=f"predictions of {run}")
    return patient_scores(checked, run, target, "validation")


def learn_calibration(patients: PatientScores | None) -> Calibration:
    """Learn how probabilities are put right."""
    if patients is None:
        reasons = dict.fromkeys(("platt", "temperature", "isotonic"), NOBODY_VALIDATED)
        return Calibration(
            source="none",
            num_patients=0,
            num_positive=0,
            platt=None,
            temperature=None,
            isotonic=None,
            reasons=reasons,
        )
    reasons = {}
    curve, why = fit_platt(patients.labels, patients.scores)
    if curve is None:
        reasons["platt"] = why
    temperature, why = fit_temperature(patients.labels, patients.scores)
    if why:
        reasons["temperature"] = why
    steps, why = isotonic_steps(patients.labels, patients.scores)
    if steps is None:
        reasons["isotonic"] = why
    return Calibration(
        source=_source(patients),
        num_patients=patients.num_patients,
        num_positive=patients.num_positive,
        platt=None if curve is None else Platt(slope=curve.slope, intercept=curve.intercept),
        temperature=None if math.isnan(temperature) else temperature,
        isotonic=None
        if steps is None
        else Isotonic(x=tuple(steps[0].tolist()), y=tuple(steps[1].tolist())),
        reasons=reasons,
    )


def choose_operating_points(patients: PatientScores | None) -> tuple[OperatingPoint, ...]:
    """Choose the thresholds that `radiotrain evaluate` chooses."""
    rules = (YOUDEN, f"sensitivity {FIXED_SENSITIVITY:.2f}")
    if patients is None:
        return tuple(_no_point(rule, "none", NOBODY_VALIDATED) for rule in rules)
    y, x = patients.labels, patients.scores
    thresholds = (youden_threshold(y, x), sensitivity_threshold(y, x, FIXED_SENSITIVITY))
    return tuple(
        _point(rule, threshold, patients) for rule, threshold in zip(rules, thresholds, strict=True)
    )


def _point(rule: str, threshold: float, patients: PatientScores) -> OperatingPoint:
    if math.isnan(threshold):
        # Only one class, or none: then there is no curve either, for the same reason.
        return _no_point(rule, _source(patients), fit_platt(patients.labels, patients.scores)[1])
    called = confusion(patients.labels, patients.scores, threshold)
    return OperatingPoint(
        rule=rule,
        source=_source(patients),
        threshold=threshold,
        sensitivity=called.sensitivity,
        specificity=called.specificity,
    )


def _no_point(rule: str, source: str, reason: str) -> OperatingPoint:
    return OperatingPoint(
        rule=rule, source=source, threshold=None, sensitivity=None, specificity=None, reason=reason
    )


def _source(patients: PatientScores) -> str:
    return (
        f"predictions of {patients.num_patients} validation patients ({patients.num_positive}"
        " positive) by networks that were not trained on them"
    )


_QUANTILES = (0.01, 0.5, 0.99)


class VoxelMeasures:
    """What patients' voxels are like: each is read once, however many models are described."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], dict[str, float]] = {}

    def of(self, store: Store, index: int) -> dict[str, float]:
        """Return what `measure_voxels` says of a patient."""
        key = store.fingerprint, index
        if key not in self._known:
            images, scale = store.read_images(index)
            self._known[key] = measure_voxels(images, store.read_region(index), scale)
        return self._known[key]


def describe_cohort(
    store: Store,
    patient_ids: Sequence[str],
    targets: Sequence[str],
    covariates: Sequence[str],
    measures: VoxelMeasures,
    advance: Callable[[], None],
) -> Cohort:
    """Describe the training patients; reads the voxels of those that were not measured before.

    Parameters
    ----------
    patient_ids
        Training patients, none of the test.
    covariates
        That the network reads, beside those of the acquisition.
    advance
        Called once for each patient.
    """
    indices = [store.index_of(patient_id) for patient_id in patient_ids]
    records = [store.records[i] for i in indices]
    names = sorted({name for record in records for name in record.covariates})
    told = [name for name in names if kind_of(name) == "acquisition" or name in covariates]
    numbers, categories = describe_covariates(records, told)
    return Cohort(
        num_patients=len(records),
        labels=_labels(store, indices, targets),
        spacing_mm=_spacing(records),
        phase_times_s=_phase_times(records, store.spec.num_phases),
        voxels=_voxels(store, indices, measures, advance),
        images=_images(store, indices),
        numbers=numbers,
        categories=categories,
    )


def common_phase_names(records: Sequence[PatientRecord]) -> tuple[str, ...]:
    """Return the phase names that most patients have, if enough of them have the same."""
    counts = Counter(record.phase_names for record in records if record.phase_names)
    names, num = counts.most_common(1)[0] if counts else ((), 0)
    return names if num >= FEWEST_OF_A_CATEGORY else ()


def describe_covariates(
    records: Sequence[PatientRecord], names: Sequence[str]
) -> tuple[dict[str, Range], dict[str, dict[str, int]]]:
    """Return the ranges of covariates that are numbers, and the counts of the others' values."""
    numbers: dict[str, Range] = {}
    categories: dict[str, dict[str, int]] = {}
    for name in names:
        texts = [t for r in records if (t := as_text(r.covariates.get(name))) is not None]
        values = [as_number(text) for text in texts]
        if texts and not any(math.isnan(value) for value in values):
            _put(numbers, name, values)
        else:
            categories[name] = _counts(texts)
    return numbers, categories


def measure_range(values: Sequence[float]) -> Range | None:
    """Return where most of some patients' values lie; None where they are too few to tell."""
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if len(known) < FEWEST_OF_A_CATEGORY:
        return None
    low, median, high = (float(q) for q in np.quantile(known, _QUANTILES))
    return Range(num_patients=len(known), low=low, median=median, high=high)


def measure_voxels(
    images: NDArray[np.int16], region: NDArray[np.uint8], scale: float
) -> dict[str, float]:
    """Return what one patient's stored intensities are like.

    Parameters
    ----------
    images
        int16 (P, R, C, S).
    region
        uint8 (R, C, S).
    scale
        Intensity of one step.

    Returns
    -------
    ``pre_contrast_mean`` and ``pre_contrast_sd`` (in the store's unit), ``padding_share``, and for each
    later phase ``phase_K_over_pre`` and ``phase_K_over_pre_in_tumour``: how much brighter than the
    pre-contrast it is, in deviations of that. NaN where there are no such voxels.
    """
    padding = (region & REGION_PADDING) != 0
    inside = ~padding
    tumour = inside & ((region & REGION_TUMOUR) != 0)
    pre = images[0].astype(np.float64)
    mean, deviation = _mean(pre, inside), math.nan
    if inside.any():
        deviation = float(pre[inside].std())
    found = {
        "pre_contrast_mean": mean * scale,
        "pre_contrast_sd": deviation * scale,
        "padding_share": float(padding.mean()),
    }
    for k in range(1, len(images)):
        gain = (images[k] - pre) / deviation if deviation > 0 else np.full(pre.shape, np.nan)
        found[f"phase_{k}_over_pre"] = _mean(gain, inside)
        found[f"phase_{k}_over_pre_in_tumour"] = _mean(gain, tumour)
    return found


def _mean(values: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
    return float(values[where].mean()) if where.any() else math.nan


def _voxels(
    store: Store, indices: Sequence[int], measures: VoxelMeasures, advance: Callable[[], None]
) -> dict[str, Range]:
    def measure(index: int) -> dict[str, float]:
        found = measures.of(store, index)
        advance()
        return found

    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(measure, indices))
    ranges: dict[str, Range] = {}
    for name in rows[0] if rows else ():
        _put(ranges, name, [row[name] for row in rows])
    return ranges


def _images(store: Store, indices: Sequence[int]) -> Images:
    numbers, properties = measure_images(store, indices)
    ranges: dict[str, Range] = {}
    for name in sorted({name for values in numbers for name in values}):
        _put(ranges, name, [values[name] for values in numbers if name in values])
    return Images(
        numbers=ranges,
        properties={
            name: _counts([values[name] for values in properties if name in values])
            for name in sorted({name for values in properties for name in values})
        },
    )


def _labels(store: Store, indices: Sequence[int], targets: Sequence[str]) -> dict[str, LabelCounts]:
    counts = {}
    for target, column in zip(targets, target_columns(store, targets), strict=True):
        found = Counter(store.labels[list(indices), column].tolist())
        counts[target] = LabelCounts(
            positive=found[1], negative=found[0], missing=found[MISSING_LABEL]
        )
    return counts


def _spacing(records: Sequence[PatientRecord]) -> dict[str, Range]:
    known = [record.spacing_mm for record in records if record.spacing_mm is not None]
    ranges: dict[str, Range] = {}
    for axis, name in enumerate(("row", "column", "slice")):
        _put(ranges, name, [spacing[axis] for spacing in known])
    return ranges


def _phase_times(records: Sequence[PatientRecord], num_phases: int) -> tuple[Range | None, ...]:
    return tuple(
        measure_range([t for r in records if (t := _time(r, k)) is not None])
        for k in range(num_phases)
    )


def _time(record: PatientRecord, phase: int) -> float | None:
    return record.phase_times_s[phase] if phase < len(record.phase_times_s) else None


def _put(ranges: dict[str, Range], name: str, values: Sequence[float]) -> None:
    found = measure_range(values)
    if found is not None:
        ranges[name] = found


def _counts(texts: Sequence[str]) -> dict[str, int]:
    counts: Mapping[str, int] = Counter(texts)
    shared = {t: num for t, num in sorted(counts.items()) if num >= FEWEST_OF_A_CATEGORY}
    rest = len(texts) - sum(shared.values())
    # The number of the rest would tell it where it is small.
    return shared | ({OTHER: rest} if rest >= FEWEST_OF_A_CATEGORY else {})


_RULE = (
    "x = (voxel - mean) / sd, for all phases with the mean and the population's standard deviation of"
    " the pre-contrast phase over the voxels of the crop that are no padding; padding becomes 0 (in"
    " training the int16 step nearest to the mean, less than one step away)"
)
_ROBUST_RULE = (
    f"{_RULE}; before, each phase's voxels beyond p99 + {CLIP_MARGIN:g} spreads and p1 - {CLIP_MARGIN:g}"
    " spreads are set to that limit (spread: the largest of p99 - p1, |p50| and the pre-contrast's spread,"
    " of voxels other than 0 and padding), and mean and deviation leave out what lies beyond"
    f" {COUNT_MARGIN:g} spreads"
)
_LOGITS = (
    "one a target, in the order of 'targets'; of several members the log odds of their mean"
    " probability, each member's logits calibrated first by its 'scales' where it has them"
)
_PROBABILITY = (
    "sigmoid of the logit, as predicted: thresholds of 'operating_points' are for it, 'calibration'"
    " puts it right"
)


@dataclass(frozen=True)
class TrainedModel:
    """A run or promoted model with its networks, on the CPU.

    Parameters
    ----------
    trained
        One a member, computed by MONAI's own modules.
    """

    model: Model
    trained: tuple[TrainedNetwork, ...]

    @property
    def num_covariates(self) -> tuple[int, ...]:
        """Encoded columns that each member reads."""
        return tuple(0 if t.encoder is None else t.encoder.num_columns for t in self.trained)

    @property
    def network(self) -> MeanOfNetworks:
        """All members as one, ready to predict."""
        members = [trained.network for trained in self.trained]
        return MeanOfNetworks(members, self.num_covariates, self.scales).eval()

    @property
    def scales(self) -> list[list[tuple[float, float]]]:
        """Slope and intercept of each member and target; empty where they are averaged as predicted."""
        targets = self.model.config.targets
        return [
            [(scales[t].slope, scales[t].intercept) for t in targets]
            for scales in self.model.scales
            if scales is not None
        ]


def load_model(model: Model, store: Store, split: Split) -> TrainedModel:
    """Load a model's networks.

    Raises
    ------
    InputError
        If it was trained on another store or split, or its weights are not what radiotrain wrote.
    """
    found = []
    for url in model.members:
        _, config = check_run(url, store, split)
        if config.train.normalisation != model.config.train.normalisation:
            raise InputError(
                f"networks of {model.name} were trained with different train.normalisation, so that no one"
                " image is right for all: export a model of one"
            )
        found.append(load_network(url))
    return TrainedModel(model, tuple(found))


def describe_model(
    trained: TrainedModel,
    store: Store,
    split: Split,
    form: Format,
    measures: VoxelMeasures,
    advance: Callable[[], None],
) -> ModelDescription:
    """Describe a model; no test patient is read.

    Parameters
    ----------
    advance
        Called once for each training patient, whose voxels have been measured.
    """
    model, config = trained.model, trained.model.config
    ids = training_ids(model, split)
    check_sealed(split, ids, None)
    records = [store.records[store.index_of(i)] for i in ids]
    table = _validation_table(model)
    patients = {t: validation_scores(table, model.name, t) for t in config.targets}
    return ModelDescription(
        name=model.name,
        format=form,
        targets=config.targets,
        network=_network(trained, store),
        members=tuple(_members(trained, split)),
        input=Input(
            num_phases=store.spec.num_phases,
            phase_names=common_phase_names(records),
            crop_shape=store.spec.crop_shape,
            normalisation=_normalisation(config.train.normalisation),
            preprocessing=dict(store.spec.settings),
            layout=str(store.spec.cohort.get("layout", "")),
        ),
        output=Output(logits=_LOGITS, probability=_PROBABILITY),
        calibration={t: learn_calibration(found) for t, found in patients.items()},
        operating_points={t: choose_operating_points(found) for t, found in patients.items()},
        cohort=describe_cohort(
            store, ids, config.targets, config.network.covariates, measures, advance
        ),
        origin=Origin(
            run=model.name,
            made="" if model.promoted is None else _without_place(model, split),
            store_fingerprint=split.patients_fingerprint,
            split_fingerprint=split.fingerprint,
            configuration=_configuration(model),
            software=dict(model.record.versions),
            exported_with=software_versions(),
        ),
    )


def training_ids(model: Model, split: Split) -> tuple[str, ...]:
    """Return the patients that any of a model's networks was trained on."""
    folds = [open_run(url)[1].fold for url in model.members]
    return tuple(sorted({i for fold in folds for i in split.train_ids(fold)}))


def _validation_table(model: Model) -> pd.DataFrame | None:
    if model.promoted is None and model.config.fold is None:
        return None
    return model.kept_predictions()


def _network(trained: TrainedModel, store: Store) -> Network:
    name = trained.model.config.network.name
    call = monai_call(name)
    num_targets = len(trained.model.config.targets)
    return Network(
        name=name,
        monai=MonaiNetwork(
            function=call.function, arguments=call.arguments(store.spec.num_phases, num_targets)
        ),
        num_parameters=sum(p.numel() for p in trained.trained[0].network.parameters()),
    )


def _normalisation(rule: NormalisationRule) -> Normalisation:
    return Normalisation(kind=rule, rule=_ROBUST_RULE if rule == "robust" else _RULE)


def _members(trained: TrainedModel, split: Split) -> Sequence[Member]:
    return [
        Member(
            weights=None,
            fold=config.fold,
            seed=config.seed,
            covariates=None if network.encoder is None else network.encoder.to_json(),
            training=Training(
                num_patients=len(split.train_ids(config.fold)),
                num_epochs=record.num_epochs,
                precision=config.precision,
                augment=config.augment,
            ),
            scales=None
            if scales is None
            else {target: Scale(**asdict(scale)) for target, scale in scales.items()},
        )
        for network, scales, (_, config, record) in zip(
            trained.trained,
            trained.model.scales,
            map(open_run, trained.model.members),
            strict=True,
        )
    ]


def _configuration(model: Model) -> dict[str, Any]:
    """Return what was trained: of a file of weights the name, as its place may tell of its owner."""
    values = model.config.identity()
    weights = values["network"]["weights"]
    if weights is not None:
        values["network"]["weights"] = without_credentials(weights).rstrip("/").rsplit("/", 1)[-1]
    return values


def _without_place(model: Model, split: Split) -> str:
    assert model.promoted is not None
    text = model.promoted.describe(split)
    return text.replace(model.promoted.sweep, model.promoted.sweep.rstrip("/").rsplit("/", 1)[-1])
