from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, MissingPathError, SchemaError
from preprocessing.store import Store
from radiotrain.evaluation.shortcuts.folds import SCANNER, with_folds_by
from radiotrain.split.split import (
    Extension,
    Split,
    _gray_rank,
    count_table,
    deal,
    load_split,
    make_split,
    save_split,
)
from tests.checked_files import change_values
from tests.unit.evaluation.scanner_store import write_scanner_store


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


def test_a_seed_deals_as_it_always_has() -> None:
    """A seed that was published has to give the same patients again, by the way that its file says."""
    labels = np.array([[i % 2, i % 3 == 0] for i in range(40)], dtype=np.int8)
    labels[4::9, 1] = -1
    test, folds = deal(labels, seed=7, test_fraction=0.2, num_folds=4, dealing="")
    assert test.tolist() == [3, 4, 16, 17, 21, 30, 32, 35]
    assert folds[0].tolist() == [5, 6, 11, 13, 26, 28, 34, 39]
    assert folds[3].tolist() == [1, 7, 8, 12, 20, 22, 33, 37]
    test, folds = deal(labels, seed=7, test_fraction=0.2, num_folds=4)
    assert test.tolist() == [3, 4, 16, 17, 21, 30, 32, 35]
    assert folds[0].tolist() == [5, 6, 11, 15, 26, 28, 34, 39]
    assert folds[3].tolist() == [1, 7, 8, 12, 20, 22, 33, 37]


@pytest.mark.parametrize("num_targets", [1, 2, 3])
def test_from_one_combination_of_labels_to_the_next_one_target_changes(num_targets: int) -> None:
    every = np.array(list(product((0, 1, -1), repeat=num_targets)), dtype=np.int8)
    ranks = _gray_rank(every)
    assert sorted(ranks) == list(range(3**num_targets))
    in_order = every[np.argsort(ranks)]
    assert (np.sum(in_order[1:] != in_order[:-1], axis=1) == 1).all()


def test_any_change_of_a_split_changes_its_fingerprint() -> None:
    """And nothing else does: openings of the test set are logged under it."""
    split = Split(1, ("ER",), 0.25, ("P3",), (("P1",), ("P2", "P4")))
    assert split.fingerprint == "b9d5cd4b419acf96"
    changes = {
        "seed": 2,
        "targets": ("PR",),
        "test_fraction": 0.2,
        "test_ids": ("P1",),
        "folds": (("P1", "P2"), ("P4",)),
        "folds_by": "scanner",
        "groups": ("A", "B"),
        "extensions": (Extension(1, (1, 1)),),
    }
    changed = {replace(split, **{name: value}).fingerprint for name, value in changes.items()}
    assert len(changed | {split.fingerprint}) == len(changes) + 1
    same = replace(split, store_fingerprint="f", warnings=("few",), extends="a", schema_version=1)
    assert same.fingerprint == split.fingerprint


