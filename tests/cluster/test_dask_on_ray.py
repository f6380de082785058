"""Preprocessing by Dask workers that live in Ray actors, on a real, local Ray."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

import pytest
import ray

import cluster.dask_on_ray
from cluster.dask_on_ray import ray_client
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.pipeline.run import preprocess
from tests.commands import call, the_sentence
from tests.processes import command_line, descendants, is_alive, wait_for, workers_of
from tests.stores import CROP, assert_same_store, records

pytestmark = [
    pytest.mark.slow,
    # Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
    pytest.mark.filterwarnings("ignore"),
]

NUM_PATIENTS = 5
# About half a second a patient, so that there is something to kill; as words of the command, and as settings.
SLOW = (*CROP, "--bias-engine", "simpleitk", "--shrink", "2", "--set", "n4_iterations=[10,10]")
CONFIG = PreprocessConfig(
    crop_shape=(32, 32, 16), bias_engine="simpleitk", shrink=2, n4_iterations=(10, 10)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dask-on-ray")


@pytest.fixture(scope="module")
def cohort(folder):
    settings = PhantomSettings(patients=NUM_PATIENTS, matrix=64, slices=24)
    write_phantom(folder / "cohort", settings)
    return folder / "cohort"


@pytest.fixture(scope="module")
def local(folder, cohort):
    """The store of the local home."""
    call("preprocess", cohort, folder / "local", *SLOW, "--workers", 2)
    return folder / "local"


def hosts():
    """Return the processes of the actors in which Dask workers live."""
    named = (p for p in descendants(os.getpid()) if command_line(p).startswith(b"ray::_WorkerHost"))
    return sorted(named)


def progress_that(acts=lambda: None, seen=None):
    """Return a progress that acts after each patient, and collects the processes of Dask."""

    @contextmanager
    def progress(what, total):
        def advance():
            for host in hosts():
                (set() if seen is None else seen).update([host, *workers_of(host)])
            acts()

        yield advance

    return progress


@pytest.fixture
def seen(ray_here):
    """Filled by a test with processes that must end with the work; Ray is to be as before."""
    processes = set()
    yield processes
    wait_for(lambda: not hosts(), "the actors' processes to end")
    wait_for(lambda: not any(map(is_alive, processes)), "the Dask workers to end")
    total = ray.cluster_resources()["CPU"]
    wait_for(lambda: ray.available_resources().get("CPU") == total, "Ray's CPUs to be free again")


def test_ray_makes_the_local_store(cohort, local, tmp_path, seen):
    url = str(tmp_path / "store")
    result = preprocess(read_cohort(cohort), url, CONFIG, ray_client(2), progress_that(seen=seen))
    assert len(seen) >= 2  # an actor and its worker process
    assert len(result.store.patient_ids) == NUM_PATIENTS
    assert_same_store(url, local)


@pytest.mark.parametrize("whose", ["actors", "workers"])
def test_killed_processes_lose_nothing(cohort, local, tmp_path, seen, whose):
    """Kill -9 of all of them at once, when the first patient is done."""
    store, killed = tmp_path / "store", []

    def kill_once():
        if killed:
            return
        assert len(records(store)) < NUM_PATIENTS
        actors = hosts()
        killed.extend(actors if whose == "actors" else [w for a in actors for w in workers_of(a)])
        for process in killed:
            os.kill(process, signal.SIGKILL)

    progress = progress_that(kill_once, seen)
    result = preprocess(read_cohort(cohort), str(store), CONFIG, ray_client(2), progress)
    assert killed
    assert result.num_done_now == NUM_PATIENTS
    assert result.store.excluded == ()
    assert_same_store(store, local)


def test_the_command_makes_it_too(cohort, local, tmp_path, seen):
    words = ("preprocess", cohort, tmp_path / "store", *SLOW, "--backend", "ray")
    out, error = call(*words)
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert "Dask dashboard: http://" in error
    assert_same_store(tmp_path / "store", local)


def test_more_workers_than_cpus_are_refused(cohort, tmp_path, seen):
    words = ("preprocess", cohort, tmp_path / "store", *SLOW, "--backend", "ray", "--workers", 5)
    _, error = call(*words, status=2)
    assert "5 workers asked for, the Ray cluster has 4 CPUs: ask for fewer" in the_sentence(error)


def test_a_busy_ray_is_said_and_not_waited_for_without_end(cohort, tmp_path, seen, monkeypatch):
    monkeypatch.setattr(cluster.dask_on_ray, "_START_TIMEOUT_S", 3)

    @ray.remote(num_cpus=4)
    class Busy:
        def begin(self):
            return True

    busy = Busy.remote()
    assert ray.get(busy.begin.remote())
    try:
        with pytest.raises(InputError, match=r"none of 2 Dask workers has begun .* 0 of its CPUs"):
            preprocess(
                read_cohort(cohort), str(tmp_path / "s"), CONFIG, ray_client(2), progress_that()
            )
    finally:
        ray.kill(busy)


def test_what_ends_a_run_ends_its_actors(cohort, tmp_path, seen):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(
            read_cohort(cohort),
            str(tmp_path / "s"),
            CONFIG,
            ray_client(2),
            progress_that(fail, seen),
        )
    assert len(seen) >= 2
