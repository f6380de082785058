from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from preprocessing.s3_options import storage_options


async def _abandon(error: Exception) -> None:
    async def fail() -> None:
        raise error

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (ConnectionResetError("Cannot write to closing transport"), False),
        (ValueError("a bug"), True),
    ],
)
def test_of_requests_that_nobody_waits_for_lost_connections_are_not_told(
    error: Exception, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    storage_options("s3://bucket/store")
    with caplog.at_level(logging.ERROR, "asyncio"):
        asyncio.run(_abandon(error))
    assert [str(error) in record.exc_text for record in caplog.records if record.exc_text] == (
        [True] * is_told
    )
