"""How s3fs behaves: which server it asks, how long it asks again, and what it keeps."""

from __future__ import annotations

import logging
import math
import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import fsspec

from preprocessing.common.errors import InputError
from preprocessing.common.redaction import has_credentials, without_credentials

# For how long an object store that is away is waited for, in seconds; see `patience_s`.
PATIENCE = "RADIOTRAIN_STORAGE_PATIENCE_S"
_PATIENCE_S = 300.0
# One round of asking: s3fs asks up to 5 times what botocore has asked up to `_ATTEMPTS` times, with
# growing pauses. So a round takes some 10 s where a server refuses, and 5 * 3 * 10 s where it takes
# connections and never answers. `preprocessing.storage.s3_filesystem` begins rounds until patience ends.
_ATTEMPTS = 3
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 10
_S3 = ("s3://", "s3a://")
# By name: s3fs is loaded where an object store is asked for, in workers too.
for _protocol in ("s3", "s3a"):
    fsspec.register_implementation(
        _protocol, "preprocessing.storage.s3_filesystem.PersistentS3FileSystem", clobber=True
    )


def storage_options(url: str) -> dict[str, Any]:
    """Return what fsspec and Zarr must be told to open `url`; nothing for a folder.

    Address and credentials come from the usual environment, e.g. ``AWS_ENDPOINT_URL``.

    Raises
    ------
    InputError
        If the address there is none, or one of the two carries a name or password.
    """
    _check_no_credentials(url, "the address")
    if not url.startswith(_S3):
        return {}
    _check_endpoint()
    patience_s()
    _hush_abandoned_requests()
    config: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": _READ_TIMEOUT_S,
    }
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        config["retries"] = {"total_max_attempts": _ATTEMPTS, "mode": "standard"}
    # Listings are not kept: what another process has written since would not be there.
    return {"config_kwargs": config, "use_listings_cache": False}


def _check_no_credentials(url: str, what: str) -> None:
    if has_credentials(url):
        raise InputError(
            f"{what} {without_credentials(url)} carries a name or password, which would be stored and"
            " logged: leave it out, and give credentials by the environment (AWS_ACCESS_KEY_ID,"
            " AWS_SECRET_ACCESS_KEY)"
        )


def _check_endpoint() -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        address = os.environ.get(name)
        if address:
            _check_no_credentials(address, f"environment variable {name}")
            found = urlsplit(address)
            if found.scheme not in ("http", "https") or not found.netloc:
                raise InputError(
                    f"environment variable {name} is {address!r}, expected the address of an"
                    " object store, such as http://host:9000"
                )


def patience_s() -> float:
    """Return for how many seconds an object store is waited for; 0: for one round of asking.

    Raises
    ------
    InputError
        If the environment says something else than a number.
    """
    text = os.environ.get(PATIENCE, "")
    try:
        seconds = float(text) if text.strip() else _PATIENCE_S
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(
            f"environment variable {PATIENCE} is {text!r}, expected seconds, such as"
            f" {_PATIENCE_S:.0f}; 0 for no waiting"
        )
    return seconds


@cache
def _hush_abandoned_requests() -> None:
    """Keep asyncio from printing a traceback after the sentence that says what is wrong.

    Where a connection is lost while aiohttp still writes a request, s3fs is told so and asks again,
    and the task that wrote ends with an error that nobody fetches.
    """
    logging.getLogger("asyncio").addFilter(_is_no_abandoned_request)


def _is_no_abandoned_request(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    is_lost = isinstance(error, ConnectionError)
    return not (is_lost and "exception was never retrieved" in record.getMessage())
