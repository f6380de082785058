"""Real runs, with Dask's workers: killed, interrupted, out of space."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace

import pytest

from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.pipeline.run import preprocess
from preprocessing.processes.dask_client import local_client
from preprocessing.storage.folder_lock import exclusive
from tests.commands import call, command, end, kill_session, start, the_sentence
from tests.integration.deadly_patient import DeadlyPatient
from tests.integration.nothing_lost.common import NUM_PATIENTS, needs_root, skip_if_nobody_may_mount
from tests.processes import is_alive, makers_of, wait_for, workers_of
from tests.stores import CROP, assert_same_store, records

pytestmark = pytest.mark.slow


def test_two_workers_make_the_same_store_as_one(cohort, undisturbed, tmp_path):
    out, _ = call("preprocess", cohort, tmp_path / "two", *CROP, "--workers", 2)
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert_same_store(tmp_path / "two", undisturbed)


def test_killed_workers_lose_nothing(cohort, undisturbed, tmp_path):
    """Kill -9 of one worker process, later of another, each in the middle of a patient."""
    store = tmp_path / "store"
    process = start("preprocess", cohort, store, *CROP, "--workers", 2, slowly=True)
    killed = set()
    for num_done in (1, 3):
        wait_for(lambda n=num_done: len(records(store)) >= n, f"{num_done} patients")
        wait_for(lambda: set(workers_of(process.pid)) - killed, "a worker")
        victim = min(set(workers_of(process.pid)) - killed)
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    out, error = end(process)
    assert "Traceback" not in error
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert_same_store(store, undisturbed)


def test_a_patient_that_kills_its_workers_is_told_alone_and_tried_again(
    cohort, undisturbed, tmp_path
):
    """The patients that waited for the same process are not blamed for its death."""
    read = read_cohort(cohort)
    deadly = DeadlyPatient.like(read.patients[2])
    spoilt = replace(read, patients=(*read.patients[:2], deadly, *read.patients[3:]))
    url = str(tmp_path / "store")
    config = PreprocessConfig(crop_shape=(32, 32, 16))

    @contextmanager
    def silent(what, total):
        yield lambda: None

    deadly.deaths.touch()
    try:
        result = preprocess(spoilt, url, config, local_client(2), silent)
        assert len(deadly.deaths.read_text()) >= 2
    finally:
        deadly.deaths.unlink()
    assert [r.patient_id for r in result.store.excluded] == [deadly.patient_id]
    assert [f.code for f in result.store.excluded[0].findings] == ["worker-died"]
    again = preprocess(spoilt, url, config, local_client(1), silent)
    assert (again.num_done_before, again.num_done_now) == (NUM_PATIENTS - 1, 1)
    assert_same_store(url, undisturbed)


def test_a_run_killed_again_and_again_ends_in_the_same_store(cohort, undisturbed, tmp_path):
    """Kill -9 of the run with its workers: as the folder appears, early, late."""
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *CROP, "--workers", 2)
    done = {}
    for moment in (
        store.exists,
        lambda: records(store),
        lambda: len(records(store)) >= 5,
    ):
        process = start(*words, slowly=True)
        wait_for(moment, "the moment to kill")
        kill_session(process)
        assert process.returncode == -signal.SIGKILL
        assert not (store / "patients.json").exists()
        now = {p.name: p.stat().st_mtime_ns for p in records(store)}
        assert done.items() <= now.items()  # what was finished has not been done again
        done = now
    assert 5 <= len(done) < NUM_PATIENTS
    out, _ = call(*words)
    assert f"{len(done)} were done before, {NUM_PATIENTS - len(done)} now" in out
    assert done.items() <= {p.name: p.stat().st_mtime_ns for p in records(store)}.items()
    assert_same_store(store, undisturbed)


def test_an_interrupted_run_says_so_in_a_line_and_goes_on_later(cohort, undisturbed, tmp_path):
    """Ctrl-C in a terminal reaches every process; who runs it for others may tell the run only."""
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *CROP, "--workers", 2)
    for tell in (os.kill, os.killpg):
        num_before = len(records(store))
        process = start(*words, slowly=True)
        wait_for(lambda n=num_before: len(records(store)) > n, "the next patient")
        tell(process.pid, signal.SIGINT)
        _, error = end(process, 130)
        said = [line for line in error.splitlines() if line]
        assert [s for s in said if not s.startswith(("Dask dashboard: ", "preprocess: "))] == [
            "interrupted: nothing finished is lost, run the same command again to resume"
        ]
        assert num_before < len(records(store)) < NUM_PATIENTS
    num_done = len(records(store))
    out, _ = call(*words)
    assert f"{num_done} were done before, {NUM_PATIENTS - num_done} now" in out
    assert_same_store(store, undisturbed)


@pytest.mark.parametrize(
    ("number", "tell"),
    [
        (signal.SIGTERM, os.kill),
        (signal.SIGTERM, os.killpg),
        (signal.SIGUSR1, os.kill),
        (signal.SIGHUP, os.killpg),
    ],
)
def test_a_run_that_is_told_to_stop_says_so_in_a_line_and_goes_on_later(
    cohort, undisturbed, tmp_path, number, tell
):
    """A scheduler tells the run, or all of its processes; a closed terminal tells all of them."""
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *CROP, "--workers", 2)
    process = start(*words, slowly=True)
    wait_for(lambda: records(store), "the first patient")
    workers = workers_of(process.pid)
    tell(process.pid, number)
    _, error = end(process, 128 + number, timeout_s=30)
    said = [line for line in error.splitlines() if line]
    assert [s for s in said if not s.startswith(("Dask dashboard: ", "preprocess: "))] == [
        f"stopped ({number.name}): nothing finished is lost, run the same command again to resume"
    ]
    wait_for(lambda: not any(map(is_alive, workers)), "its workers to end")
    with exclusive(str(store)):
        num_done = len(records(store))
    assert 0 < num_done < NUM_PATIENTS
    call(*words)
    assert_same_store(store, undisturbed)


@pytest.mark.parametrize("name", ["phantom", "preprocess", "qc"])
def test_ctrl_c_while_workers_begin_is_a_line_too(name, cohort, undisturbed, tmp_path):
    """They load what they need for a second, in which Python would print where each of them was."""
    words = {
        "phantom": (tmp_path / "out", "--patients", 20, "--workers", 2),
        "preprocess": (cohort, tmp_path / "out", *CROP, "--workers", 2),
        "qc": (undisturbed, "--out", tmp_path / "out", "--workers", 2),
    }[name]
    process = start(name, *words)
    wait_for(lambda: makers_of(process.pid), "the process that loads for the workers")
    os.killpg(process.pid, signal.SIGINT)
    _, error = end(process, 130)
    said = [line for line in error.splitlines() if not line.startswith(f"{name}: ")]
    assert said == ["interrupted: nothing finished is lost, run the same command again to resume"]
    call(name, *words)


def test_of_two_runs_on_a_store_the_second_refuses(cohort, undisturbed, tmp_path):
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *CROP, "--workers", 2)
    first = start(*words, slowly=True)
    wait_for(lambda: records(store), "the first patient")
    _, error = call(*words, status=2)
    sentence = the_sentence(error)
    assert f"another run (process {first.pid} on " in sentence
    assert f"is writing to store {store}: wait until it has ended" in sentence
    num_done = len(records(store))
    wait_for(lambda: len(records(store)) > num_done, "the first run to go on")
    assert first.poll() is None
    workers = workers_of(first.pid)
    # Not its workers: they notice by themselves, while the next run is at it already.
    first.kill()
    first.wait()
    with exclusive(str(store)):
        pass
    num_done = len(records(store))
    out, _ = call(*words)
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert re.search(rf"; {num_done} were done before|; {num_done + 1} were", out)
    assert_same_store(store, undisturbed)
    wait_for(lambda: not any(map(is_alive, workers)), "the killed run's workers to end")
    first.communicate()


FULL_DISK = """
set -e
mount -t tmpfs -o size=$1 tmpfs {disk}
for size in "$@"; do
    mount -o remount,size=$size {disk}
    status=0
    {run} > {notes}/$size.out 2> {notes}/$size.err || status=$?
    echo $size $status $(ls {disk}/store/records 2> /dev/null | wc -l) $(test -e {disk}/store/patients.json && echo finished || echo not)
