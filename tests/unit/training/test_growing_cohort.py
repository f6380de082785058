"""A split stays valid while its patients are what they were, whichever others the store gets."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Finding
from preprocessing.common.errors import InputError
from preprocessing.store import PatientRecord, PatientTensor, Store, StoreSpec
from radiotrain.evaluation.shortcuts.folds import extend_folds_by, with_folds_by
from radiotrain.split.extend import deal_to_folds, extend_split
from radiotrain.split.split import Split, load_split, make_split, not_in_split, notes_on, save_split
from tests.growing import labels_of, names, write_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Split, str]:
    """Thirty patients and their split."""
    folder = tmp_path_factory.mktemp("thirty")
    store = write_cohort(str(folder / "store"), names(0, 30))
    split = make_split(store, seed=3, num_folds=3)
    save_split(split, str(folder / "splits.json"))
    return store, split, str(folder / "splits.json")


# --- patients that are what they were ---------------------------------------------------------


def test_a_split_is_valid_in_a_store_that_grew(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    _, split, url = cohort
    write_cohort(str(tmp_path / "store"), names(0, 30))
    grown = write_cohort(str(tmp_path / "store"), names(0, 45))
    assert load_split(url, grown) == split
    assert not_in_split(split, grown) == names(30, 45)
    (note,) = notes_on(split, grown, url)
    assert note.startswith("15 patients are in store")
    assert f"radiotrain split {grown.url} --extend {url} --out NEW" in note


def test_neither_order_nor_place_in_the_store_matters(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    store, split, url = cohort
    other = write_cohort(str(tmp_path / "other"), [*names(40, 44), *reversed(names(0, 30))])
    assert other.fingerprint != store.fingerprint
    assert load_split(url, other) == split
    found = make_split(other, seed=3, num_folds=3).patients
    assert found is not None
    assert found.only(store.patient_ids).fingerprint == split.patients_fingerprint


def _voxel(record: PatientRecord, tensor: PatientTensor) -> tuple[PatientRecord, PatientTensor]:
    tensor.images[2, 3, 3, 2] += 1
    return record, tensor


def _region(record: PatientRecord, tensor: PatientTensor) -> tuple[PatientRecord, PatientTensor]:
    tensor.region[0, 0, 0] ^= 1
    return record, tensor


def _field(record: PatientRecord, tensor: PatientTensor) -> tuple[PatientRecord, PatientTensor]:
    return record, replace(tensor, bias_field=np.full((2, 2, 1), 0.1, dtype=np.float32))


def _scaled(record: PatientRecord, tensor: PatientTensor) -> tuple[PatientRecord, PatientTensor]:
    return record, replace(tensor, images=tensor.images * 2)


def _age(record: PatientRecord, tensor: PatientTensor) -> tuple[PatientRecord, PatientTensor]:
    return replace(record, covariates=dict(record.covariates) | {"age_years": 99.0}), tensor


def _spacing(record: PatientRecord, tensor: PatientTensor) -> tuple[PatientRecord, PatientTensor]:
    return replace(record, spacing_mm=(1.0, 1.0, 3.0)), tensor


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_voxel, "P004 (voxels)"),
        (_region, "P004 (voxels)"),
        (_field, "P004 (voxels)"),
        (_scaled, "P004 (voxels)"),
        (_age, "P004 (covariates or geometry)"),
        (_spacing, "P004 (covariates or geometry)"),
    ],
)
def test_a_changed_patient_is_named(
    cohort: tuple[Store, Split, str], tmp_path: Path, change: object, words: str
) -> None:
    """In a store that was made without the change, and got new patients beside it."""
    _, _, url = cohort
    write_cohort(str(tmp_path / "store"), names(0, 30))
    grown = write_cohort(
        str(tmp_path / "store"), names(0, 33), change={"P004": change}, again=["P004"]
    )
    with pytest.raises(InputError) as error:
        load_split(url, grown)
    said = str(error.value)
    assert f"1 patient of the split is changed there: {words}: name the store" in said


def test_what_a_patient_is_read_from_and_findings_change_nothing(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    def elsewhere(record: PatientRecord, tensor: PatientTensor):
        finding = Finding("odd", "other words than before")
        details = {"phases_table": "another"}
        return replace(record, input_digest="x", findings=(finding,), details=details), tensor

    _, split, url = cohort
    store = write_cohort(str(tmp_path / "store"), names(0, 30), change={"P004": elsewhere})
    assert load_split(url, store) == split


def test_changed_labels_are_named_with_their_values(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    _, _, url = cohort
    er, pr, her2 = labels_of("P001")
    assert (er, her2) == (1, 0)
    store = write_cohort(
        str(tmp_path / "store"), names(0, 30), labels={"P001": (0, pr, -1)}, change={}
    )
    with pytest.raises(InputError, match=r"1 patient .* P001 \(ER 1 → 0, HER2 0 → missing, voxels"):
        load_split(url, store)


def test_missing_and_excluded_patients_are_named(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    _, _, url = cohort
    store = write_cohort(str(tmp_path / "store"), names(1, 40), excluded=["P007"])
    with pytest.raises(InputError) as error:
        load_split(url, store)
    said = str(error.value)
    assert "2 patients of the split are missing there: " in said
    assert "P000 (not in the store)" in said
    assert "P007 (excluded: unknown)" in said
    with pytest.raises(InputError, match="which has none of its 30 patients"):
        load_split(url, write_cohort(str(tmp_path / "others"), names(50, 60)))


def test_other_settings_and_targets_are_named(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    _, _, url = cohort
    store = write_cohort(str(tmp_path / "a"), names(0, 30), settings={"shrink": 3})
    with pytest.raises(InputError, match="which was preprocessed with other settings"):
        load_split(url, store)
    store = write_cohort(str(tmp_path / "b"), names(0, 30), targets=("ER", "PR", "KI67"))
    with pytest.raises(InputError, match="whose targets are ER, PR, KI67, expected ER, PR, HER2"):
        load_split(url, store)


def test_many_changed_patients_are_counted(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    _, _, url = cohort
    change = dict.fromkeys(names(0, 9), _voxel)
    store = write_cohort(str(tmp_path / "store"), names(0, 30), change=change)
    with pytest.raises(
        InputError, match=r"9 patients of the split are changed .* and 4 more: name"
    ):
        load_split(url, store)


# --- extending --------------------------------------------------------------------------------


def _in_memory(labels: NDArray[np.int8], ids: list[str]) -> Store:
    """A store without files: all that a split reads of one."""
    records = tuple(
        PatientRecord(n, i, "stored", scale=1.0, checksums={"images": int(i[1:])})
        for n, i in enumerate(ids)
    )
    targets = tuple("ABC"[: labels.shape[1]])
    spec = StoreSpec(tuple(ids), targets, tuple(map(tuple, labels.tolist())), 4, (8, 8, 4))
    return Store("memory", spec, {}, tuple(ids), labels, records, (), "f", MappingProxyType({}))


@st.composite
def growing(draw: st.DrawFn) -> tuple[NDArray[np.int8], int]:
    """Labels of a cohort with both classes of each target early, and how many of them come first."""
    num_first, num_new = draw(st.integers(30, 80)), draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_targets = draw(st.integers(1, 3))
    prevalence = generator.uniform(0.1, 0.9, num_targets)
    labels = (generator.random((num_first + num_new, num_targets)) < prevalence).astype(np.int8)
    labels[generator.random(labels.shape) < draw(st.sampled_from([0.0, 0.1]))] = -1
    labels[0], labels[1] = 0, 1
    return labels, num_first


def _spread(parts: list[list[tuple[int, ...]]], combination: tuple[int, ...]) -> int:
    counts = [part.count(combination) for part in parts]
    return max(counts) - min(counts)


@settings(deadline=None, max_examples=100)
@given(growing(), st.integers(0, 99), st.integers(2, 5), st.randoms(use_true_random=False))
def test_an_extension_moves_no_patient_and_keeps_the_shares(table, seed, num_folds, random) -> None:
    labels, num_first = table
    ids = [f"P{i:04d}" for i in range(len(labels))]
    first = _in_memory(labels[:num_first], ids[:num_first])
    old = make_split(first, seed=seed, num_folds=num_folds)
    order = random.sample(range(len(labels)), len(labels))
    grown = _in_memory(labels[order], [ids[i] for i in order])
    new = extend_split(old, grown)
    assert new.test_ids[: len(old.test_ids)] == old.test_ids
    for before, after in zip(old.folds, new.folds, strict=True):
        assert after[: len(before)] == before
    assert sorted(new.patient_ids) == ids
    assert new == extend_split(old, _in_memory(labels, ids))
    # What is counted is counted from the table, by id.
    row = {patient_id: tuple(labels[i].tolist()) for i, patient_id in enumerate(ids)}
    assert abs(len(new.test_ids) - 0.2 * len(ids)) <= 0.5
    second = [row[i] for i in new.test_parts[1]]
    counts = Counter(row[i] for i in ids[num_first:])
    share = len(second) / (len(ids) - num_first)
    for combination, count in counts.items():
        assert abs(second.count(combination) - count * share) < 1 + 1e-9
    parts = [[row[i] for i in fold] for fold in new.folds]
    for combination in set(row.values()):
        assert _spread(parts, combination) <= 1
    sizes = [len(fold) for fold in new.folds]
    assert max(sizes) - min(sizes) <= 3
    (before,) = new.before
    assert before.fingerprint == old.fingerprint
    assert before.patients_fingerprint == old.patients_fingerprint


def test_extended_a_hundred_times_the_shares_are_kept() -> None:
    generator = np.random.default_rng(5)
    labels = (generator.random((600, 3)) < [0.74, 0.65, 0.18]).astype(np.int8)
    ids = [f"P{i:04d}" for i in range(600)]
    num, splits = 100, [make_split(_in_memory(labels[:100], ids[:100]), seed=1)]
    for _ in range(100):
        num += int(generator.integers(1, 6))
        splits.append(extend_split(splits[-1], _in_memory(labels[:num], ids[:num])))
    last = splits[-1]
    assert [s.fingerprint for s in (*last.before, last)] == [s.fingerprint for s in splits]
    assert [s.patients_fingerprint for s in last.before] == [
        s.patients_fingerprint for s in splits[:-1]
    ]
    row = {patient_id: labels[i] for i, patient_id in enumerate(ids)}
    expected = labels[:num].sum(axis=0)
    tested = np.array([row[i] for i in last.test_ids]).sum(axis=0)
    assert np.all(np.abs(tested - 0.2 * expected) <= 2)
    for fold in last.folds:
        found = np.array([row[i] for i in fold]).sum(axis=0)
        assert np.all(np.abs(found - (expected - tested) / 5) <= 3)


def test_extended_splits_are_written_and_read_again(tmp_path: Path) -> None:
    store = write_cohort(str(tmp_path / "store"), names(0, 30))
    old = make_split(store, seed=3, num_folds=3)
    grown = write_cohort(str(tmp_path / "store"), names(0, 47))
    new = extend_split(old, grown)
    save_split(new, str(tmp_path / "new.json"))
    assert load_split(str(tmp_path / "new.json"), grown) == new
    assert not_in_split(new, grown) == ()
    with pytest.raises(InputError, match="17 patients of the split are missing there"):
        load_split(str(tmp_path / "new.json"), store)


def test_a_patient_that_was_excluded_and_became_usable_is_new(tmp_path: Path) -> None:
    store = write_cohort(str(tmp_path / "store"), names(0, 30), excluded=["P003"])
    old = make_split(store, seed=3, num_folds=3)
    assert "P003" not in old.patient_ids
    mended = write_cohort(str(tmp_path / "store"), names(0, 30), again=["P003"])
    assert not_in_split(old, mended) == ("P003",)
    assert "P003" in extend_split(old, mended).patient_ids


def test_splits_with_the_same_test_patients_get_the_same_new_ones(tmp_path: Path) -> None:
    store = write_cohort(str(tmp_path / "store"), names(0, 60))
    dealt = make_split(store, seed=3, num_folds=4)
    by_scanner = with_folds_by(dealt, store, "manufacturer")

    def third(record: PatientRecord, tensor: PatientTensor):
        return replace(record, covariates={"manufacturer": "C"}), tensor

    new = names(60, 90)
    grown = write_cohort(
        str(tmp_path / "store"), names(0, 90), change=dict.fromkeys(new[::3], third)
    )
    extended = extend_folds_by(by_scanner, grown)
    assert extended.test_parts == extend_split(dealt, grown).test_parts
    assert extended.groups == ("A", "B", "C")
    for group, ids in zip(extended.groups, extended.folds, strict=True):
        found = {grown.records[grown.index_of(i)].covariates["manufacturer"] for i in ids}
        assert found == {group}
    assert extended.before[0].fingerprint == by_scanner.fingerprint
    with pytest.raises(InputError, match="the folds are values of manufacturer"):
        extend_split(by_scanner, grown)


def test_the_fewest_alike_get_the_next_patient() -> None:
    before = [np.array(rows, dtype=np.int8).reshape(-1, 1) for rows in ([0, 0, 1], [0, 1, 1], [1])]
    chosen = deal_to_folds(before, np.array([[0], [0], [0]], np.int8), np.random.default_rng(0))
    # Two of zero are missing in the last fold, then all have as many but the first, which has two.
    assert chosen.tolist()[0] == 2
    assert Counter(chosen.tolist()) == {2: 2, 1: 1}


# --- splits of older versions -----------------------------------------------------------------


def _schema_1(store: Store, split: Split) -> str:
    """A file as it was written before splits knew their patients."""
    parts = [
        json.dumps(
            {
                "labels": [list(row) for row in store.spec.labels],
                "settings": {},
                "targets": list(store.targets),
            }
        ),
        json.dumps([[r.patient_id, r.status, r.checksums["images"]] for r in store.records]),
    ]
    values = {
        "seed": split.seed,
        "store_fingerprint": hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16],
        "targets": split.targets,
        "test_fraction": split.test_fraction,
        "test_ids": split.test_ids,
        "folds": split.folds,
        "warnings": split.warnings,
        "schema_version": 1,
    }
    return json.dumps(values, indent=1) + "\n"


def test_a_split_of_schema_1_is_read_with_its_store(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    store, split, _ = cohort
    path = tmp_path / "old.json"
    path.write_text(_schema_1(store, split))
    found = load_split(str(path), store)
    assert found.fingerprint == split.fingerprint == load_split(str(path)).fingerprint
    assert found.patients_fingerprint == split.patients_fingerprint
    save_split(split, str(path))  # the same one is there
    assert json.loads(path.read_text())["schema_version"] == 1


def test_a_split_of_schema_1_is_read_with_a_store_that_grew(
    cohort: tuple[Store, Split, str], tmp_path: Path
) -> None:
    store, split, _ = cohort
    path = tmp_path / "old.json"
    path.write_text(_schema_1(store, split))
    write_cohort(str(tmp_path / "store"), names(0, 30))
    grown = write_cohort(str(tmp_path / "store"), names(0, 50))
    found = load_split(str(path), grown)
    assert found.patients_fingerprint == split.patients_fingerprint
    new = extend_split(found, grown)
    assert (new.schema_version, new.store_fingerprint) == (2, "")
    assert new.before[0].fingerprint == split.fingerprint


@pytest.mark.parametrize("num", [30, 40])
def test_a_split_of_schema_1_and_a_changed_store_are_refused(
    cohort: tuple[Store, Split, str], tmp_path: Path, num: int
) -> None:
    store, split, _ = cohort
    path = tmp_path / "old.json"
    path.write_text(_schema_1(store, split))
    write_cohort(str(tmp_path / "store"), names(0, 30), change={"P004": _voxel})
    changed = write_cohort(str(tmp_path / "store"), names(0, num))
    with pytest.raises(InputError, match="of an older version, was made from a store with"):
        load_split(str(path), changed)
