from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocessing.errors import InputError, MissingPathError, SchemaError
from preprocessing.store import Store
from radiotrain.split import Split, count_table, deal, load_split, make_split, save_split


@st.composite
def label_tables(draw: st.DrawFn) -> NDArray[np.int8]:
    num_patients, num_targets = draw(st.integers(12, 150)), draw(st.integers(1, 3))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    prevalence = generator.uniform(0.05, 0.95, num_targets)
    labels = (generator.random((num_patients, num_targets)) < prevalence).astype(np.int8)
    labels[generator.random(labels.shape) < draw(st.sampled_from([0.0, 0.1]))] = -1
    return labels


@settings(deadline=None, max_examples=60)
@given(label_tables(), st.integers(0, 1000), st.sampled_from([0.1, 0.2, 0.5]), st.integers(2, 6))
def test_parts_partition_and_are_stratified(
    labels: NDArray[np.int8], seed: int, test_fraction: float, num_folds: int
) -> None:
    test, folds = deal(labels, seed=seed, test_fraction=test_fraction, num_folds=num_folds)
    everyone = np.concatenate([test, *folds])
    assert sorted(everyone) == list(range(len(labels)))
    assert len(test) == max(1, round(len(labels) * test_fraction))
    sizes = [len(fold) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    combinations = [tuple(row) for row in labels.tolist()]
    share = len(test) / len(labels)
    for combination, count in Counter(combinations).items():
        in_test = sum(combinations[i] == combination for i in test)
        assert abs(in_test - count * share) < 1 + 1e-9
        in_folds = [sum(combinations[i] == combination for i in fold) for fold in folds]
        assert max(in_folds) - min(in_folds) <= 1
    first = labels[:, 0] == 1
    assert abs(first[test].sum() - first.sum() * share) < 1 + 1e-9


def test_every_target_is_balanced_over_the_parts() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((922, 3)) < [0.74, 0.65, 0.18]).astype(np.int8)
    test, folds = deal(labels, seed=1, test_fraction=0.2, num_folds=5)
    for part in (test, *folds):
        expected = labels.mean(axis=0) * len(part)
        assert np.all(np.abs(labels[part].sum(axis=0) - expected) <= 2)


def test_same_seed_same_split(store: Store) -> None:
    assert make_split(store, seed=5) == make_split(store, seed=5)
    assert make_split(store, seed=5).test_ids != make_split(store, seed=6).test_ids


def test_train_and_validation_are_all_but_the_test(store: Store, split: Split) -> None:
    for fold in range(split.num_folds):
        parts = [*split.train_ids(fold), *split.validation_ids(fold), *split.test_ids]
        assert sorted(parts) == sorted(store.patient_ids)
    with pytest.raises(InputError, match="fold is 4"):
        split.train_ids(4)


def test_saved_split_reads_back(store: Store, split: Split, tmp_path: Path) -> None:
    url = str(tmp_path / "s.json")
    save_split(split, url)
    save_split(split, url)
    assert load_split(url, store) == split
    with pytest.raises(InputError, match="holds another split"):
        save_split(make_split(store, seed=9), url)


def test_split_of_another_store_is_refused(store: Store, split: Split, tmp_path: Path) -> None:
    save_split(replace(split, store_fingerprint="0"), str(tmp_path / "s.json"))
    with pytest.raises(InputError, match="make a new split"):
        load_split(str(tmp_path / "s.json"), store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 0}, "schema 0, expected 1"),
        ({"test_ids": ["P000", "P000"]}, "'P000' in two parts"),
        ({"folds": None}, "damaged"),
        ({"extra": 1}, "damaged"),
    ],
)
def test_damaged_split_is_refused(
    split: Split, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "s.json"
    save_split(split, str(path))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SchemaError, match=message):
        load_split(str(path))


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="radiotrain split"):
        load_split(str(tmp_path / "none.json"))
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(SchemaError, match="is no split"):
        load_split(str(tmp_path / "text.json"))


def test_impossible_splits_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="usable patients"):
        make_split(store, num_folds=30)
    with pytest.raises(InputError, match="test fraction is 1"):
        make_split(store, test_fraction=1.0)
    with pytest.raises(InputError, match="did you mean 'HER2'"):
        make_split(store, targets=["HER3"])
    one_class = replace(store, labels=np.ones_like(store.labels))
    with pytest.raises(InputError, match="0 negative"):
        make_split(one_class)


def test_few_positives_warn(store: Store) -> None:
    labels = store.labels.copy()
    labels[:, 2] = 0
    labels[:2, 2] = 1
    made = make_split(replace(store, labels=labels))
    assert any("no positive patient of HER2" in warning for warning in made.warnings)


def test_count_table_adds_up(store: Store, split: Split) -> None:
    rows = count_table(split, store)
    assert sum(row["patients"] for row in rows) == len(store.patient_ids)
    assert sum(row["ER"][0] for row in rows) == int((store.labels[:, 0] == 1).sum())
