"""Where patients are kept: the decision, the shared copy, and that batches are the same everywhere."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.data import patients as patients_module
from radiotrain.data.batches import batches
from radiotrain.data.patients import load_patients, part_ids
from radiotrain.data.sampler import epoch_order, global_batches, rank_share
from radiotrain.data.storage import (
    Placement,
    Room,
    SharedCopy,
    choose_placement,
    copy_folder,
    measure_room,
    missing_bytes,
    read_voxels,
    remove_unused,
)
from radiotrain.split.split import Split

CPU = torch.device("cpu")
GB = 10**9
PLACEMENTS = ("device", "shared", "stream")


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A folder in the place of the host's shared memory."""
    monkeypatch.setattr(patients_module, "SHARED_MEMORY", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("setting", "room", "expected"),
    [
        ("auto", Room(80 * GB, 100 * GB, 50 * GB), "device"),
        ("auto", Room(10 * GB, 100 * GB, 50 * GB), "shared"),
        ("auto", Room(10 * GB, 100 * GB, 1 * GB), "stream"),
        ("auto", Room(10 * GB, 9 * GB, 50 * GB), "stream"),
        ("auto", Room(None, 100 * GB, 50 * GB), "shared"),
        ("auto", Room(None, 100 * GB, 0), "device"),
        ("auto", Room(None, 9 * GB, 0), "stream"),
        ("stream", Room(80 * GB, 100 * GB, 50 * GB), "stream"),
        ("shared", Room(80 * GB, 100 * GB, 50 * GB), "shared"),
        ("device", Room(None, 100 * GB, 0), "device"),
    ],
)
def test_first_place_with_room_is_chosen(setting, room, expected):
    assert choose_placement(setting, 8 * GB, 8 * GB, room).placement == expected


def test_what_is_in_shared_memory_already_needs_no_room():
    full = Room(None, 100 * GB, 0)
    assert choose_placement("auto", 8 * GB, 0, full).placement == "shared"


@pytest.mark.parametrize("setting", ["device", "shared"])
def test_place_without_room_asked_for_by_name_is_refused(setting):
    with pytest.raises(InputError, match=f"speed.placement is {setting}.*8.0 GB.*auto or stream"):
        choose_placement(setting, 8 * GB, 8 * GB, Room(None, 1 * GB, 1 * GB))


def test_room_of_this_machine_is_plausible():
    room = measure_room(CPU)
    assert room.device is None
    assert 10**7 < room.host < 10**14


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_batches_are_the_same_wherever_patients_are(store, split, memory, world_size):
    ids = part_ids(split, 0, "train")
    found = {}
    for placement in PLACEMENTS:
        patients = load_patients(
            store, split, ids, ["ER"], rule="plain", placement=placement, device=CPU
        )
        assert patients.placement == placement
        order = epoch_order(0, 0, len(patients))
        groups = [
            rank_share(rows, rank, world_size)
            for rows in global_batches(order, 8)
            for rank in range(world_size)
        ]
        found[placement] = list(batches(patients, groups, CPU, num_ahead=2))
        assert [tuple(b.rows) for b in found[placement]] == [tuple(g) for g in groups]
    for placement in PLACEMENTS[1:]:
        for one, other in zip(found["device"], found[placement], strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels, other.labels)


def test_where_patients_are_is_said(store, split, memory):
    ids = part_ids(split, 0, "train")
    said = {
        placement: load_patients(store, split, ids, ["ER"], rule="plain", placement=placement).where
        for placement in PLACEMENTS
    }
    assert said["device"] == "1 MB as int16 in cpu memory (as configured)"
    assert (
        said["shared"] == "1 MB as int16 in shared memory, one copy for this host (as configured)"
    )
    assert said["stream"] == "1 MB as int16 streamed from the store (as configured)"


def test_an_error_while_batches_are_made_ready_reaches_the_caller(store, split, monkeypatch):
    patients = load_patients(store, split, part_ids(split, 0, "train"), ["ER"], rule="plain")
    groups = [np.arange(4), np.arange(4, 8), np.arange(8, 12)]

    def damaged(store: Store, index: int, rule: str) -> None:
        raise InputError("chunk is damaged")

    ready = batches(patients, groups, CPU)
    next(ready)
    monkeypatch.setattr(patients_module, "read_voxels", damaged)
    with pytest.raises(InputError, match="damaged"):
        list(ready)


def test_no_more_batches_are_made_ready_than_asked_for(store, split):
    patients = load_patients(store, split, part_ids(split, 0, "train"), ["ER"], rule="plain")
    taken = []
    take = patients.source.take

    class Counting:
        is_on_device = False

        def take(self, rows):
            taken.append(len(rows))
            return take(rows)

    object.__setattr__(patients, "source", Counting())
    ready = batches(patients, [np.arange(2)] * 10, CPU, num_ahead=3)
    next(ready)
    time.sleep(0.3)
    assert len(taken) == 4
    ready.close()
    assert len(taken) <= 5


