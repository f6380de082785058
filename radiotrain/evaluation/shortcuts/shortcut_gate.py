"""Shortcut gate: test whether a target is read from the acquisition.

Four questions: does the acquisition alone predict the target, can the scanner be read from the
network's features, what is left of its AUC among patients of one scanner, and do models hold on a
scanner that they were not fitted on. The conclusion is in `shortcut_results.py`.

Axis legend: N patients, K features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.store import Store
from radiotrain.evaluation.baselines.features import is_varied, read_features, read_records
from radiotrain.evaluation.baselines.models import LOGISTIC, nested_cv
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.baselines.predict import (
    Sets,
    fold_numbers,
    read_labels,
)
from radiotrain.evaluation.feature_probe import NetworkFeatures, probe
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.shortcuts.acquisition import (
    Variable,
    acquisition_variables,
    measure_background,
    scanner_name,
    scanner_of,
)
from radiotrain.evaluation.shortcuts.left_out import (
    EACH_IN_TURN,
    TrainedWithout,
    baselines_left_out,
    networks_left_out,
)
from radiotrain.evaluation.shortcuts.shortcut_results import (
    AcquisitionResult,
    Fall,
    FallResult,
    LeftOut,
    ProbeResult,
    ScannerResult,
    ShortcutConclusion,
    Shortcuts,
    judge_shortcut,
)
from radiotrain.split.split import Split
from radiotrain.statistics.stratified_auc import (
    Area,
    StratifiedPairs,
    groups_of,
    stratified_area,
    stratified_auc,
    without_small_counts,
)

ALL_VARIABLES = "all of these together"
BACKGROUND = "images without the tumour"

_RESAMPLES = 500
_NOT_KNOWN = Area(None, None, 0, 0, "the store says nothing about it that differs between patients")

Networks = Mapping[str, Sequence[NetworkFeatures]]


@dataclass(frozen=True)
class Development:
    """What the gate knows of development patients; no test patient was read for it.

    Parameters
    ----------
    folds
        int64 (N,).
    labels
        Target to int64 (N,).
    scanners
        (N,) texts; empty where no covariate tells scanners apart.
    background
        float64 (N, K).
    """

    patient_ids: tuple[str, ...]
    folds: NDArray[np.int64]
    labels: Mapping[str, NDArray[np.int64]]
    variables: tuple[Variable, ...]
    scanner: str | None
    scanners: tuple[str, ...]
    background: NDArray[np.float64]
    sets: Sets


def read_development(store: Store, split: Split, targets: Sequence[str], sets: Sets) -> Development:
    """Read what is known of the development patients' acquisition.

    Parameters
    ----------
    sets
        Features of the baselines, of the same patients.
    """
    ids = split.development_ids
    records = read_records(store, split, ids, None)
    name = scanner_name(records)
    return Development(
        patient_ids=ids,
        folds=fold_numbers(split, ids),
        labels={target: read_labels(store, split, ids, target) for target in targets},
        variables=acquisition_variables(records),
        scanner=name,
        scanners=tuple(scanner_of(r, name) for r in records) if name else (),
        background=read_features(measure_background, store, split, ids, None).values,
        sets=sets,
    )


def find_shortcuts(
    known: Development,
    networks: Networks,
    table: pd.DataFrame,
    test_scanners: Mapping[str, str],
    advance: Callable[[], None] = lambda: None,
    without: TrainedWithout | None = None,
) -> Shortcuts:
    """Ask the four questions and judge.

    Parameters
    ----------
    known
        From `read_development`.
    networks
        Run to the features of its networks' validation patients.
    table
        Predictions of networks and baselines, validated.
    test_scanners
        Test patient to scanner; empty where no covariate tells.
    advance
        Called once for each target, then once for each network.
    without
        Networks that were trained without one scanner each, where there are such.
    """
    acquisition: list[AcquisitionResult] = []
    for target in known.labels:
        acquisition += acquisition_results(known, target)
        advance()
    probes: list[ProbeResult] = []
    for run, features in networks.items():
        probes += _probes(known, run, features)
        advance()
    scanners = {**dict(zip(known.patient_ids, known.scanners, strict=False)), **test_scanners}
    keys = [(str(r), str(t)) for r, t in table[["run", "target"]].drop_duplicates().to_numpy()]
    networks_keys = [(r, t) for r, t in keys if not is_baseline(r)]
    falls = [FallResult(r, t, measure_fall(table, r, t, scanners)) for r, t in networks_keys]
    left_out = [] if without is None else list(networks_left_out(without, table))
    configuration_of = {} if without is None else without.configuration_of
    return Shortcuts(
        scanner=known.scanner,
        acquisition=tuple(acquisition),
        probes=tuple(probes),
        by_scanner=tuple(_by_scanner(table, networks_keys, test_scanners)),
        falls=tuple(falls),
        left_out=(
            *left_out,
            *baselines_left_out(known.sets, known.labels, known.folds, known.scanners),
        ),
        verdicts=tuple(_verdicts(known, acquisition, probes, falls, left_out, configuration_of)),
    )


def measure_fall(
    table: pd.DataFrame, run: str, target: str, scanners: Mapping[str, str], seed: int = 0
) -> Fall | None:
    """Compare a run's AUC over all pairs of patients with that over pairs of one scanner.

    Test patients and validation patients both count, but only pairs of the same part, whose
    probabilities come from the same networks.

    Parameters
    ----------
    table
        A validated predictions table.
    scanners
        Patient to scanner.

    Returns
    -------
    None where no scanner is known, or where pairs of one scanner are too few.
    """
    ids, labels, scores, parts = _parts(table, run, target)
    if not set(ids) <= set(scanners):
        return None
    within = [(part, scanners[i]) for part, i in zip(parts, ids, strict=True)]
    if stratified_area(labels, scores, within).auc is None:
        return None
    overall, inside = (stratified_auc(labels, scores, strata) for strata in (parts, within))
    low, high = _fall_interval(labels, scores, parts, within, seed)
    return Fall(overall, inside, overall - inside, (low, high), len(labels))


def _parts(
    table: pd.DataFrame, run: str, target: str
) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Return ids, labels, scores and parts of the patients whom a run has not seen."""
    ids: list[str] = []
    labels, scores, parts = [], [], []
    validation = table[(table["run"] == run) & (table["split"] == "validation")]
    for fold, rows in validation.groupby("fold", dropna=False):
        found = patient_scores(rows, run, target, "validation")
        ids += found.patient_ids
        labels.append(found.labels)
        scores.append(found.scores)
        parts += [f"fold {fold}"] * found.num_patients
    test = patient_scores(table, run, target, "test")
    ids += test.patient_ids
    labels.append(test.labels)
    scores.append(test.scores)
    parts += ["test"] * test.num_patients
    return tuple(ids), np.concatenate(labels), np.concatenate(scores), parts