def test_a_fifth_is_tested_and_five_folds_are_made_where_nothing_is_asked_for(store: Store) -> None:
    made = make_split(store)
    assert (made.seed, made.test_fraction, made.num_folds) == (0, 0.2, 5)
    assert (made.targets, len(made.test_ids)) == (store.targets, len(store.patient_ids) // 5)


def test_patients_of_each_part_are_in_the_order_of_their_ids(store: Store, split: Split) -> None:
    parts = [split.test_ids, split.development_ids]
    for fold in range(split.num_folds):
        parts += [split.train_ids(fold), split.validation_ids(fold)]
    assert all(list(ids) == sorted(ids) for ids in parts)
    everyone = sorted([*split.test_ids, *split.development_ids])
    assert everyone == sorted(store.patient_ids)


def test_where_no_fold_validates_all_development_patients_train(split: Split) -> None:
    assert split.train_ids(None) == split.development_ids
    assert split.validation_ids(None) == ()


def test_train_and_validation_are_all_but_the_test(store: Store, split: Split) -> None:
    for fold in range(split.num_folds):
        parts = [*split.train_ids(fold), *split.validation_ids(fold), *split.test_ids]
        assert sorted(parts) == sorted(store.patient_ids)
    for fold in (-1, 4):
        for ids_of in (split.train_ids, split.validation_ids):
            with pytest.raises(InputError, match=f"fold is {fold}, expected 0 to 3: .* 4 folds"):
                ids_of(fold)


def test_saved_split_reads_back(store: Store, split: Split, tmp_path: Path) -> None:
    url = str(tmp_path / "s.json")
    save_split(split, url)
    save_split(split, url)
    assert load_split(url, store) == split
    with pytest.raises(InputError, match="holds another split"):
        save_split(make_split(store, seed=9), url)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 0}, "schema 0, expected 2: make it again with 'radiotrain split'"),
        ({"folds": None}, "damaged"),
        ({"extra": 1}, "damaged"),
        ({"patients": None}, "damaged"),
        ({"patients": {"targets": [], "settings": "", "contents": {}}}, "parts and its patients"),
        ({"groups": ["A"]}, "its groups and its folds differ in number"),
        ({"extensions": [{"num_test": 9, "num_in_folds": [1, 1, 1, 1]}]}, "it was larger before"),
        ({"extensions": [{"num_test": 1, "num_in_folds": [1, 1, 1, 9]}]}, "it was larger before"),
        ({"extensions": [{"num_test": 1, "num_in_folds": [1] * 5}]}, "it was larger before"),
        ({"extensions": [{"num_test": 1}]}, "damaged"),
    ],
)
def test_damaged_split_is_refused(
    split: Split, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "s.json"
    save_split(split, str(path))
    change_values(path, lambda values: values | change)
    with pytest.raises(SchemaError, match=f"^split {path} .*{message}"):
        load_split(str(path))


def test_a_patient_in_two_parts_is_refused(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    folds = (*split.folds[:-1], (*split.folds[-1], split.test_ids[0]))
    save_split(replace(split, folds=folds), str(path))
    message = f"{split.test_ids[0]!r} in two parts: make it again with 'radiotrain split'"
    with pytest.raises(SchemaError, match=message):
        load_split(str(path))


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="radiotrain split"):
        load_split(str(tmp_path / "none.json"))
    (tmp_path / "text.json").write_text("hello")
    with pytest.raises(SchemaError, match="is no split"):
        load_split(str(tmp_path / "text.json"))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(SchemaError, match="is no split"):
        load_split(str(tmp_path / "folder.json"))
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(SchemaError, match="schema None, expected 2"):
        load_split(str(tmp_path / "list.json"))


def test_impossible_splits_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="usable patients"):
        make_split(store, num_folds=30)
    for fraction in (1.0, 0.0):
        with pytest.raises(InputError, match=f"test fraction is {fraction:g}, expected between"):
            make_split(store, test_fraction=fraction)
    with pytest.raises(InputError, match="number of folds is 1, expected 2 or more"):
        make_split(store, num_folds=1)
    with pytest.raises(InputError, match=r"did you mean 'HER2'.*, expected some of ER, PR, HER2$"):
        make_split(store, targets=["HER3"])
    one_class = replace(store, labels=np.ones_like(store.labels))
    with pytest.raises(InputError, match=r"ER has \d+ positive and 0 negative"):
        make_split(one_class)
    one_class = replace(store, labels=np.zeros_like(store.labels))
    with pytest.raises(
        InputError, match=r"ER has 0 positive and \d+ .*, expected some of both: leave"
    ):
        make_split(one_class, targets=["ER"])


@pytest.mark.parametrize(
    ("test_fraction", "num_folds", "needed"),
    # Two patients a part: 2 / (0.8 / 16) = 40, 2 / (0.8 / 17) = 42.5, 2 / 0.05 = 40, 2 / 0.04 = 50.
    [(0.2, 16, None), (0.2, 17, 43), (0.05, 2, None), (0.04, 2, 50)],
)
def test_each_part_has_room_for_two_patients(
    store: Store, test_fraction: float, num_folds: int, needed: int | None
) -> None:
    assert len(store.patient_ids) == 40
    if needed is None:
        made = make_split(store, test_fraction=test_fraction, num_folds=num_folds)
        assert min(len(ids) for ids in (made.test_ids, *made.folds)) == 2
    else:
        with pytest.raises(InputError, match=f"has 40 usable patients, expected {needed} or more"):
            make_split(store, test_fraction=test_fraction, num_folds=num_folds)


