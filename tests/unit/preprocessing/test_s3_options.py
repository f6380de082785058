from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from preprocessing.storage.s3_options import storage_options


async def _abandon(error: Exception) -> None:
    async def fail() -> None:
        raise error

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect(0)


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (ConnectionResetError("Cannot write to closing transport"), False),
        (ValueError("a bug"), True),
    ],
)
def test_of_requests_that_nobody_waits_for_lost_connections_are_not_told(
    error: Exception, is_told: bool
) -> None:
    storage_options("s3://bucket/store")
    told: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = told.append  # type: ignore[method-assign]
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        asyncio.run(_abandon(error))
    finally:
        logger.removeHandler(handler)
    assert [record.exc_info[1] for record in told if record.exc_info] == [error] * is_told
