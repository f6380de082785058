"""What `preprocessing.storage.files` and `preprocessing.storage.file_cache` do with objects."""

from __future__ import annotations

import tempfile

import pytest

from preprocessing.storage import files
from preprocessing.storage.file_cache import file_cache
from preprocessing.store import records
from tests.s3.proxy import DEAD


@pytest.mark.slow
def test_more_objects_than_a_listing_holds(bucket, url):
    """S3 lists 1000 at a time."""
    root = url.removeprefix("s3://")
    bucket.pipe({f"{root}/records/{i:06d}.json": b"%d" % i for i in range(1010)})
    assert records.finished_indices(url) == set(range(1010))
    assert len(files.sizes_below(files.to_path(url))) == 1010
    urls = [records.record_url(url, i) for i in range(1010)]
    assert files.read_many(urls) == [b"%d" % i for i in range(1010)]


def test_reading_none_one_and_a_missing_one(url):
    one = files.join(url, "one.txt")
    files.write_text(one, "1")
    assert files.read_many([]) == []
    assert files.read_many([one]) == [b"1"]
    for urls in ([files.join(url, "two.txt")], [one, files.join(url, "two.txt")]):
        with pytest.raises(FileNotFoundError):
            files.read_many(urls)


def test_what_others_wrote_after_a_listing_is_seen(bucket, url):
    """As when Dask workers write the records that their client reads in the end."""
    root = url.removeprefix("s3://")
    files.write_text(files.join(url, "records", "0.json"), "0")
    folder = files.to_path(url)
    assert files.list_names(files.join(url, "records")) == ["0.json"]
    assert files.sizes_below(folder) == {"records/0.json": 1}
    bucket.pipe_file(f"{root}/records/1.json", b"11")
    assert files.exists(files.join(url, "records", "1.json"))
    assert files.read_many([files.join(url, "records", f"{i}.json") for i in (0, 1)]) == [
        b"0",
        b"11",
    ]
    assert files.list_names(files.join(url, "records")) == ["0.json", "1.json"]
    assert files.sizes_below(folder) == {"records/0.json": 1, "records/1.json": 2}


def test_a_cohort_is_looked_at_anew_when_it_is_read_anew(bucket, url):
    root = url.removeprefix("s3://")
    bucket.pipe_file(f"{root}/a/x", b"1")
    assert [p.name for p in files.to_path(url).iterdir()] == ["a"]
    bucket.pipe_file(f"{root}/b/x", b"1")
    assert [p.name for p in files.to_path(url).iterdir()] == ["a", "b"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_fetched_files_are_there_for_as_long_as_they_are_needed(bucket, url, temporary):
    root = url.removeprefix("s3://")
    # Names need not differ between folders.
    bucket.pipe({f"{root}/{i}/slice.dcm": b"%d" % i for i in range(60)})
    paths = [files.to_path(url) / f"{i}/slice.dcm" for i in range(60)]
    with file_cache() as cache:
        first = cache.local(paths[:20])
        assert [p.read_bytes() for p in first] == [b"%d" % i for i in range(20)]
        assert cache.local(paths)[:20] == first
        assert len(list(temporary.rglob("slice.dcm"))) == 60
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_of_files_that_could_not_be_fetched(bucket, url, temporary):
    bucket.pipe_file(f"{url.removeprefix('s3://')}/0.dcm", b"0")
    with pytest.raises(FileNotFoundError), file_cache() as cache:
        cache.local([files.to_path(url) / name for name in ("0.dcm", "1.dcm")])
    assert list(temporary.iterdir()) == []


def test_nothing_is_left_when_the_network_dies(
    bucket, url, temporary, proxy, monkeypatch, fresh_clients
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("RADIOTRAIN_STORAGE_PATIENCE_S", "0")
    bucket.pipe({f"{url.removeprefix('s3://')}/{i}.dcm": b"0" for i in range(40)})
    proxy.set_after(20, DEAD)
    with pytest.raises(Exception, match=r"127\.0\.0\.1"), file_cache() as cache:
        cache.local([files.to_path(url) / f"{i}.dcm" for i in range(40)])
    assert list(temporary.iterdir()) == []
