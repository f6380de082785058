"""How s3fs is told to behave: who is asked, how often again, and what it may keep in mind."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from preprocessing.errors import InputError
from preprocessing.redaction import has_credentials, without_credentials

# How patient we are with an object store. s3fs asks up to 5 times what botocore has asked up to
# `_ATTEMPTS` times, with growing pauses. So a server that refuses is given up after some 10 s a
# request, and one that takes connections and never answers after 5 * 3 * 10 s. Left alone it would
# be 5 * 5 * 15 s a request and some minutes more until each layer above has given up as well.
_ATTEMPTS = 3
_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 10
_S3 = ("s3://", "s3a://")


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
    _ask_again_when_it_may_help()
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


@cache
def _ask_again_when_it_may_help() -> None:
    """Let s3fs ask again after what only botocore would: refused connections, server errors."""
    from s3fs.core import set_custom_error_handler

    set_custom_error_handler(_may_pass)


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


def _may_pass(error: Exception) -> bool:
    from botocore.exceptions import ClientError, EndpointConnectionError

    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # 501 Not Implemented stays so.
        return bool(status >= 500 and status != 501)
    return isinstance(error, EndpointConnectionError)
