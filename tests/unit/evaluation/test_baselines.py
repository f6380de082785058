from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline

from preprocessing.common.errors import SealedTestSetError
from preprocessing.store import PatientRecord, Store
from radiotrain.evaluation.baselines.covariates import choose_columns, encode, kind_of
from radiotrain.evaluation.baselines.features import kinetics_features, size_features
from radiotrain.evaluation.baselines.models import (
    LOGISTIC,
    MODELS,
    Fitted,
    Model,
    Settings,
    nested_cv,
)
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.baselines.predict import fit_baselines, predict_test, read_sets
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.shortcuts.shortcut_gate import read_development
from radiotrain.split.split import Split, make_split, save_split
from radiotrain.split.test_set_access import TestAccess, open_test_set
from radiotrain.statistics.auc import auc
from radiotrain.statistics.stratified_auc import stratified_auc
from tests.unit.evaluation.scanner_store import write_scanner_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    url = str(tmp_path_factory.mktemp("baselines") / "store")
    return write_scanner_store(url, num_patients=60, tumour_effect=0.05)


@pytest.fixture(scope="module")
def split(store: Store) -> Split:
    return make_split(store, seed=1, num_folds=4)


@pytest.fixture
def access(split: Split, tmp_path: Path) -> TestAccess:
    save_split(split, str(tmp_path / "splits.json"))
    return open_test_set(str(tmp_path / "splits.json"), "a test", ["run"])


# --- features -------------------------------------------------------------------------------


def naive_kinetics(phases: Any, region: Any, padding: Any) -> dict[str, float]:
    """The same by loops over voxels and the plainest formulas."""
    tissue, curves = [], []
    for r, c, s in np.ndindex(region.shape):
        if not padding[r, c, s]:
            tissue.append(float(phases[0, r, c, s]))
            if region[r, c, s]:
                curves.append([float(v) for v in phases[:, r, c, s]])
    unit = sum(tissue) / len(tissue)
    curves = [[v / unit for v in curve] for curve in curves]
    floored = [[max(v, 0.1) for v in curve] for curve in curves]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    def spread(name: str, values: list[float]) -> dict[str, float]:
        found = {f"{name}_mean": mean(values)}
        found[f"{name}_sd"] = math.sqrt(mean([(v - mean(values)) ** 2 for v in values]))
        for q in (10, 50, 90):
            at = (len(values) - 1) * q / 100
            low, ordered = math.floor(at), sorted(values)
            high = ordered[min(low + 1, len(values) - 1)]
            found[f"{name}_p{q}"] = ordered[low] + (at - low) * (high - ordered[low])
        return found

    found = spread("pre", [curve[0] for curve in curves])
    for p in range(1, len(phases)):
        found |= spread(f"rise_{p}", [f[p] / f[0] - 1 for f in floored])
        found[f"rise_{p}_of_means"] = (
            mean([c[p] for c in curves]) / mean([c[0] for c in curves]) - 1
        )
    if len(phases) > 1:
        rise = [f[1] / f[0] - 1 for f in floored]
        found["share_rising_fast"] = mean([float(v > 0.5) for v in rise])
        found["rise_heterogeneity"] = found["rise_1_sd"] / (1 + found["rise_1_mean"])
    if len(phases) > 2:
        late = [f[-1] / f[1] - 1 for f in floored]
        found |= spread("late", late)
        hot = [v for v, r in zip(late, rise, strict=True) if r >= found["rise_1_p90"]]
        found["late_hot"] = mean(hot)
        found["share_washing_out"] = mean([float(v < -0.1) for v in late])
        found["share_persistent"] = mean([float(v > 0.1) for v in late])
    return found


@pytest.mark.parametrize("num_phases", [1, 2, 3, 5])
def test_kinetics_match_a_loop_over_voxels(num_phases: int) -> None:
    generator = np.random.default_rng(num_phases)
    phases = generator.integers(0, 900, (num_phases, 6, 5, 4)).astype(np.int16)
    region = generator.random((6, 5, 4)) < 0.4
    padding = np.zeros((6, 5, 4), dtype=bool)
    padding[0] = True
    found = kinetics_features(phases, region, padding)
    assert found == pytest.approx(naive_kinetics(phases, region, padding))


def test_kinetics_do_not_depend_on_gain() -> None:
    phases = np.random.default_rng(0).integers(100, 900, (4, 6, 5, 4)).astype(np.int16)
    region, padding = np.ones((6, 5, 4), dtype=bool), np.zeros((6, 5, 4), dtype=bool)
    found = kinetics_features(phases, region, padding)
    brighter = kinetics_features((phases * 3).astype(np.int16), region, padding)
    assert brighter == pytest.approx(found)


def test_an_empty_region_has_the_same_names_and_no_numbers() -> None:
    phases = np.ones((4, 3, 3, 3), dtype=np.int16)
    nowhere, everywhere = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    found = kinetics_features(phases, nowhere, nowhere)
    assert list(found) == list(kinetics_features(phases, everywhere, nowhere))
    assert all(math.isnan(value) for value in found.values())


