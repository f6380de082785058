"""A store that is made, repaired and extended, and loses power at any time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zarr

from preprocessing.errors import RadiotrainError
from preprocessing.store import Store, layout, metadata, records
from preprocessing.store.verify import check_metadata, check_voxels
from tests.integration.cut_short import LARGER, SPEC, fill
from tests.power_loss.disk import Loss, losses, memory_folder, read_tree, replayed, write_tree
from tests.power_loss.recording import Operation, record, why_not
from tests.stores import assert_same_store

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
SPECS = (SPEC, SPEC, LARGER, LARGER)
"""What the program was making after so many marks."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def operations(folder: Path) -> list[Operation]:
    place = folder / "recorded"
    place.mkdir()
    return record(place, folder, "-m", "tests.power_loss.programs", "store", place)


@pytest.fixture(scope="module")
def all_losses(folder: Path, operations: list[Operation]) -> list[Loss]:
    return list(losses(folder / "recorded", operations))


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[int, Path]:
    """The stores that are made without a loss, by how many patients they have."""
    for spec in (SPEC, LARGER):
        fill(str(folder / "undisturbed" / str(len(spec.patient_ids))), SPEC)
        fill(str(folder / "undisturbed" / str(len(spec.patient_ids))), spec)
    return {len(s.patient_ids): folder / "undisturbed" / str(len(s.patient_ids)) for s in (SPEC, LARGER)}  # fmt: skip


def test_the_recording_is_complete(folder: Path, operations: list[Operation]) -> None:
    assert replayed(folder / "recorded", operations) == read_tree(folder / "recorded")


def test_what_a_finished_store_promises_lasts(folder: Path, all_losses: list[Loss]) -> None:
    """At every point: finished, a store is whole; after a command ended, it is finished."""
    print(f"{max(loss.after for loss in all_losses)} operations, {len(all_losses)} trees")
    num_finished = 0
    for loss in all_losses:
        write_tree(loss.tree, folder / "disk")
        num_finished += _check(loss, folder / "disk" / "store")
        shutil.rmtree(folder / "disk")
    assert 3 <= num_finished < len(all_losses)


def _check(loss: Loss, url: Path) -> bool:
    what = f"after {loss.after} operations, {loss.how}"
    attributes = metadata.read_attributes(str(url)) if url.is_dir() else None
    if attributes is None:
        assert loss.marks == 0, what
        return False
    # A patient with a record needs no more work: its voxels are there.
    spec = attributes.spec
    group: Any = zarr.open_group(str(url), mode="r", zarr_format=3)
    there = records.finished_indices(str(url))
    for index, found in records.read_records(str(url), there).items():
        for name, checksum in found.checksums.items():
            assert layout.checksum(group[name][index]) == checksum, f"{what}: {name}"
        assert found.scale is None or group["scale"][index] == found.scale, what
    try:
        store = Store.open(str(url))
    except RadiotrainError:
        return False
    assert store.spec == spec, what
    assert check_voxels(check_metadata(str(url))).problems() == [], what
    return True


def _resume(loss: Loss, place: Path, undisturbed: dict[int, Path]) -> None:
    write_tree(loss.tree, place)
    spec = SPECS[loss.marks]
    fill(str(place / "store"), spec)
    found = len(Store.open(str(place / "store")).spec.patient_ids)
    assert_same_store(place / "store", undisturbed[found])
    shutil.rmtree(place)


def test_some_lost_stores_are_finished_later(
    all_losses: list[Loss], undisturbed: dict[int, Path], folder: Path
) -> None:
    for loss in random.Random(0).sample(all_losses, 12):
        _resume(loss, folder / "disk", undisturbed)


@pytest.mark.slow
def test_all_lost_stores_are_finished_later(
    all_losses: list[Loss], undisturbed: dict[int, Path], folder: Path
) -> None:
    """To the undisturbed store's bytes."""
    for loss in all_losses:
        _resume(loss, folder / "disk", undisturbed)
