"""One examination under two ids is found, and two patients are not taken for one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from preprocessing.common.errors import SealedTestSetError
from preprocessing.store import PatientRecord, PatientTensor, Store, StoreSpec, StoreWriter
from radiotrain.evaluation.leak_checks import LeakCheck, check_store, find_duplicates
from radiotrain.split.split import Split, make_split, save_split
from radiotrain.split.test_set_access import open_test_set

SHAPE = (64, 64, 24)


def breast(seed: int, margin: int = 0) -> NDArray[np.float64]:
    """Glands, fat and a little noise, larger than a crop by `margin` on each side."""
    rng = np.random.default_rng(seed)
    shape = [n + 2 * margin for n in SHAPE]
    texture = gaussian_filter(rng.normal(size=shape), (3, 3, 1.5))
    # All breasts are bright in the middle.
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    shading = np.exp(-sum(axis**2 for axis in axes))
    images: NDArray[np.float64] = 400 * shading + 1500 * texture + rng.normal(0, 5, shape)
    return images


def crop(
    images: NDArray[np.float64], margin: int = 0, at: tuple[int, ...] = (0, 0, 0)
) -> NDArray[np.int16]:
    cut = tuple(slice(margin + a, margin + a + n) for a, n in zip(at, SHAPE, strict=True))
    return np.round(images[cut]).astype(np.int16)


def pairs(*crops: NDArray[np.int16]) -> set[tuple[str, str]]:
    found = find_duplicates(SHAPE, [(f"P{n}", images) for n, images in enumerate(crops)])
    assert all(0 < pair.similarity <= 1 for pair in found)
    return {(pair.first, pair.second) for pair in found}


def test_different_patients_are_not_taken_for_one() -> None:
    assert pairs(*(crop(breast(seed)) for seed in range(40))) == set()


@pytest.mark.parametrize("at", [(0, 0, 0), (2, -2, 1), (-5, 3, 0), (8, 8, -2), (-7, -8, 2)])
def test_another_box_scaling_and_noise_do_not_hide_a_duplicate(at: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    images = breast(0, margin=10)
    other = 0.7 * images + 60 + rng.normal(0, 10, images.shape)
    assert pairs(crop(images, 10), crop(breast(1)), crop(other, 10, at)) == {("P0", "P2")}


def test_three_times_the_same_are_three_pairs() -> None:
    same = crop(breast(3))
    assert pairs(same, crop(breast(4)), same, same) == {("P0", "P2"), ("P0", "P3"), ("P2", "P3")}


def test_where_all_are_alike_only_what_is_closer_still_counts() -> None:
    """Twenty patients that share most of what can be seen."""
    common = breast(0)
    alike = [crop(common + 0.25 * breast(seed)) for seed in range(1, 21)]
    assert pairs(*alike, alike[4]) == {("P4", "P20")}


def test_empty_crops_are_like_none() -> None:
    empty = np.zeros(SHAPE, dtype=np.int16)
    assert pairs(empty, empty) == set()


@pytest.mark.parametrize("shape", [(24, 24, 12), (32, 32, 16), (8, 8, 1), (112, 112, 8)])
def test_any_crop_shape(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 1000, shape).astype(np.int16) for _ in range(3)]
    found = find_duplicates(shape, [(str(n), c) for n, c in enumerate([*crops, crops[1]])])
    assert [(pair.first, pair.second) for pair in found] == [("1", "3")]
    assert found[0].similarity == pytest.approx(1, abs=1e-5)


@contextmanager
def silent(_: str, __: int) -> Iterator[object]:
    yield lambda: None


def test_what_it_means_depends_on_the_side_of_the_split(tmp_path: object) -> None:
    store, split, ids = _twenty(tmp_path, {})
    (test, second, *_), (train, other, third, *_) = split.test_ids, split.development_ids
    store, split, ids = _twenty(tmp_path, {train: 100, test: 100, other: 200, third: 200})
    with pytest.raises(SealedTestSetError):
        check_store(store, split, None, silent)  # type: ignore[arg-type]
    sides, volumes, crops = _checks(store, split)
    assert (sides.outcome, volumes.outcome, crops.outcome) == ("clear", "not done", "found")
    first, last = crops.findings
    assert first.startswith("Leak: ")
    assert set(crops.patients[0]) == {train, test}
    assert not any(patient in first.split() for patient in ids)
    assert "one of them tested and the other trained on" in first
    assert set(crops.patients[1]) == {other, third}
    assert last.startswith("In development, ")
    assert second not in {patient for found in crops.patients for patient in found}


def test_equal_volumes_are_found_though_the_crops_differ(tmp_path: object) -> None:
    digests = {f"P{n:02d}": f"digest {n}" for n in range(20)}
    store, split, _ = _twenty(tmp_path, {}, digests)
    _, volumes, _ = _checks(store, split)
    assert volumes.outcome == "clear"
    test, train = split.test_ids[0], split.development_ids[0]
    store, split, _ = _twenty(tmp_path, {}, {**digests, test: digests[train]})
    _, volumes, crops = _checks(store, split)
    (finding,) = volumes.findings
    assert finding.startswith("Leak: ")
    assert volumes.patients == ((train, test),)
    assert crops.outcome == "clear"


def test_a_pair_is_named_once_where_volumes_and_crops_are_equal(tmp_path: object) -> None:
    _, split, _ = _twenty(tmp_path, {})
    test, train = split.test_ids[0], split.development_ids[0]
    store, split, _ = _twenty(tmp_path, {test: 100, train: 100}, {test: "same", train: "same"})
    _, volumes, crops = _checks(store, split)
    assert len(volumes.findings) == 1
    assert crops.findings == ()
    assert "1 with equal volumes" in crops.sentence


def _checks(store: Store, split: Split) -> tuple[LeakCheck, ...]:
    url = f"{store.url}.splits.json"
    save_split(split, url)
    access = open_test_set(url, "a test", ["none"])
    return check_store(store, split, access, silent)


def _twenty(
    tmp_path: object, copies: dict[str, int], digests: dict[str, str] | None = None
) -> tuple[Store, Split, tuple[str, ...]]:
    """Twenty patients; of those in `copies` the number says which breast they have."""
    ids = tuple(f"P{n:02d}" for n in range(20))
    spec = StoreSpec(
        patient_ids=ids,
        targets=("ER",),
        labels=tuple((n % 2,) for n in range(20)),
        num_phases=1,
        crop_shape=SHAPE,
    )
    url = tempfile.mkdtemp(dir=str(tmp_path))
    writer = StoreWriter.create_or_resume(f"{url}/store", spec, {"radiotrain": "test"})
    store = _filled(writer, ids, copies, digests or {})
    return store, make_split(store, seed=0, num_folds=3), ids


def _filled(
    writer: StoreWriter, ids: tuple[str, ...], copies: dict[str, int], digests: dict[str, str]
) -> Store:
    for n, patient_id in enumerate(ids):
        images = crop(breast(copies.get(patient_id, n))).astype(np.float32)[None]
        details = {"volume_digest": digests[patient_id]} if patient_id in digests else {}
        record = PatientRecord(index=n, patient_id=patient_id, status="stored", details=details)
        writer.write(record, PatientTensor(images, np.zeros(SHAPE, dtype=np.uint8)))
    return writer.finish()