def test_size_is_in_millimetres() -> None:
    region = np.zeros((10, 10, 10), dtype=bool)
    region[2:5, 1:7, 4:6] = True
    region[9, 9, 9] = False
    found = size_features(region, (1.0, 0.5, 3.0))
    extents = [found[f"extent_{axis}_mm"] for axis in ("rows", "columns", "slices")]
    assert extents == [3.0, 3.0, 6.0]
    assert found["longest_mm"] == 6.0
    assert math.exp(found["log_volume"]) == pytest.approx(3 * 6 * 2 * 1.0 * 0.5 * 3.0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("age_years", "clinical"),
        ("menopause", "clinical"),
        ("race", "clinical"),
        ("bilateral", "clinical"),
        ("year_of_birth", "clinical"),
        ("nottingham_grade", "clinical"),
        ("manufacturer", "acquisition"),
        ("model", "acquisition"),
        ("field_strength_t", "acquisition"),
        ("field_t", "acquisition"),
        ("slice_thickness_mm", "acquisition"),
        ("image_rows", "acquisition"),
        ("TR", "acquisition"),
        ("site", "acquisition"),
        ("pcr", "refused"),
        ("tumor_subtype", "refused"),
        ("HER2 FISH", "refused"),
    ],
)
def test_covariates_are_told_apart_by_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_covariates_become_numbers_with_gaps() -> None:
    values: list[dict[str, str | float | None]] = [
        {"age": 40 + i, "menopause": "pre" if i < 6 else "post", "city": f"c{i}", "same": 1}
        for i in range(12)
    ]
    values[3]["age"], values[11]["menopause"] = None, " "
    records = [
        PatientRecord(i, f"P{i}", "stored", covariates=covariates)
        for i, covariates in enumerate(values)
    ]
    columns = choose_columns(records, "clinical")
    assert [c.outputs for c in columns] == [("age",), ("menopause=pre",)]
    rows = encode(records, columns)
    assert math.isnan(rows[3]["age"])
    assert math.isnan(rows[11]["menopause=pre"])
    assert rows[0] == {"age": 40.0, "menopause=pre": 1.0}


# --- nested cross-validation ----------------------------------------------------------------


@dataclass(frozen=True)
class _Spy:
    """Writes down who was learnt from; column 0 of x is the patient's number."""

    fits: list[tuple[set[int], int]] = field(default_factory=list)

    def model(self) -> Model:
        spy = self

        class Recording(Model):
            def fit(
                self,
                x: NDArray[np.float64],
                y: NDArray[np.int64],
                grid: Sequence[Settings],
                seed: int,
            ) -> tuple[Fitted, ...]:
                spy.fits.append(({int(v) for v in x[:, 0]}, len(grid)))
                return Model.fit(self, x, y, grid, seed)

        return Recording(LOGISTIC.name, LOGISTIC.grid, LOGISTIC.build, LOGISTIC.prepare)


def test_nothing_is_learnt_from_the_fold_that_is_predicted() -> None:
    generator = np.random.default_rng(0)
    x = np.column_stack([np.arange(40), generator.normal(size=40)])
    labels, folds = generator.integers(0, 2, 40), np.arange(40) % 4
    labels[5] = -1
    spy = _Spy()
    nested_cv(spy.model(), x, labels, folds)

    def left_out(learnt: set[int]) -> set[int]:
        """The folds of those who were not learnt from, each of them left out whole."""
        others = set(np.flatnonzero(labels != -1).tolist()) - learnt
        found = {int(folds[i]) for i in others}
        assert others == set(np.flatnonzero(np.isin(folds, [*found]) & (labels != -1)).tolist())
        return found

    assert all(5 not in learnt for learnt, _ in spy.fits)
    # All settings once for each two folds left out, and those chosen for each one.
    every = [left_out(learnt) for learnt, num in spy.fits if num == len(LOGISTIC.grid)]
    chosen = [left_out(learnt) for learnt, num in spy.fits if num == 1]
    assert sorted(map(sorted, every)) == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert chosen == [{0}, {1}, {2}, {3}]


