"""s3fs that waits for an object store that is away, as one is for a minute while it is started again.

fsspec, Zarr and universal_pathlib make it in the place of `s3fs.S3FileSystem`, see
`preprocessing.storage.s3_options`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import s3fs.core
from botocore.exceptions import ClientError, EndpointConnectionError, SSLError
from fsspec.asyn import sync_wrapper

from preprocessing.common.errors import StorageAwayError
from preprocessing.storage.s3_options import PATIENCE, patience_s

_log = logging.getLogger("radiotrain.storage")
_PAUSE_S = 2.0
# What says that a name is known to no name server, rather than that none answered.
_UNKNOWN_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)


class PersistentS3FileSystem(s3fs.S3FileSystem):  # type: ignore[misc]
    """Asks again for minutes where s3fs and botocore have given up within seconds.

    What will not change by waiting, such as wrong credentials or a missing bucket, is raised at once.
    """

    async def _call_s3(self, method: str, *words: Any, **kwargs: Any) -> Any:
        begin = time.monotonic()
        while True:
            try:
                answer = await super()._call_s3(method, *words, **kwargs)
            except Exception as error:
                place = _place(self, kwargs)
                cause = error if may_pass(error) else error.__cause__
                if not isinstance(cause, Exception) or not may_pass(cause):
                    if isinstance(cause, ClientError):
                        _OUTAGES.end(place)
                    raise
                is_over = time.monotonic() - begin >= patience_s()
                if is_over or _OUTAGES.is_misspelt(place, cause):
                    # Of a kind that s3fs does not ask again for.
                    raise StorageAwayError(str(error)) from cause
                _OUTAGES.begin(place, error)
                await asyncio.sleep(_PAUSE_S)
            else:
                _OUTAGES.end(_place(self, kwargs))
                return answer

    call_s3 = sync_wrapper(_call_s3)

    async def _cat_file(
        self,
        path: str,
        version_id: str | None = None,
        start: int | None = None,
        end: int | None = None,
        max_concurrency: int | None = None,
        **kwargs: Any,
    ) -> bytes:
        # Of several readers of one object, the first would have to ask for its size: twice the requests.
        content: bytes = await super()._cat_file(
            path, version_id, start, end, max_concurrency=max_concurrency or 1, **kwargs
        )
        return content

    async def _rm(self, path: Any, recursive: bool = False, **kwargs: Any) -> Any:
        # s3fs lists what begins like the name, and posts a list of one to be deleted.
        if recursive or not isinstance(path, str) or not self.split_path(path)[1]:
            return await super()._rm(path, recursive=recursive, **kwargs)
        return await self._rm_file(path)


def _place(fs: PersistentS3FileSystem, kwargs: dict[str, Any]) -> str:
    """Return what is said to be away."""
    client = fs._s3
    address = getattr(getattr(client, "meta", None), "endpoint_url", None) or "S3"
    return f"s3://{kwargs.get('Bucket', '')} at {address}"


@dataclass
class _Outages:
    """Which object stores this process waits for; each is named once."""

    _since: dict[str, float] = field(default_factory=dict)
    _answered: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_misspelt(self, place: str, error: Exception) -> bool:
        """Tell whether no name server knows a host that has never answered this process."""
        return place not in self._answered and _is_unknown_name(error)

    def begin(self, place: str, error: Exception) -> None:
        """Say that a store is being waited for, unless that has been said."""
        with self._lock:
            if place in self._since:
                return
            self._since[place] = time.time()
        at = time.strftime("%H:%M:%S")
        why = " ".join(str(error).split())
        _log.warning(
            "waiting for %s since %s, for %.0f s at most (%s): %s",
            place,
            at,
            patience_s(),
            PATIENCE,
            why,
        )

    def end(self, place: str) -> None:
        """Note that a store has answered; say so if it was waited for."""
        if place in self._answered and place not in self._since:
            return
        with self._lock:
            self._answered.add(place)
            since = self._since.pop(place, None)
        if since is not None:
            _log.warning("%s answers again, after %.0f s", place, time.time() - since)


_OUTAGES = _Outages()


def may_pass(error: Exception) -> bool:
    """Tell whether an error of a client is of a kind that passes: no answer, or a busy server."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # 501 Not Implemented stays so.
        return bool(status >= 500 and status != 501) or "SlowDown" in str(error)
    if isinstance(error, SSLError):
        return "certificate" not in str(error).lower()
    return isinstance(error, (EndpointConnectionError, *s3fs.core.S3_RETRYABLE_ERRORS))


# Within one round s3fs would not ask again after refused connections and server errors, as botocore does.
s3fs.core.set_custom_error_handler(may_pass)


def _is_unknown_name(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, socket.gaierror) and seen.errno in _UNKNOWN_NAME:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
