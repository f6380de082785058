"""What a user gets wrong: one sentence, exit status 2."""

from __future__ import annotations

import pytest

from tests.commands import attempt
from tests.s3.objects import CROP

pytestmark = pytest.mark.usefixtures("fresh_clients")


@pytest.fixture(params=["cohort", "store"])
def words(request, cohort, cohort_url, url, tmp_path):
    """A command whose cohort, or whose store, is in the bucket."""
    if request.param == "cohort":
        return ("preprocess", cohort_url, tmp_path / "store", *CROP)
    return ("preprocess", cohort, url, *CROP)


def test_wrong_credentials(words, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    sentence = attempt(*words).sentence
    # What is asked first may have no body to say more in.
    assert "SignatureDoesNotMatch" in sentence or "Forbidden" in sentence


def test_no_credentials(words, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert "Unable to locate credentials" in attempt(*words).sentence


def test_nobody_at_the_address(words, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("RADIOTRAIN_STORAGE_PATIENCE_S", "0")
    sentence = attempt(*words).sentence
    assert 'Could not connect to the endpoint URL: "http://127.0.0.1:9/' in sentence


@pytest.mark.parametrize("address", ["127.0.0.1:8333", "nonsense", "http://"])
def test_no_address(words, monkeypatch, address):
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    assert f"AWS_ENDPOINT_URL is {address!r}, expected the address" in attempt(*words).sentence


def test_missing_bucket(cohort, proxy, bucket, tmp_path):
    assert (
        "no bucket 'not-there'" in attempt("preprocess", cohort, "s3://not-there/x", *CROP).sentence
    )
    # It would be a name with a spelling mistake, more often than not.
    assert not bucket.exists("not-there")
    for place in ("s3://not-there", "s3://not-there/cohort"):
        sentence = attempt("preprocess", place, tmp_path / "store", *CROP).sentence
        assert f"no cohort at {place}" in sentence


def test_missing_store(url):
    assert f"no store at {url}" in attempt("store", "verify", url).sentence


def test_bucket_that_may_not_be_looked_at_is_not_called_missing(proxy, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "Forbidden" in attempt("cohort", "check", "s3://radiotrain").sentence
