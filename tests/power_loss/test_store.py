"""A store that is made, repaired and extended, and loses power at any time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zarr

from preprocessing.common.errors import RadiotrainError
from preprocessing.store import Store, layout, metadata, records
from preprocessing.store.verify import check_metadata, check_voxels
from tests.integration.cut_short import LARGER, SPEC, fill
from tests.power_loss.conftest import Recorder
from tests.power_loss.disk import Loss, write_tree
from tests.stores import assert_same_store

SPECS = (SPEC, SPEC, LARGER, LARGER)
"""What the program was making after so many marks."""


@pytest.fixture(scope="module")
def all_losses(recorded: Recorder) -> Sequence[Loss]:
    return recorded("store").losses


@pytest.fixture(scope="module")
def undisturbed(memory: Path) -> dict[int, Path]:
    """The stores that are made without a loss, by how many patients they have."""
    found = {}
    for spec in (SPEC, LARGER):
        num = len(spec.patient_ids)
        found[num] = memory / "undisturbed" / str(num)
        fill(str(found[num]), SPEC)
        fill(str(found[num]), spec)
    return found


def test_some_lost_stores_are_whole_or_resume(
    all_losses: Sequence[Loss], undisturbed: dict[int, Path], disk: Path
) -> None:
    chosen = random.Random(0).sample(all_losses, 60)
    _check_all(chosen, disk)
    for loss in chosen[:12]:
        _resume(loss, disk, undisturbed)


@pytest.mark.slow
def test_all_lost_stores_are_whole(all_losses: Sequence[Loss], disk: Path) -> None:
    """At every point: finished, a store is whole; after a command ended, it is finished."""
    assert 3 <= _check_all(all_losses, disk) < len(all_losses)


@pytest.mark.slow
def test_all_lost_stores_resume(
    all_losses: Sequence[Loss], undisturbed: dict[int, Path], disk: Path
) -> None:
    """To the undisturbed store's bytes."""
    for loss in all_losses:
        _resume(loss, disk, undisturbed)


def _check_all(chosen: Sequence[Loss], disk: Path) -> int:
    num_finished = 0
    for loss in chosen:
        write_tree(loss.tree, disk)
        num_finished += _check(loss, disk / "store")
        shutil.rmtree(disk)
    return num_finished


def _check(loss: Loss, url: Path) -> bool:
    """Check what is said to be done; return whether the store is finished."""
    what = f"after {loss.after} operations, {loss.how}"
    attributes = metadata.read_attributes(str(url)) if url.is_dir() else None
    if attributes is None:
        assert loss.marks == 0, what
        return False
    # A patient with a record needs no more work: its voxels are there.
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
    assert store.spec == attributes.spec, what
    assert check_voxels(check_metadata(str(url))).problems() == [], what
    return True


def _resume(loss: Loss, place: Path, undisturbed: dict[int, Path]) -> None:
    write_tree(loss.tree, place)
    fill(str(place / "store"), SPECS[loss.marks])
    found = len(Store.open(str(place / "store")).spec.patient_ids)
    assert_same_store(place / "store", undisturbed[found])
    shutil.rmtree(place)
