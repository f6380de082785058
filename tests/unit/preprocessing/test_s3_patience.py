"""What an object store's client says, and whether it is waited for."""

from __future__ import annotations

import math
import pickle

import fsspec
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from preprocessing.common.errors import InputError, StorageAwayError, storage_trouble
from preprocessing.storage.s3_filesystem import PersistentS3FileSystem, may_pass
from preprocessing.storage.s3_options import PATIENCE, patience_s


def answered(status: int, code: str) -> ClientError:
    values = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(values, "GetObject")


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), True),
        (ReadTimeoutError(endpoint_url="http://x"), True),
        (SSLError(endpoint_url="http://x", error="the handshake was cut short"), True),
        (SSLError(endpoint_url="http://x", error="certificate verify failed"), False),
        (answered(500, "InternalError"), True),
        (answered(503, "SlowDown"), True),
        (answered(501, "NotImplemented"), False),
        (answered(403, "SignatureDoesNotMatch"), False),
        (answered(404, "NoSuchBucket"), False),
        (answered(400, "InvalidBucketName"), False),
        (NoCredentialsError(), False),
        (FileNotFoundError("x"), False),
        (StorageAwayError("x"), False),
    ],
)
def test_what_passes_by_waiting(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 300.0), (" ", 300.0), ("0", 0.0), ("12.5", 12.5), ("3600", 3600.0)]
)
def test_patience(text: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, text)
    assert math.isclose(patience_s(), seconds)


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan", "5 min"])
def test_no_patience(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE, text)
    with pytest.raises(InputError, match=f"{PATIENCE} is '{text}', expected seconds"):
        patience_s()


def test_a_store_that_was_away_is_known_in_another_process() -> None:
    """Workers' errors come without their causes; no patient is excluded for one."""
    error = pickle.loads(pickle.dumps(StorageAwayError('Could not connect to "http://x"')))
    assert storage_trouble(error) == 'Could not connect to "http://x"'


def test_everything_that_opens_s3_waits() -> None:
    for protocol in ("s3", "s3a"):
        assert fsspec.get_filesystem_class(protocol) is PersistentS3FileSystem