def test_copy_is_filled_once_and_removed_by_who_leaves_last(store: Store, memory: Path):
    first, second = SharedCopy(store, memory, "plain"), SharedCopy(store, memory, "plain")
    first.fill([3, 1], lambda: None)
    modes = {p.stat().st_mode & 0o777 for p in first.folder.iterdir()}
    assert (first.folder.stat().st_mode & 0o777, modes) == (0o700, {0o600})
    assert missing_bytes(store, [1, 3], memory, "plain") == 0
    assert missing_bytes(store, [1, 2], memory, "plain") == int(np.prod(store.image_shape)) * 2
    begun = (first.folder / "voxels").stat().st_mtime_ns
    second.fill([1, 3], lambda: None)
    assert (first.folder / "voxels").stat().st_mtime_ns == begun
    expected = read_voxels(store, 3, "plain")
    assert np.array_equal(second.voxels[3], expected.voxels)
    assert second.normalisation[3].tolist() == [expected.gain, expected.offset]
    first.close()
    assert np.array_equal(second.voxels[1], read_voxels(store, 1, "plain").voxels)
    assert copy_folder(store, memory, "plain").is_dir()
    second.close()
    assert not list(memory.iterdir())


def test_writing_to_a_mapping_changes_nobody_elses(store, memory):
    first, second = SharedCopy(store, memory, "plain"), SharedCopy(store, memory, "plain")
    first.fill([0], lambda: None)
    before = second.voxels[0].copy()
    first.voxels[0] += 1
    assert np.array_equal(second.voxels[0], before)


@pytest.mark.parametrize("how", ["link", "open to all", "file"])
def test_a_folder_that_another_user_laid_there_is_refused(store, memory, tmp_path_factory, how):
    folder = copy_folder(store, memory, "plain")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    if how == "link":
        folder.symlink_to(elsewhere)
    elif how == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(InputError, match="is not this user's own"):
        SharedCopy(store, memory, "plain")
    assert list(elsewhere.iterdir()) == []


HOLDS = """
import sys, time
from pathlib import Path
from preprocessing.store import Store
from radiotrain.data.storage import SharedCopy
copy = SharedCopy(Store.open(sys.argv[1]), Path(sys.argv[2]), "plain")
copy.fill(range(10), lambda: None)
print("filled", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_copy_outlives_nobody_for_long(store, memory, how):
    """A killed process's copy is used by the next run, or removed by one on another store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, store.url, str(memory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "filled\n"
    other = SharedCopy(_other_store(store), memory, "plain")  # does not touch what is in use
    assert copy_folder(store, memory, "plain").is_dir()
    process.send_signal(how)
    process.wait(timeout=30)
    process.stdout.close()
    assert copy_folder(store, memory, "plain").is_dir() == (how == signal.SIGKILL)
    if how == signal.SIGKILL:
        assert missing_bytes(store, range(10), memory, "plain") == 0
    remove_unused(memory)
    assert not copy_folder(store, memory, "plain").is_dir()
    assert copy_folder(_other_store(store), memory, "plain").is_dir()
    other.close()
    assert not list(memory.iterdir())


def _other_store(store: Store) -> Store:
    return replace(store, fingerprint="another")


def _fill_and_sum(url: str, memory: str) -> int:
    copy = SharedCopy(Store.open(url), Path(memory), "plain")
    copy.fill(range(20), lambda: None)
    return int(copy.voxels[:20].astype(np.int64).sum())


@pytest.mark.slow
def test_processes_that_begin_together_agree(store, memory):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        sums = pool.starmap(_fill_and_sum, [(store.url, str(memory))] * 6)
    expected = sum(
        int(read_voxels(store, i, "plain").voxels.astype(np.int64).sum()) for i in range(20)
    )
    assert set(sums) == {expected}


def test_full_shared_memory_is_streamed_around(store: Store, split: Split, memory, monkeypatch):
    def full(self: SharedCopy, index: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SharedCopy, "_put", full)
    ids = part_ids(split, 0, "train")
    patients = load_patients(store, split, ids, ["ER"], rule="plain", placement="auto")
    assert patients.placement is Placement.stream
    assert "is full" in patients.where
    assert not list(memory.iterdir())


LOADS = """
import sys
from preprocessing.store import Store
from radiotrain.data import patients
from radiotrain.data.storage import Room
from radiotrain.split.split import make_split
patients.measure_room = lambda device: Room(None, 10**12, 10**12)
store = Store.open(sys.argv[1])
split = make_split(store, seed=3, num_folds=4)
ids = patients.part_ids(split, 0, "train")
print(patients.load_patients(store, split, ids, ["ER"], rule="plain", placement="auto").where)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_really_full_shared_memory_is_an_error_not_a_signal(store, tmp_path):
    """What was free when it was measured may be gone when patients are put there."""
    disk, program = tmp_path / "disk", tmp_path / "loads.py"
    disk.mkdir()
    program.write_text(LOADS)
    command = f"mount -t tmpfs -o size=256k none {disk}"
    command += f" && exec {sys.executable} {program} {store.url}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command],
        env=os.environ | {"RADIOTRAIN_SHARED_MEMORY": str(disk)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{disk} is full" in done.stdout
