"""Bit rot: it is found, no training is given it, and a repaired store is what it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.data.patients import load_patients
from radiotrain.split.split import make_split
from tests.commands import call
from tests.integration.nothing_lost.common import NUM_PATIENTS
from tests.stores import CROP, assert_same_store, content, preprocess_here


def chunk(store, array, index):
    """Return the file of a patient's chunk."""
    folder = store / array / "c" / ("0" if array == "labels" else str(index))
    return next(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else folder


def flip(path):
    """Change one bit in the middle of a file."""
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


def patient_id(index):
    return f"Breast_MRI_{index + 1:03d}"


EVERYONE = set(range(NUM_PATIENTS))
# Array, how it is damaged, in whose chunk, who is affected.
DAMAGES = [
    ("images", flip, 1, {1}),
    ("region", flip, 2, {2}),
    ("bias_field", flip, 3, {3}),
    ("scale", flip, 4, {4}),
    ("labels", flip, 0, EVERYONE),
    ("images", Path.unlink, 5, {5}),
    ("region", Path.unlink, 6, {6}),
    ("bias_field", Path.unlink, 7, {7}),
    ("scale", Path.unlink, 0, {0}),
]


@pytest.mark.parametrize(("array", "damage", "index", "affected"), DAMAGES)
def test_verify_names_the_patient_whose_bytes_have_changed(
    undisturbed, tmp_path, array, damage, index, affected
):
    store = Path(shutil.copytree(undisturbed, tmp_path / "store"))
    call("store", "verify", store)
    damage(chunk(store, array, index))
    before = content(store)
    out, _ = call("store", "verify", store, status=1)
    lines = [line.split() for line in out.splitlines()]
    assert {(words[0], words[1]) for words in lines[:-1]} == {
        (patient_id(i), array) for i in affected
    }
    num = len(affected)
    assert f"{store} is damaged, {num} problem{'s' * (num > 1)}: add --repair" in out
    assert content(store) == before


@pytest.mark.parametrize("damage", [flip, Path.unlink])
@pytest.mark.parametrize("array", ["images", "region"])
def test_training_is_never_given_other_voxels(undisturbed, tmp_path, array, damage):
    shutil.copytree(undisturbed, tmp_path / "store")
    store = Store.open(str(tmp_path / "store"))
    split = make_split(store, seed=0, test_fraction=0.25, num_folds=2)
    someone = split.train_ids(0)[0]
    load_patients(store, split, [someone], ["ER"], rule="plain", placement="device")
    damage(chunk(tmp_path / "store", array, store.index_of(someone)))
    with pytest.raises(InputError, match=f"{array} of {someone} cannot be read .* --repair"):
        load_patients(store, split, [someone], ["ER"], rule="plain", placement="device")


def test_a_repaired_store_is_what_it_was(cohort, undisturbed, tmp_path):
    store = Path(shutil.copytree(undisturbed, tmp_path / "store"))
    for array, damage, index, _ in DAMAGES:
        damage(chunk(store, array, index))
    out, _ = call("store", "verify", store, "--repair")
    # Labels and scales stand elsewhere, too; voxels have to be made again.
    assert "6 patients taken back: run the 'radiotrain preprocess' that made" in out
    assert "2 patients repaired" in out
    out, _ = preprocess_here(cohort, store, *CROP)
    assert "2 were done before, 6 now" in out
    assert_same_store(store, undisturbed)


def test_damaged_labels_and_scales_are_mended_at_once(undisturbed, tmp_path):
    store = Path(shutil.copytree(undisturbed, tmp_path / "store"))
    for array in ("labels", "scale"):
        flip(chunk(store, array, 2))
    out, _ = call("store", "verify", store, "--repair")
    assert "taken back" not in out
    assert_same_store(store, undisturbed)
    call("store", "verify", store)
