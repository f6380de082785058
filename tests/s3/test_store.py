"""A cohort and a store in a bucket give what folders give."""

from __future__ import annotations

import nibabel
import numpy as np
import pandas as pd
import pytest

from tests.commands import attempt
from tests.s3.objects import CROP, objects
from tests.stores import content


def test_a_store_in_a_bucket_equals_one_on_a_folder(cohort, local_store, bucket, url, scheduler):
    result = attempt("preprocess", cohort, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    assert objects(bucket, url) == content(local_store)


def test_a_cohort_in_a_bucket_gives_the_same_store(cohort_url, local_store, bucket, url, scheduler):
    result = attempt("preprocess", cohort_url, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    assert objects(bucket, url) == content(local_store)


def test_cohort_check_says_the_same_of_a_bucket(cohort, cohort_url, proxy):
    here, there = attempt("cohort", "check", cohort), attempt("cohort", "check", cohort_url)
    assert there.status == 0, there.error
    assert there.out == here.out


def test_a_manifest_of_nifti_files_in_a_bucket(tmp_path, bucket, url, scheduler):
    random = np.random.default_rng(0)
    rows = []
    for number in range(3):
        row = {"patient_id": f"P{number}", "ER": number % 2, "mask": f"mask_{number}.nii.gz"}
        shape = (40, 36, 20)
        for phase in range(2):
            row[f"phase_{phase}"] = f"P{number}/phase_{phase}.nii.gz"
            voxels = random.gamma(4, 100, shape).astype(np.float32)
            (tmp_path / f"P{number}").mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / row[f"phase_{phase}"])
        mask = np.zeros(shape, dtype=np.uint8)
        mask[15:22, 14:20, 8:12] = 1
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / row["mask"])
        rows.append(row)
    # What the table names and nobody has uploaded is one patient's trouble.
    rows.append({**rows[0], "patient_id": "P9", "phase_1": "P9/phase_1.nii.gz"})
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    bucket.put(f"{tmp_path}/", f"{url.removeprefix('s3://')}/cohort/", recursive=True)

    for cohort, store in ((tmp_path, tmp_path / "store"), (f"{url}/cohort", f"{url}/store")):
        result = attempt("preprocess", cohort, store, *CROP, "--scheduler", scheduler)
        assert result.status == 0, result.error
        assert "3 patients stored, 1 excluded (1 image-missing)" in result.out
    assert objects(bucket, f"{url}/store") == content(tmp_path / "store")


@pytest.fixture
def stored(local_store, bucket, url):
    bucket.put(f"{local_store}/", f"{url.removeprefix('s3://')}/", recursive=True)
    return url


def test_a_flipped_byte_is_found_and_mended(cohort, local_store, bucket, stored, scheduler):
    assert attempt("store", "verify", stored).status == 0
    (chunk,) = [k for k in content(local_store) if k.startswith("images/c/3/")]
    place = f"{stored.removeprefix('s3://')}/{chunk}"
    damaged = bytearray(bucket.cat_file(place))
    damaged[len(damaged) // 2] ^= 1
    bucket.pipe_file(place, bytes(damaged))

    found = attempt("store", "verify", stored)
    assert found.status == 1
    assert "Breast_MRI_004  images cannot be read" in found.out
    assert "1 patient taken back" in attempt("store", "verify", stored, "--repair").out
    mended = attempt("preprocess", cohort, stored, *CROP, "--scheduler", scheduler)
    assert "3 were done before, 1 now" in mended.out
    assert objects(bucket, stored) == content(local_store)


def test_a_lost_chunk_is_found(bucket, stored, local_store):
    (chunk,) = [k for k in content(local_store) if k.startswith("region/c/0/")]
    bucket.rm_file(f"{stored.removeprefix('s3://')}/{chunk}")
    assert (
        "Breast_MRI_001  region is not what was written" in attempt("store", "verify", stored).out
    )