done
cp -r {disk}/store {copy}
"""


@needs_root
def test_a_full_disk_is_said_and_what_was_done_is_kept(cohort, undisturbed, tmp_path):
    """The same run on a disk that is made larger each time: full at creation, early, late, last."""
    disk, notes = tmp_path / "disk", tmp_path / "notes"
    disk.mkdir()
    notes.mkdir()
    pages = {p: -(-p.stat().st_size // 4096) for p in undisturbed.rglob("*") if p.is_file()}
    all_of_it = 1 + sum(pages.values())  # one for the lock
    index = pages[undisturbed / "patients.json"]
    patient = (all_of_it - index) // NUM_PATIENTS
    num_pages = {
        "creation": 4,
        "the first patient": 9 + patient // 2,
        "late": all_of_it - index - 2 * patient,
        "patients.json": all_of_it - 1,
        "never": 10 * all_of_it,
    }
    sizes = [str(n * 4096) for n in num_pages.values()]
    run_it = " ".join(command("preprocess", cohort, disk / "store", *CROP, "--workers", 1))
    script = FULL_DISK.format(disk=disk, notes=notes, copy=tmp_path / "copy", run=run_it)
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-s", "--", *sizes],
        input=script.replace("[", r"\[").replace("]", r"\]"),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    skip_if_nobody_may_mount(done.stderr)
    assert done.returncode == 0, done.stderr
    rows = dict(
        zip(num_pages, (line.split()[1:] for line in done.stdout.splitlines()), strict=True)
    )
    assert [status for status, _, _ in rows.values()] == ["2", "2", "2", "2", "0"]
    num_done = [int(n) for _, n, _ in rows.values()]
    assert num_done[:2] == [0, 0]
    assert 0 < num_done[2] < NUM_PATIENTS
    assert num_done[3:] == [NUM_PATIENTS] * 2
    assert [finished for _, _, finished in rows.values()] == ["not"] * 4 + ["finished"]
    for size in sizes[:-1]:
        sentence = the_sentence((notes / f"{size}.err").read_text())
        assert f"disk full while writing store {disk}/store" in sentence
        assert sentence.endswith("free some space and run the same command again to resume")
    assert_same_store(tmp_path / "copy", undisturbed)
