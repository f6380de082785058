"""Damaged metadata and records of a store: never believed, named by verify, and repaired."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from preprocessing.common.errors import RadiotrainError
from preprocessing.storage.digests import dump_with_digest
from preprocessing.store import Store
from preprocessing.store.verify import check_metadata, check_voxels, repair, repair_metadata
from tests.commands import attempt, call
from tests.growing import labels_of, names, write_cohort
from tests.integration.nothing_lost.common import NUM_PATIENTS
from tests.stores import CROP, assert_same_store, content, preprocess_here

ARRAYS = ("images", "region", "bias_field", "scale", "labels")
DECIDING = ("zarr.json", "attributes.json", "patients.json", "records/000002.json")
FILES = (*DECIDING, *(f"{array}/zarr.json" for array in ARRAYS))


@pytest.fixture
def store(undisturbed, tmp_path):
    return Path(shutil.copytree(undisturbed, tmp_path / "store"))


def read_all(url):
    """Return everything that a training or a page may read of a store."""
    opened = Store.open(str(url))
    voxels = []
    for i in range(len(opened.patient_ids)):
        images, scale = opened.read_images(i)
        voxels.append((images.tobytes(), scale, opened.read_region(i).tobytes()))
        voxels.append(opened.read_bias_field(i).tobytes())
    facts = (opened.spec, opened.patient_ids, opened.records, opened.excluded, opened.fingerprint)
    return facts, opened.labels.tolist(), voxels


def flipped(whole, bit):
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_or_changes_nothing_that_is_read(store, undisturbed, name):
    path, expected = store / name, read_all(undisturbed)
    whole = path.read_bytes()
    for bit in random.Random(name).sample(range(8 * len(whole)), 25):
        path.write_bytes(flipped(whole, bit))
        with suppress(RadiotrainError):  # one sentence, by the command line
            assert read_all(store) == expected, bit
        # Found by verify, unless it is a blank of the layout that became another.
        problems = check_metadata(str(store)).problems()
        assert problems or read_all(store) == expected, bit


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "remove", "empty", "cut", "zeros"])
def test_verify_names_a_damaged_file_and_repair_makes_it_whole(store, undisturbed, name, damage):
    path = store / name
    whole = path.read_bytes()
    middle = len(whole) // 2
    changed = {
        "flip": flipped(whole, 8 * whole.index(b'"')),
        "empty": b"",
        "cut": whole[:middle],
        "zeros": whole[:middle] + bytes(len(whole) - middle),
    }
    path.unlink() if damage == "remove" else path.write_bytes(changed[damage])

    found = check_metadata(str(store))
    check = check_voxels(found)
    if (name, damage) == ("patients.json", "remove"):
        assert (check.is_finished, check.is_whole) == (False, True)
        return
    assert any(line.startswith(name) for line in check.problems())
    assert not check.lost
    repair(check_voxels(repair_metadata(found)))

    assert_same_store(store, undisturbed)
    assert check_voxels(check_metadata(str(store))).is_whole


def test_damaged_array_metadata_loses_no_voxels(store, undisturbed):
    for array in ARRAYS:
        (store / array / "zarr.json").write_text("{")
    out, _ = call("store", "verify", store, "--repair")
    assert "5 files of metadata and records repaired" in out
    assert "taken back" not in out
    assert_same_store(store, undisturbed)


def test_a_record_damaged_in_both_places_has_its_patient_made_again(cohort, store, undisturbed):
    for name in ("patients.json", "records/000003.json"):
        path = store / name
        path.write_bytes(path.read_bytes()[:-20])
    out, _ = call("store", "verify", store, "--repair")
    assert "1 patient taken back: run the 'radiotrain preprocess' that made" in out
    out, _ = preprocess_here(cohort, store, *CROP)
    assert f"{NUM_PATIENTS - 1} were done before, 1 now" in out
    assert_same_store(store, undisturbed)


def test_exchanged_files_of_two_patients_are_found(store):
    for name in ("records/00000{}.json", "images/c/{}/0/0/0/0"):
        first, second = (store / name.format(i) for i in (1, 2))
        kept = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(kept)
    out, _ = call("store", "verify", store, status=1)
    assert "records/000001.json holds patient number 2, expected 1" in out
    for patient in ("Breast_MRI_002", "Breast_MRI_003"):
        assert f"{patient}  images is not what was written (lost or replaced)" in out
    with pytest.raises(RadiotrainError, match="not the one that was written"):
        Store.open(str(store)).read_images(1)


def test_preprocess_says_how_to_repair_a_damaged_record(cohort, store):
    (store / "patients.json").unlink()
    (store / "records" / "000004.json").write_text("{}")
    _, error = call("preprocess", cohort, store, *CROP, status=2)
    assert (
        f"000004.json is damaged, it has no checksum: run 'radiotrain store verify {store}" in error
    )
    call("store", "verify", store, "--repair")
    out, _ = preprocess_here(cohort, store, *CROP)
    assert f"{NUM_PATIENTS - 1} were done before, 1 now" in out


def test_attributes_damaged_in_both_places_are_said_to_be_lost(store):
    before = content(store)
    for name in ("zarr.json", "attributes.json"):
        (store / name).write_text("{}")
    _, error = call("store", "verify", store, "--repair", status=2)
    assert "damaged in zarr.json and in attributes.json, which hold the same" in error
    assert before.keys() == content(store).keys()


@pytest.mark.parametrize("name", ["zarr.json", "attributes.json", "patients.json"])
@pytest.mark.parametrize("source", ["other patients", "other labels", "older", "newer"])
def test_a_whole_file_of_another_store_is_named_and_repaired_without_loss(tmp_path, name, source):
    # The first is seen in the images.
    labels = {patient: (labels_of(patient)[0], 1, 1) for patient in names(0, 3)}
    write_cohort(str(tmp_path / "store"), names(0, 4))
    others = {
        "other patients": (names(4, 8), {}),
        "other labels": (names(0, 4), labels),
        "older": (names(0, 3), {}),
        "newer": (names(0, 5), {}),
    }
    patients, changed = others[source]
    write_cohort(str(tmp_path / "other"), patients, labels=changed)
    path, before = tmp_path / "store" / name, content(tmp_path / "store")
    shutil.copy(tmp_path / "other" / name, path)
    # Attributes that are ahead are those of an extension cut short.
    is_no_fault = (name, source) == ("attributes.json", "newer")
    done = attempt("store", "verify", tmp_path / "store")
    assert is_no_fault == (done.status == 0)
    assert is_no_fault or name in done.out
    call("store", "verify", tmp_path / "store", "--repair")
    assert is_no_fault or content(tmp_path / "store") == before


def test_the_attributes_of_a_store_with_other_labels_are_not_believed(store):
    """As after half of a copy of another store of the same patients."""
    document = json.loads((store / "zarr.json").read_text())
    attributes = document["attributes"]
    del attributes["sha256"]
    attributes["spec"]["labels"] = [
        [1 - abs(v) for v in row] for row in attributes["spec"]["labels"]
    ]
    signed = json.loads(dump_with_digest(attributes))
    (store / "zarr.json").write_text(json.dumps(document | {"attributes": signed}))
    with pytest.raises(RadiotrainError, match="was written beside another zarr"):
        Store.open(str(store))
    out, _ = call("store", "verify", store, status=1)
    assert "zarr.json is of another store, or older, than all else" in out


def test_an_array_with_too_few_patients_is_refused(store):
    """Its number of patients has no checksum, as it grows."""
    path = store / "images" / "zarr.json"
    document = json.loads(path.read_text())
    document["shape"][0] = 0
    path.write_text(json.dumps(document))
    with pytest.raises(RadiotrainError, match="has 0 patients, expected 8"):
        Store.open(str(store)).read_images(1)
    out, _ = call("store", "verify", store, status=1)
    assert f"images/zarr.json has 0 patients, expected {NUM_PATIENTS}" in out
