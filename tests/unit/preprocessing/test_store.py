import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from preprocessing.cohort.cohort import Finding
from preprocessing.common.errors import InputError, MissingPathError, SchemaError
from preprocessing.storage.folder_lock import exclusive
from preprocessing.store import (
    PatientRecord,
    PatientTensor,
    Store,
    StoreSpec,
    StoreWriter,
    metadata,
    quantise,
)
from preprocessing.store.verify import check_metadata, check_voxels, repair
from tests.stores import content

SPEC = StoreSpec(
    patient_ids=("a", "b", "c"),
    targets=("ER", "PR"),
    labels=((1, 0), (0, -1), (1, 1)),
    num_phases=2,
    crop_shape=(6, 5, 4),
    settings={"shrink": 4},
)
BAD = Finding("no-images", "no folder b with images")


def tensor(seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(100, 30, (2, 6, 5, 4)).astype(np.float32)
    return PatientTensor(images, rng.integers(0, 4, (6, 5, 4), dtype=np.uint8))


def fill(url, order=(0, 1, 2)):
    writer = StoreWriter.create_or_resume(str(url), SPEC, {"zarr": "3"})
    for i in order:
        if i == 1:
            writer.write(PatientRecord(1, "b", "excluded", (BAD,)), None)
        else:
            record = PatientRecord(i, SPEC.patient_ids[i], "stored", spacing_mm=(1.0, 1.0, 2.0))
            writer.write(record, tensor(i))
    return writer


def test_what_is_written_is_read(tmp_path):
    store = fill(tmp_path / "s").finish()
    assert store.patient_ids == ("a", "c")
    np.testing.assert_array_equal(store.labels, [[1, 0], [1, 1]])
    values, scale = store.read_images(1)
    np.testing.assert_allclose(values * scale, tensor(2).images, atol=scale / 2 * 1.001)
    np.testing.assert_array_equal(store.read_region(1), tensor(2).region)
    assert store.records[1].spacing_mm == (1.0, 1.0, 2.0)
    assert [(r.patient_id, r.findings) for r in store.excluded] == [("b", (BAD,))]
    assert store.image_shape == (2, 6, 5, 4)


def test_resumed_store_is_the_undisturbed_one_bit_for_bit(tmp_path):
    fill(tmp_path / "whole").finish()
    fill(tmp_path / "resumed", order=(2,))
    writer = StoreWriter.create_or_resume(str(tmp_path / "resumed"), SPEC, {"zarr": "3"})
    assert writer.finished() == {2}
    fill(tmp_path / "resumed", order=(0, 1)).finish()
    assert content(tmp_path / "whole") == content(tmp_path / "resumed")


def test_unfinished_store_is_not_opened(tmp_path):
    fill(tmp_path / "s", order=(0,))
    with pytest.raises(InputError, match="1 of 3 patients done: run 'radiotrain preprocess' again"):
        Store.open(str(tmp_path / "s"))


def test_other_settings_or_labels_are_refused(tmp_path):
    fill(tmp_path / "s")
    for spec, message in [
        (replace(SPEC, settings={"shrink": 2}), "settings.shrink is 4 there and 2 now"),
        (replace(SPEC, num_phases=3), "num_phases is 2 there and 3 now"),
        (replace(SPEC, targets=("ER", "HER2")), "targets is"),
        (replace(SPEC, cohort={"layout": "duke"}), "cohort.layout is None there and 'duke' now"),
        (
            replace(SPEC, labels=((0, 0), (0, -1), (1, 1))),
            "labels of a are {'ER': 1, 'PR': 0} there and {'ER': 0, 'PR': 0} now",
        ),
    ]:
        with pytest.raises(InputError, match=re.escape(message)):
            StoreWriter.create_or_resume(str(tmp_path / "s"), spec, {})


def test_new_patients_are_appended_and_the_others_not_touched(tmp_path):
    before = fill(tmp_path / "s").finish()
    kept = {k: v for k, v in content(tmp_path / "s").items() if k.startswith("images/c/")}
    grown = replace(SPEC, patient_ids=("A", "a", "c"), labels=((0, 1), (1, 0), (1, 1)))
    writer = StoreWriter.create_or_resume(str(tmp_path / "s"), grown, {})
    assert writer.spec.patient_ids == ("a", "b", "c", "A")  # b is done and stays
    assert writer.finished() == {0, 1, 2}
    with pytest.raises(InputError, match="is not finished, 3 of 4 patients done"):
        Store.open(str(tmp_path / "s"))
    writer.write(PatientRecord(3, "A", "stored"), tensor(7))
    after = writer.finish()
    assert after.patient_ids == ("a", "c", "A")
    np.testing.assert_array_equal(after.labels, [[1, 0], [1, 1], [0, 1]])
    assert kept.items() <= content(tmp_path / "s").items()
    values, scale = after.read_images(2)
    np.testing.assert_allclose(values * scale, tensor(7).images, atol=scale / 2 * 1.001)
    assert after.fingerprint != before.fingerprint
    assert check_voxels(check_metadata(after.url)).is_whole


def test_extension_cut_short_is_made_up_for(tmp_path, monkeypatch):
    fill(tmp_path / "s").finish()
    grown = replace(SPEC, patient_ids=(*SPEC.patient_ids, "d"), labels=(*SPEC.labels, (0, 1)))
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "write_labels", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            StoreWriter.create_or_resume(str(tmp_path / "s"), grown, {})
    writer = StoreWriter.create_or_resume(str(tmp_path / "s"), grown, {})
    writer.write(PatientRecord(3, "d", "stored"), tensor(3))
    assert writer.finish().labels.tolist() == [[1, 0], [1, 1], [0, 1]]


def test_unfinished_patients_that_are_not_given_are_refused(tmp_path):
    fill(tmp_path / "s", order=(0, 2))
    other = replace(SPEC, patient_ids=("a", "c"), labels=((1, 0), (1, 1)))
    with pytest.raises(InputError, match="1 of its patients, such as b, are not done"):
        StoreWriter.create_or_resume(str(tmp_path / "s"), other, {})


def test_only_one_run_holds_a_store(tmp_path):
    with exclusive(str(tmp_path / "s")):
        with (
            pytest.raises(InputError, match=rf"process {os.getpid()} on .* wait until"),
            exclusive(str(tmp_path / "s")),
        ):
            pass
        assert [p.name for p in (tmp_path / "s").iterdir()] == [".writing.json"]
        fill(tmp_path / "s")
    with exclusive(str(tmp_path / "s")):
        pass
    assert ".writing.json" not in [p.name for p in (tmp_path / "s").iterdir()]


def test_a_lock_leaves_no_folder_behind_where_nothing_was_made(tmp_path):
    with exclusive(str(tmp_path / "s")):
        pass
    assert not (tmp_path / "s").exists()


def test_a_patient_taken_back_is_to_be_done_again(tmp_path):
    store = fill(tmp_path / "s").finish()
    whole = content(tmp_path / "s")
    chunk = tmp_path / "s" / "images" / "c" / "2" / "0" / "0" / "0" / "0"
    chunk.unlink()
    check = check_voxels(check_metadata(store.url))
    assert [*check.damaged_arrays] == [2]
    repair(check)
    writer = StoreWriter.create_or_resume(str(tmp_path / "s"), SPEC, {"zarr": "3"})
    assert writer.finished() == {0, 1}
    fill(tmp_path / "s", order=(2,)).finish()
    assert content(tmp_path / "s") == whole


def test_fingerprint_tells_voxels_labels_and_settings_apart(tmp_path):
    same = {fill(tmp_path / n).finish().fingerprint for n in ("s", "t")}
    assert len(same) == 1
    writer = fill(tmp_path / "u", order=(1, 2))
    writer.write(PatientRecord(0, "a", "stored"), tensor(99))
    assert writer.finish().fingerprint not in same


def test_other_schema_is_refused(tmp_path):
    fill(tmp_path / "s").finish()
    meta = tmp_path / "s" / "zarr.json"
    values = json.loads(meta.read_text())
    # As versions wrote it that had no checksum.
    values["attributes"]["schema_version"] = 2
    del values["attributes"]["sha256"]
    meta.write_text(json.dumps(values))
    with pytest.raises(SchemaError, match="has schema 2, expected 3: run 'radiotrain preprocess'"):
        Store.open(str(tmp_path / "s"))


def test_nothing_that_is_no_store_is_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(InputError, match="is not empty and is no store"):
        StoreWriter.create_or_resume(str(tmp_path), SPEC, {})
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"
    with pytest.raises(MissingPathError, match="no store at"):
        Store.open(str(tmp_path))


def test_damaged_chunk_is_detected(tmp_path):
    store = fill(tmp_path / "s").finish()
    chunk = tmp_path / "s" / "images" / "c" / "2" / "0" / "0" / "0" / "0"
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    with pytest.raises(Exception, match="checksum"):
        store.read_images(1)


@given(
    hnp.arrays(
        np.float32,
        (2, 3, 2, 2),
        elements=st.floats(0, 4096, width=32, allow_subnormal=False),
    )
)
def test_rounding_error_is_at_most_half_a_step(images):
    values, scale = quantise(images)
    assert np.abs(values * np.float64(scale) - images).max() <= np.float64(scale) * 0.51


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk_is_said_and_loses_nothing(tmp_path):
    """On a real full file system, in a mount namespace of its own."""
    script = f"""
import sys
sys.path[:0] = {[str(p) for p in sys.path]!r}
import numpy as np
from preprocessing.common.errors import StorageFullError
from preprocessing.store import *
spec = StoreSpec(tuple("abcdefgh"), ("ER",), ((1,),) * 8, 1, (64, 64, 16))
url = {str(tmp_path / "small" / "s")!r}
rng = np.random.default_rng(0)
noise = PatientTensor(rng.random((1, 64, 64, 16), dtype=np.float32), np.zeros((64, 64, 16), "u1"))
writer = StoreWriter.create_or_resume(url, spec, {{}})
try:
    for i in range(8):
        writer.write(PatientRecord(i, "abcdefgh"[i], "stored"), noise)
except StorageFullError as error:
    print("said:", error)
resumed = StoreWriter.create_or_resume(url, spec, {{}})
print("done:", sorted(resumed.finished()))
"""
    (tmp_path / "small").mkdir()
    mounted = subprocess.run(
        ["unshare", "--mount", "sh", "-c",
         f"mount -t tmpfs -o size=500k tmpfs {tmp_path}/small && exec {sys.executable} -"],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "mount:" in mounted.stderr or "unshare:" in mounted.stderr:
        pytest.skip(f"this machine lets nobody mount: {mounted.stderr.strip()}")
    assert "said: disk full while writing store" in mounted.stdout, mounted.stderr
    assert "run the same command again to resume" in mounted.stdout
    done = json.loads(mounted.stdout.split("done: ")[1])
    assert done == list(range(len(done)))
    assert 1 <= len(done) < 8
