"""The doctor on an object store that answers."""

from __future__ import annotations

import pytest

from radiotrain.doctor import measure

pytestmark = pytest.mark.usefixtures("fresh_clients")


def test_a_store_that_takes_the_credentials(url) -> None:
    found = measure.s3(url)
    assert found is not None
    assert (found.unreachable, found.refused) == (None, None)
    # The same clock, told in whole seconds.
    assert abs(found.skew_s) < 5
    folder = measure.folder(url)
    assert folder.error is None
    assert folder.free_gb is None
    assert folder.write_mb_per_s > 0


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_told_by_their_name(url, monkeypatch, name, refused) -> None:
    monkeypatch.setenv(name, "wrong")
    found = measure.s3(url)
    assert (found.unreachable, found.refused) == (None, refused)


def test_no_credentials(url, monkeypatch, tmp_path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert measure.s3(url).refused == "NoCredentialsError"