@pytest.mark.parametrize("num_folds", [2, 4])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_nested_cross_validation_is_two_plain_loops(model: Model, num_folds: int) -> None:
    generator = np.random.default_rng(num_folds)
    x = generator.normal(size=(60, 3))
    labels = (x[:, 0] + generator.normal(size=60) > 0).astype(np.int64)
    x[::7, 1] = np.nan
    labels[4] = -1
    folds = np.arange(60) % num_folds
    found = nested_cv(model, x, labels, folds).probabilities

    def learn(rows: NDArray[np.int64], settings: Settings) -> Any:
        return make_pipeline(model.prepare(), model.build(settings, 0)).fit(x[rows], labels[rows])

    def predict(learnt: Any, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(learnt.predict_proba(x[rows])[:, 1])

    for fold in range(num_folds):
        rows = np.flatnonzero((folds != fold) & (labels != -1))
        parts = folds[rows].copy()
        if num_folds == 2:  # three parts of the one fold that is left, dealt within each class
            for label in (0, 1):
                mine = labels[rows] == label
                parts[mine] = np.arange(mine.sum()) % 3
        losses = []
        for settings in model.grid:
            p = np.empty(len(rows))
            for part in np.unique(parts):
                p[parts == part] = predict(
                    learn(rows[parts != part], settings), rows[parts == part]
                )
            losses.append(log_loss(labels[rows], p))
        best = learn(rows, model.grid[int(np.argmin(losses))])
        mine = np.flatnonzero(folds == fold)
        np.testing.assert_allclose(found[mine], predict(best, mine), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_permuted_labels_are_not_predicted(model: Model) -> None:
    generator = np.random.default_rng(7)
    x = generator.normal(size=(90, 6))
    labels, folds = (x[:, 0] > 0).astype(np.int64), np.arange(90) % 5
    found = []
    for _ in range(12):
        permuted = generator.permutation(labels)
        result = nested_cv(model, x, permuted, folds)
        found.append(stratified_auc(permuted, result.probabilities, folds.tolist()))
    # One such AUC has a standard error of 0.065.
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    assert auc(labels, nested_cv(model, x, labels, folds).probabilities) > 0.9


def test_a_fold_that_leaves_one_class_is_left_out_in_words() -> None:
    x, folds = np.arange(12.0)[:, None], np.arange(12) % 3
    labels = np.where(folds == 0, 1, 0)
    result = nested_cv(LOGISTIC, x, labels, folds)
    assert set(result.fitted) == {1, 2}
    assert np.isnan(result.probabilities[folds == 0]).all()
    assert not np.isnan(result.probabilities[folds != 0]).any()
    (note,) = result.notes
    assert note == (
        "fold 0 was left out, as the other folds have one class only among 8 known labels"
    )


def test_two_folds_and_missing_numbers_are_enough() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 3))
    x[::3, 1], x[:, 2] = np.nan, np.nan
    for model in MODELS:
        result = nested_cv(model, x, np.arange(40) % 2, np.arange(40) // 20)
        assert np.isfinite(result.probabilities).all()


# --- the table ------------------------------------------------------------------------------


@contextmanager
def reads_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Patients whose voxels are read meanwhile."""
    seen: set[str] = set()
    original = Store.read_array

    def spying(self: Store, name: str, i: int) -> NDArray[Any]:
        seen.add(self.patient_ids[i])
        return original(self, name, i)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_array", spying)
        yield seen


def test_development_reads_no_test_patient(
    store: Store, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reads_of(monkeypatch) as seen:
        sets = read_sets(store, split, split.development_ids)
        fit_baselines(store, split, ["ER"], sets=sets)
        read_development(store, split, ["ER"], sets)
    assert seen == set(split.development_ids)


def test_test_patients_are_sealed(store: Store, split: Split, access: TestAccess) -> None:
    with pytest.raises(SealedTestSetError, match="only 'radiotrain evaluate' opens it"):
        read_sets(store, split, split.test_ids)
    other = replace(split, seed=split.seed + 1)
    with pytest.raises(SealedTestSetError, match="open the right one"):
        predict_test(fit_baselines(store, split, ["ER"], models=[LOGISTIC]), store, other, access)


def test_the_table_is_valid_and_the_signal_is_found(
    store: Store, split: Split, access: TestAccess
) -> None:
    fitted = fit_baselines(store, split, ["ER"])
    test = predict_test(fitted, store, split, access)
    table = validate_predictions(pd.concat([fitted.validation, test], ignore_index=True))
    # One box, the same for all: there is no size to tell patients apart by.
    assert list(dict.fromkeys(table["run"])) == [
        "baseline clinical (logistic)",
        "baseline clinical (boosting)",
        "baseline size and kinetics (logistic)",
        "baseline size and kinetics (boosting)",
    ]
    assert all(is_baseline(run) for run in table["run"])
    assert fitted.notes == ("There is no size baseline: no feature differs between patients.",)
    for _, rows in table.groupby("run"):
        validation = rows[rows["split"] == "validation"]
        assert sorted(validation["patient_id"]) == list(split.development_ids)
        for fold, ids in enumerate(split.folds):
            assert set(validation.loc[validation["fold"] == fold, "patient_id"]) == set(ids)
        tested = rows[rows["split"] == "test"]
        assert len(tested) == len(split.test_ids) * split.num_folds
    found = table[table["run"] == "baseline size and kinetics (logistic)"]
    out_of_fold = found[found["split"] == "validation"]
    assert auc(out_of_fold["label"], out_of_fold["probability"]) > 0.9


@pytest.mark.slow
def test_the_same_again(store: Store, split: Split) -> None:
    first, second = (fit_baselines(store, split, ["ER"]).validation for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_a_cohort_without_clinical_columns_has_no_clinical_baseline(tmp_path: Path) -> None:
    bare = write_scanner_store(str(tmp_path / "store"), num_patients=30, clinical=False)
    fitted = fit_baselines(bare, make_split(bare, num_folds=3), ["ER"], models=[LOGISTIC])
    assert set(fitted.validation["run"]) == {"baseline size and kinetics (logistic)"}
    assert fitted.notes[0] == (
        "There is no clinical baseline: the store holds no clinical covariates that differ between"
        " patients."
    )
