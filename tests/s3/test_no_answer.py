"""What a server did not answer is neither damaged nor missing: nobody may be excluded for it."""

from __future__ import annotations

import pytest
from s3fs import S3FileSystem

from preprocessing.cohort.cohort import Patient, VolumeFile
from preprocessing.common.errors import storage_trouble
from preprocessing.images.load_patient import input_digest
from preprocessing.images.volume_files import open_file
from preprocessing.storage import files
from preprocessing.storage.file_cache import file_cache
from preprocessing.store.verify import check_metadata, check_voxels
from tests.commands import attempt
from tests.s3.proxy import DEAD, Weather

_BUSY = Weather(slow_down=1.0)


@pytest.fixture(autouse=True)
def quick_to_give_up(monkeypatch, fresh_clients):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("RADIOTRAIN_STORAGE_PATIENCE_S", "0")
    # s3fs asks again by itself, and waits longer each time.
    monkeypatch.setattr(S3FileSystem, "retries", 2)


def test_a_store_that_cannot_be_read_is_not_damaged(local_store, bucket, url, proxy):
    bucket.put(f"{local_store}/", f"{url.removeprefix('s3://')}/", recursive=True)
    check = check_metadata(url)
    proxy.set(_BUSY)
    # As the answer to HEAD, which has no body, or to GET says it.
    busy = "Service Unavailable|reduce your request rate"
    for look in (lambda: check_metadata(url), lambda: check_voxels(check)):
        with pytest.raises(OSError, match=busy):
            look()


def test_an_image_that_cannot_be_fetched_is_not_unreadable(bucket, url, proxy):
    bucket.pipe_file(f"{url.removeprefix('s3://')}/phase.nii.gz", b"1")
    image = VolumeFile(files.to_path(url) / "phase.nii.gz")
    # It is looked for, and then gone for.
    proxy.set_after(1, DEAD)
    with pytest.raises(Exception, match="Could not connect") as caught, file_cache() as cache:
        open_file(image, cache)
    assert storage_trouble(caught.value) is not None


def test_files_that_cannot_be_asked_for_have_no_digest(bucket, url, proxy):
    bucket.pipe_file(f"{url.removeprefix('s3://')}/phase.nii.gz", b"1")
    patient = Patient("P1", phases=(VolumeFile(files.to_path(url) / "phase.nii.gz"),))
    proxy.set(_BUSY)
    with pytest.raises(OSError, match="Service Unavailable"):
        input_digest(patient)


@pytest.mark.parametrize("weather", [DEAD, _BUSY], ids=["dead", "busy"])
@pytest.mark.parametrize("num_before", [0, 3])
def test_a_cohort_that_cannot_be_read_is_not_odd(cohort_url, proxy, weather, num_before):
    """Wherever reading it is cut short: nothing is called missing, empty or unreadable."""
    proxy.set_after(num_before, weather)
    assert "the object store did not answer" in attempt("cohort", "check", cohort_url).sentence
