import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from preprocessing.cohort import Finding
from preprocessing.errors import InputError, MissingPathError, SchemaError
from preprocessing.store import (
    PatientRecord,
    PatientTensor,
    Store,
    StoreSpec,
    StoreWriter,
    quantise,
)

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


def content(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


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


def test_other_settings_or_patients_are_refused(tmp_path):
    fill(tmp_path / "s")
    for spec, message in [
        (replace(SPEC, settings={"shrink": 2}), "settings.shrink is 4 there and 2 now"),
        (replace(SPEC, patient_ids=("a", "b", "d")), "patient_ids"),
        (replace(SPEC, labels=((0, 0), (0, -1), (1, 1))), "labels"),
    ]:
        with pytest.raises(InputError, match=message):
            StoreWriter.create_or_resume(str(tmp_path / "s"), spec, {})


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
    values["attributes"]["schema_version"] = 0
    meta.write_text(json.dumps(values))
    with pytest.raises(SchemaError, match="has schema 0, expected 1: run 'radiotrain preprocess'"):
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
from preprocessing.errors import StorageFullError
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