def test_only_the_targets_asked_for_are_stratified_over(store: Store) -> None:
    """HER2 has one class only, which matters to nobody who leaves it out."""
    labels = store.labels.copy()
    labels[:, 2] = 1
    made = make_split(replace(store, labels=labels), targets=["PR", "ER"])
    assert made.targets == ("PR", "ER")
    test, _ = deal(labels[:, [1, 0]], seed=0, test_fraction=0.2, num_folds=5)
    assert made.test_ids == tuple(store.patient_ids[i] for i in test)


def test_each_part_without_a_class_is_warned_of(store: Store) -> None:
    labels = store.labels.copy()
    labels[:, 2] = 0
    labels[:2, 2] = 1
    labels[5, 2] = -1
    few = replace(store, labels=labels)
    for change in (few, replace(few, labels=np.where(labels >= 0, 1 - labels, -1))):
        made = make_split(change)
        parts = {"the test set": made.test_ids}
        parts |= {f"fold {k}": ids for k, ids in enumerate(made.folds)}
        expected = set()
        for part, ids in parts.items():
            for t, target in enumerate(store.targets):
                found = {change.labels[store.patient_ids.index(i), t] for i in ids}
                for value, word in ((1, "positive"), (0, "negative")):
                    if value not in found:
                        expected.add(f"{part} has no {word} patient of {target}")
        told = [warning.split(": ")[0] for warning in made.warnings]
        assert len(told) == len(set(told)) >= 3
        assert set(told) == expected


def test_count_table_counts_each_part(store: Store, split: Split) -> None:
    label = dict(zip(store.patient_ids, store.labels[:, 1], strict=True))
    rows = {row["part"]: row for row in count_table(split, store)}
    assert list(rows) == ["test", "fold 0", "fold 1", "fold 2", "fold 3"]
    for part, ids in zip(rows.values(), (split.test_ids, *split.folds), strict=True):
        values = [label[i] for i in ids]
        assert part["patients"] == len(ids)
        assert part["PR"] == (values.count(1), values.count(1) + values.count(0))


def test_count_table_adds_up(store: Store, split: Split) -> None:
    rows = count_table(split, store)
    assert sum(row["patients"] for row in rows) == len(store.patient_ids)
    assert sum(row["ER"][0] for row in rows) == int((store.labels[:, 0] == 1).sum())


# --- folds by a covariate ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def scanners(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_scanner_store(str(tmp_path_factory.mktemp("scanners") / "store"))


def test_folds_are_values_of_a_covariate_and_the_test_set_stays(
    scanners: Store, tmp_path: Path
) -> None:
    dealt = make_split(scanners, seed=3)
    split = with_folds_by(dealt, scanners, "manufacturer")
    assert split.test_ids == dealt.test_ids
    assert sorted(split.development_ids) == sorted(dealt.development_ids)
    for group, ids in zip(split.groups, split.folds, strict=True):
        records = [scanners.records[scanners.index_of(i)] for i in ids]
        assert {record.covariates["manufacturer"] for record in records} == {group}
    save_split(split, str(tmp_path / "splits.json"))
    assert load_split(str(tmp_path / "splits.json"), scanners) == split
    parts = [row["part"] for row in count_table(split, scanners)]
    assert parts == ["test", "fold 0: A", "fold 1: B"]


def test_values_of_too_few_patients_share_a_fold(scanners: Store) -> None:
    rare = {"C": 3, "D": 1, None: 2}
    names = iter([name for name, num in rare.items() for _ in range(num)])
    dealt = make_split(scanners)
    chosen = dealt.development_ids[::10][: sum(rare.values())]
    records = list(scanners.records)
    for patient_id in chosen:
        i = scanners.index_of(patient_id)
        covariates = dict(records[i].covariates) | {"manufacturer": next(names)}
        records[i] = replace(records[i], covariates=covariates)
    changed = replace(scanners, records=tuple(records))
    split = with_folds_by(dealt, changed, SCANNER)
    assert split.groups == ("A", "B", "others (C, D, not known)")
    assert set(split.folds[2]) == set(chosen)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("manufactuer", "did you mean 'manufacturer'"),
        ("age_years", "expected two values or more with 5 positive and 5 negative"),
    ],
)
def test_a_covariate_that_makes_no_folds_is_refused(scanners: Store, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        with_folds_by(make_split(scanners), scanners, name)