def _fall_interval(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    parts: Sequence[str],
    within: Sequence[tuple[str, str]],
    seed: int,
) -> tuple[float, float]:
    """Return the percentile interval of the fall, patients drawn within scanner and class."""
    generator = np.random.default_rng(seed)
    cells = list(groups_of(list(zip(within, labels.tolist(), strict=True))).values())
    overall, inside = (StratifiedPairs.of(labels, scores, strata) for strata in (parts, within))
    falls = []
    for _ in range(_RESAMPLES):
        rows = np.concatenate([generator.choice(cell, len(cell)) for cell in cells])
        drawn = np.bincount(rows, minlength=len(labels))
        falls.append(overall.auc(drawn) - inside.auc(drawn))
    low, high = np.percentile(falls, [2.5, 97.5])
    return float(low), float(high)


def acquisition_results(known: Development, target: str) -> Iterator[AcquisitionResult]:
    """Yield how well each acquisition variable, all of them, and the background predict a target."""
    labels = known.labels[target]
    for variable in known.variables:
        area = cross_validated(known, variable.values, labels)
        yield AcquisitionResult(target, variable.name, area)
    together = _NOT_KNOWN
    if known.variables:
        values = np.hstack([variable.values for variable in known.variables])
        together = cross_validated(known, values, labels)
    yield AcquisitionResult(target, ALL_VARIABLES, together)
    background = cross_validated(known, known.background, labels)
    yield AcquisitionResult(target, BACKGROUND, background)


def cross_validated(
    known: Development, values: NDArray[np.float64], labels: NDArray[np.int64]
) -> Area:
    """Return the AUC of a logistic regression of numbers (N, K), out of fold, pairs within folds."""
    columns = is_varied(values)
    if not columns.any():
        return _NOT_KNOWN
    scores = nested_cv(LOGISTIC, values[:, columns], labels, known.folds).probabilities
    return _area_of(known, labels, scores)


def _area_of(known: Development, labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Area:
    usable = (labels != MISSING_LABEL) & ~np.isnan(scores)
    return stratified_area(labels[usable], scores[usable], known.folds[usable].tolist())


def _probes(
    known: Development, run: str, features: Sequence[NetworkFeatures]
) -> Iterator[ProbeResult]:
    rows = {patient_id: i for i, patient_id in enumerate(known.patient_ids)}
    for variable in known.variables if features else ():
        answers = [variable.answers[[rows[i] for i in part.patient_ids]] for part in features]
        area = probe([part.values for part in features], answers)
        yield ProbeResult(run, variable.name, variable.question, area)


def _by_scanner(
    table: pd.DataFrame, keys: Sequence[tuple[str, str]], scanners: Mapping[str, str]
) -> Iterator[ScannerResult]:
    for run, target in keys if scanners else ():
        test = patient_scores(table, run, target, "test")
        groups = groups_of([scanners[i] for i in test.patient_ids])
        for scanner in sorted(groups, key=str):
            rows = groups[scanner]
            area = stratified_area(test.labels[rows], test.scores[rows], [0] * len(rows))
            yield ScannerResult(run, target, str(scanner), without_small_counts(area))


def _verdicts(
    known: Development,
    acquisition: Sequence[AcquisitionResult],
    probes: Sequence[ProbeResult],
    falls: Sequence[FallResult],
    left_out: Sequence[LeftOut],
    configuration_of: Mapping[str, str],
) -> Iterator[ShortcutConclusion]:
    areas = {(a.target, a.source): a.area for a in acquisition}
    probed = {(p.run, p.variable): p.area for p in probes}
    without = {(r.run, r.target): r for r in left_out if r.scanner == EACH_IN_TURN}
    for found in falls:
        yield judge_shortcut(
            found.run,
            found.target,
            areas[found.target, ALL_VARIABLES],
            areas[found.target, BACKGROUND],
            probed.get((found.run, known.scanner or "")),
            found.fall,
            without.get((configuration_of.get(found.run, ""), found.target)),
        )
