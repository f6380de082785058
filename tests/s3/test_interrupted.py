"""Runs that are killed, interrupted, or begun twice."""

from __future__ import annotations

import os
import signal
import time

import pytest

from preprocessing.storage.lock_notes import LOCK_NAME
from tests.commands import attempt, ended, start
from tests.s3.objects import CROP, objects
from tests.s3.proxy import FAIR, Weather
from tests.stores import content

pytestmark = pytest.mark.slow

_SLOW = Weather(delay_s=(0.02, 0.1))
# Nothing that is begun now ends before it is ended.
_SLOWER = Weather(delay_s=(0.3, 0.5))


@pytest.fixture
def begun(cohort_url, local_store, bucket, url, proxy, tmp_path):
    """A run that has done at least one of its patients."""
    # The cohort is read and the store made by then.
    proxy.set_after(80, _SLOW)
    words = ("preprocess", cohort_url, url, *CROP, "--workers", 1)
    process = start(*words, environment={"TMPDIR": str(tmp_path)})
    deadline = time.monotonic() + 120
    try:
        while not num_done(bucket, url) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        proxy.set(_SLOWER)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def num_done(bucket, url):
    return len([name for name in bucket.find(url) if "/records/" in name])


def resume_and_compare(cohort_url, url, bucket, local_store, scheduler):
    num_before = num_done(bucket, url)
    assert 1 <= num_before < 4
    result = attempt("preprocess", cohort_url, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    assert f"{num_before} were done before, {4 - num_before} now" in result.out
    assert objects(bucket, url) == content(local_store)


def test_a_killed_run_is_resumed_at_once(
    begun, cohort_url, url, bucket, local_store, scheduler, proxy, tmp_path
):
    os.killpg(begun.pid, signal.SIGKILL)
    begun.communicate()
    proxy.set(FAIR)
    assert LOCK_NAME in objects(bucket, url)
    # What was fetched lies where Dask looks for what the dead left behind.
    left = [p for p in tmp_path.rglob("radiotrain-*") if "dask-scratch-space" not in p.parts]
    assert left == []
    resume_and_compare(cohort_url, url, bucket, local_store, scheduler)


def test_a_second_run_is_refused_and_ctrl_c_ends_the_first(
    begun, cohort, cohort_url, url, bucket, local_store, scheduler, proxy
):
    second = attempt("preprocess", cohort, url, *CROP, "--scheduler", scheduler)
    assert f"another run (process {begun.pid} on " in second.sentence
    # As a terminal does: its workers hear it too.
    os.killpg(begun.pid, signal.SIGINT)
    first = ended(begun, timeout_s=60)
    proxy.set(FAIR)
    assert first.status == 130
    assert "Traceback" not in first.error
    (line,) = [x for x in first.error.splitlines() if "interrupted" in x]
    assert line.endswith("run the same command again to resume")
    assert LOCK_NAME not in objects(bucket, url)
    resume_and_compare(cohort_url, url, bucket, local_store, scheduler)
