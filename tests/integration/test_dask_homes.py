"""The same store, byte for byte, wherever Dask's workers live; and what is said where they cannot.

The schedulers and workers here are those that a person starts: ``dask scheduler``, ``dask worker``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from tests.commands import SLOWLY, call, end, end_all, start, the_sentence
from tests.processes import wait_for
from tests.stores import CROP, assert_same_store, records

pytestmark = pytest.mark.slow

NUM_PATIENTS = 5


@pytest.fixture(autouse=True)
def _nothing_runs_on():
    yield
    end_all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("homes")


@pytest.fixture(scope="module")
def cohort(five_patients):
    return five_patients


@pytest.fixture(scope="module")
def local(folder, cohort):
    """The store of the local home."""
    call("preprocess", cohort, folder / "local", *CROP, "--workers", 2)
    return folder / "local"


@contextmanager
def dask(*words, prefix=()):
    """Run ``dask WORDS`` in the background, as a person would in another terminal."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "dask", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **SLOWLY},
    )
    try:
        yield process
    finally:
        # Its own session: itself, and what it began.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def scheduler(folder):
    """A scheduler on any free port; yields its address."""
    told = folder / "scheduler.json"
    where = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard")
    with dask("scheduler", *where, "--scheduler-file", told):
        wait_for(told.exists, "the scheduler")
        wait_for(lambda: told.read_text().endswith("}"), "the scheduler")
        yield json.loads(told.read_text())["address"]


@contextmanager
def worker(address, folder, *, prefix=()):
    """A worker process of one thread."""
    options = (
        "--nthreads",
        1,
        "--no-dashboard",
        "--local-directory",
        folder,
        "--host",
        "127.0.0.1",
    )
    with dask("worker", address, *options, prefix=prefix) as process:
        yield process


@pytest.fixture
def scheduler_here(tmp_path):
    with scheduler(tmp_path) as address:
        yield address


@pytest.fixture
def two_workers(scheduler_here, tmp_path):
    with (
        worker(scheduler_here, tmp_path / "1") as one,
        worker(scheduler_here, tmp_path / "2") as two,
    ):
        wait_for_workers(scheduler_here, 2)
        yield one, two


def wait_for_workers(address, number):
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(number, timeout=60)


def test_a_dask_cluster_makes_the_local_store(cohort, local, scheduler_here, two_workers, tmp_path):
    store = tmp_path / "store"
    out, error = call("preprocess", cohort, store, *CROP, "--scheduler", scheduler_here)
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert "Traceback" not in error
    assert_same_store(store, local)


def test_killed_workers_of_a_cluster_lose_nothing(
    cohort, local, scheduler_here, two_workers, tmp_path
):
    """One with its nanny, for good: what it was at, the other does."""
    store = tmp_path / "store"
    process = start("preprocess", cohort, store, *CROP, "--scheduler", scheduler_here)
    wait_for(lambda: records(store), "the first patient")
    os.killpg(two_workers[0].pid, signal.SIGKILL)
    out, _ = end(process)
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert_same_store(store, local)


def test_a_run_killed_leaves_a_cluster_that_the_next_one_can_use(
    cohort, local, scheduler_here, two_workers, tmp_path
):
    """Its workers live on, at their patients still when the next run begins."""
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *CROP, "--scheduler", scheduler_here)
    process = start(*words)
    wait_for(lambda: records(store), "the first patient")
    process.kill()
    process.communicate()
    assert len(records(store)) < NUM_PATIENTS
    call(*words)
    assert_same_store(store, local)


def test_a_scheduler_that_goes_away_is_said(cohort, local, tmp_path):
    store = tmp_path / "store"
    with scheduler(tmp_path) as address, worker(address, tmp_path / "1"):
        wait_for_workers(address, 1)
        process = start("preprocess", cohort, store, *CROP, "--scheduler", address)
        wait_for(lambda: records(store), "the first patient")
    _, error = end(process, 2)
    assert "the Dask scheduler went away with" in the_sentence(error)
    assert error.count("\n") <= 3, error
    call("preprocess", cohort, store, *CROP, "--workers", 1)
    assert_same_store(store, local)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense", "http://nowhere:1"])
def test_a_scheduler_that_is_not_there_is_one_sentence(cohort, tmp_path, address):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = address.format(port=probe.getsockname()[1])
    begun = time.monotonic()
    words = ("preprocess", cohort, tmp_path / "store", *CROP, "--scheduler", address)
    _, error = call(*words, status=2)
    assert time.monotonic() - begun < 40  # 10 s of them asking, on a machine with time to spare
    assert f"no Dask scheduler answers at '{address}': start one with" in the_sentence(error)
    assert [line for line in error.splitlines() if line] == [the_sentence(error)]


def test_a_scheduler_without_workers_is_one_sentence(cohort, scheduler_here, tmp_path):
    words = ("preprocess", cohort, tmp_path / "store", *CROP, "--scheduler", scheduler_here)
    _, error = call(*words, status=2)
    sentence = the_sentence(error)
    assert f"the Dask scheduler at {scheduler_here} has no workers: start some with" in sentence


def hidden_by(place, other):
    """Return what a command is begun with to see another folder at a place.

    As on a machine that does not share it, but has a folder or a mount point of that name.
    """
    hide = f'mount --bind {other} {place} && cd / && exec "$@"'
    prefix = ("unshare", "--mount", "sh", "-c", hide, "sh")
    done = subprocess.run([*prefix, "true"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"hiding a folder from a worker needs root: {done.stderr.strip()}")
    return prefix


@pytest.mark.parametrize("hidden", ["cohort", "store"])
def test_a_worker_that_does_not_see_a_folder_is_one_sentence(
    cohort, scheduler_here, tmp_path, hidden
):
    store, other = tmp_path / "store", tmp_path / "other"
    store.mkdir()
    other.mkdir()
    place = {"cohort": cohort, "store": store}[hidden]
    with worker(scheduler_here, tmp_path / "1", prefix=hidden_by(place, other)):
        wait_for_workers(scheduler_here, 1)
        words = ("preprocess", cohort, store, *CROP, "--scheduler", scheduler_here)
        _, error = call(*words, status=2)
    sentence = the_sentence(error)
    assert f"does not see {place}: use a folder that all machines share" in sentence
    assert records(store) == []


def test_a_worker_that_joins_later_is_asked_too(cohort, scheduler_here, tmp_path):
    """No patient is excluded because a machine does not see its files."""
    store, other = tmp_path / "store", tmp_path / "other"
    other.mkdir()
    with worker(scheduler_here, tmp_path / "1") as first:
        wait_for_workers(scheduler_here, 1)
        words = ("preprocess", cohort, store, *CROP, "--scheduler", scheduler_here)
        process = start(*words)
        wait_for(lambda: records(store), "the first patient")
        os.killpg(first.pid, signal.SIGSTOP)  # leaves some for the second
        with worker(scheduler_here, tmp_path / "2", prefix=hidden_by(cohort, other)):
            _, error = end(process, 2)
    assert f"does not see {cohort}: use a folder" in the_sentence(error)
    assert all('"status": "stored"' in r.read_text() for r in records(store))


def test_a_cluster_brings_its_own_workers(cohort, tmp_path):
    words = ("preprocess", cohort, tmp_path / "store", "--scheduler", "tcp://127.0.0.1:1")
    for other in (("--workers", 2), ("--backend", "ray")):
        _, error = call(*words, *other, status=2)
        assert f"and {other[0]} {other[1]}, expected one of them" in the_sentence(error)
    assert not (tmp_path / "store").exists()


def test_the_dashboard_answers_while_a_run_is_on(cohort, local, tmp_path):
    store = tmp_path / "store"
    process = start("preprocess", cohort, store, *CROP, "--workers", 2, slowly=True)
    said = process.stderr.readline()
    address = re.fullmatch(r"Dask dashboard: (http://127\.0\.0\.1:\d+/status)\n", said)
    assert address, said
    with urllib.request.urlopen(address[1], timeout=60) as answer:
        assert answer.status == 200
    assert process.poll() is None
    out, _ = end(process)
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert_same_store(store, local)
