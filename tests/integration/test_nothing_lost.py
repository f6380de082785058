"""Whatever ends a preprocessing run, its store is finished later as if nothing had happened.

The proof is always the same: every file of the store, byte for byte, is that of a run that
nobody disturbed, and there is no other file.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from preprocessing.config import PreprocessConfig
from preprocessing.dask_home import local_home
from preprocessing.errors import InputError
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import COLLECTION, write_phantom
from preprocessing.readers import read_cohort
from preprocessing.run import preprocess
from preprocessing.store import Store
from preprocessing.store.lock import exclusive
from radiotrain.data.patients import load_patients
from radiotrain.split import make_split
from tests.integration.deadly_patient import DeadlyPatient
from tests.integration.store_runs import (
    CROP,
    SLOW,
    assert_same_store,
    call,
    command,
    content,
    end,
    end_all,
    is_alive,
    kill_session,
    records,
    start,
    the_sentence,
    wait_for,
    workers_of,
)

NUM_PATIENTS = 8
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


@pytest.fixture(autouse=True)
def _nothing_runs_on():
    yield
    end_all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nothing-lost")


@pytest.fixture(scope="module")
def cohort(folder):
    """The patients of `five_patients` and three more."""
    settings = PhantomSettings(patients=NUM_PATIENTS, matrix=64, slices=24)
    write_phantom(folder / "cohort", settings, workers=2)
    return folder / "cohort"


@pytest.fixture(scope="module")
def slow(folder, cohort):
    """The store that a slow run makes when nobody disturbs it."""
    call("preprocess", cohort, folder / "slow", *SLOW, "--workers", 2)
    return folder / "slow"


@pytest.fixture(scope="module")
def quick(folder, cohort):
    """The store of the quick fit, likewise."""
    call("preprocess", cohort, folder / "quick", *CROP, "--workers", 1)
    return folder / "quick"


# Cut short at every step of writing, with a store so small that there are few.


@contextmanager
def memory_folder():
    """A folder in memory where there is one: `fsync` to a disk takes most of the time otherwise."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield folder


def cut_short(how, *prefix):
    with memory_folder() as folder:
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "tests.integration.cut_short", folder, how],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    if prefix and re.search(r"^(mount|unshare): ", done.stderr, re.MULTILINE):
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return {name: int(number) for name, number in map(str.split, done.stdout.splitlines())}


@pytest.mark.parametrize("how", ["killed", "refused"])
def test_cut_short_at_any_step_a_store_is_finished_later(how):
    """Kill -9, or no space left, before each single change of a file: making, adding, repairing."""
    steps = cut_short(how)
    assert steps["make"] >= 30
    assert steps["add"] >= 20
    assert steps["repair"] >= 10


def test_a_worker_killed_at_any_step_leaves_nothing_behind():
    """The run goes on, and gives its patient to another."""
    assert cut_short("worker")["write"] >= 8


@needs_root
def test_on_a_disk_of_any_size_a_store_is_finished_later():
    """A real file system with one more free page each time."""
    pages = cut_short("full", "unshare", "--mount")
    assert pages["make"] >= 15
    assert pages["add"] >= 6
    assert pages["repair"] >= 1


# Real runs, with Dask's workers.


def test_two_workers_make_the_same_store_as_one(cohort, quick, tmp_path):
    out, _ = call("preprocess", cohort, tmp_path / "two", *CROP, "--workers", 2)
    assert f"{NUM_PATIENTS} patients stored, 0 excluded" in out
    assert_same_store(tmp_path / "two", quick)


def test_killed_workers_lose_nothing(cohort, slow, tmp_path):
    """Kill -9 of one worker process, later of another, each in the middle of a patient."""
    store = tmp_path / "store"
    process = start("preprocess", cohort, store, *SLOW, "--workers", 2)
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
    assert_same_store(store, slow)


def test_a_patient_that_kills_its_workers_is_told_alone_and_tried_again(cohort, quick, tmp_path):
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
        result = preprocess(spoilt, url, config, local_home(2), silent)
        assert len(deadly.deaths.read_text()) >= 2
    finally:
        deadly.deaths.unlink()
    assert [r.patient_id for r in result.store.excluded] == [deadly.patient_id]
    assert [f.code for f in result.store.excluded[0].findings] == ["worker-died"]
    again = preprocess(spoilt, url, config, local_home(1), silent)
    assert (again.num_done_before, again.num_done_now) == (NUM_PATIENTS - 1, 1)
    assert_same_store(url, quick)


def test_a_run_killed_again_and_again_ends_in_the_same_store(cohort, slow, tmp_path):
    """Kill -9 of the run with its workers: as the folder appears, early, late."""
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *SLOW, "--workers", 2)
    done = {}
    for moment in (
        store.exists,
        lambda: records(store),
        lambda: len(records(store)) >= 5,
    ):
        process = start(*words)
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
    assert_same_store(store, slow)


def test_an_interrupted_run_says_so_in_a_line_and_goes_on_later(cohort, slow, tmp_path):
    """Ctrl-C in a terminal reaches every process; who runs it for others may tell the run only."""
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *SLOW, "--workers", 2)
    for tell, num_before in ((os.kill, 0), (os.killpg, 3)):
        process = start(*words)
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
    assert_same_store(store, slow)


def test_of_two_runs_on_a_store_the_second_refuses(cohort, slow, tmp_path):
    store = tmp_path / "store"
    words = ("preprocess", cohort, store, *SLOW, "--workers", 2)
    first = start(*words)
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
    assert_same_store(store, slow)
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
def test_a_full_disk_is_said_and_what_was_done_is_kept(cohort, quick, tmp_path):
    """The same run on a disk that is made larger each time: full at creation, early, late, last."""
    disk, notes = tmp_path / "disk", tmp_path / "notes"
    disk.mkdir()
    notes.mkdir()
    pages = {p: -(-p.stat().st_size // 4096) for p in quick.rglob("*") if p.is_file()}
    all_of_it = 1 + sum(pages.values())  # one for the lock
    index = pages[quick / "patients.json"]
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
    if re.search(r"^(mount|unshare): ", done.stderr, re.MULTILINE):
        pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
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
    assert_same_store(tmp_path / "copy", quick)


# Bit rot.


def chunk(store, array, index):
    """Return the file of a patient's chunk."""
    folder = store / array / "c" / ("0" if array == "labels" else str(index))
    return next(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else folder


def flip(path):
    """Change one bit in the middle of a file."""
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)


def patient_id(index):
    return f"Breast_MRI_{index + 1:03d}"


EVERYONE = set(range(NUM_PATIENTS))
# Array, how it is damaged, in whose chunk, who is affected.
DAMAGES = [
    ("images", flip, 1, {1}),
    ("region", flip, 2, {2}),
    ("bias_field", flip, 3, {3}),
    ("scale", flip, 4, {4}),
    ("labels", flip, 0, EVERYONE),
    ("images", Path.unlink, 5, {5}),
    ("region", Path.unlink, 6, {6}),
    ("bias_field", Path.unlink, 7, {7}),
    ("scale", Path.unlink, 0, {0}),
]


@pytest.mark.parametrize(("array", "damage", "index", "affected"), DAMAGES)
def test_verify_names_the_patient_whose_bytes_have_changed(
    quick, tmp_path, array, damage, index, affected
):
    store = Path(shutil.copytree(quick, tmp_path / "store"))
    call("store", "verify", store)
    damage(chunk(store, array, index))
    before = content(store)
    out, _ = call("store", "verify", store, status=1)
    lines = [line.split() for line in out.splitlines()]
    assert {(words[0], words[1]) for words in lines[:-1]} == {
        (patient_id(i), array) for i in affected
    }
    assert f"{len(affected)} patients of {store} are damaged: add --repair" in out
    assert content(store) == before


@pytest.mark.parametrize("damage", [flip, Path.unlink])
@pytest.mark.parametrize("array", ["images", "region"])
def test_training_is_never_given_other_voxels(quick, tmp_path, array, damage):
    shutil.copytree(quick, tmp_path / "store")
    store = Store.open(str(tmp_path / "store"))
    split = make_split(store, seed=0, test_fraction=0.25, num_folds=2)
    someone = split.train_ids(0)[0]
    load_patients(store, split, [someone], ["ER"], placement="device")
    damage(chunk(tmp_path / "store", array, store.index_of(someone)))
    with pytest.raises(InputError, match=f"{array} of {someone} cannot be read .* --repair"):
        load_patients(store, split, [someone], ["ER"], placement="device")


def test_a_repaired_store_is_what_it_was(cohort, quick, tmp_path):
    store = Path(shutil.copytree(quick, tmp_path / "store"))
    for array, damage, index, _ in DAMAGES:
        damage(chunk(store, array, index))
    out, _ = call("store", "verify", store, "--repair")
    # Labels and scales stand elsewhere, too; voxels have to be made again.
    assert "6 patients taken back: run the 'radiotrain preprocess' that made" in out
    assert "2 patients mended" in out
    out, _ = call("preprocess", cohort, store, *CROP, "--workers", 1)
    assert "2 were done before, 6 now" in out
    assert_same_store(store, quick)


def test_damaged_labels_and_scales_are_mended_at_once(quick, tmp_path):
    store = Path(shutil.copytree(quick, tmp_path / "store"))
    for array in ("labels", "scale"):
        flip(chunk(store, array, 2))
    out, _ = call("store", "verify", store, "--repair")
    assert "taken back" not in out
    assert_same_store(store, quick)
    call("store", "verify", store)


# More patients, other settings.


@pytest.fixture(scope="module")
def grown(folder, five_patients, cohort):
    """A store made of the first five patients and then given all eight; what it was before."""
    store = folder / "grown"
    call("preprocess", five_patients, store, *CROP, "--workers", 1)
    before = {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.glob("*/c/**/*") if p.is_file()
    }
    before |= {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in records(store)}
    out, _ = call("preprocess", cohort, store, *CROP, "--workers", 1)
    return store, before, out


def test_more_patients_are_appended_and_the_others_not_touched(grown, quick):
    store, before, out = grown
    assert "8 patients stored, 0 excluded; 5 were done before, 3 now" in out
    assert len([p for p in before if p.parts[-2] == "records"]) == 5
    for path, (mtime, found) in before.items():
        if "labels" not in path.parts:  # one chunk for all
            assert (path.stat().st_mtime_ns, path.read_bytes()) == (mtime, found), path
    ours, theirs = content(store), content(quick)
    # Labels lie in chunks of the size that the store began with; all else is the same.
    differ = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    assert {name.split("/")[0] for name in differ} == {"labels"}
    np.testing.assert_array_equal(Store.open(str(store)).labels, Store.open(str(quick)).labels)
    assert Store.open(str(store)).fingerprint == Store.open(str(quick)).fingerprint


def change_label(cohort):
    path = cohort / "Clinical_and_Other_Features.xlsx"
    book = openpyxl.load_workbook(path)
    rows = list(book["Data"].iter_rows())
    column = next(c.column for row in rows[:3] for c in row if c.value == "ER")
    cell = next(r for r in rows if r[0].value == "Breast_MRI_004")[column - 1]
    cell.value = 1 - int(cell.value)
    book.save(path)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--shrink", 3), "settings.shrink is 4 there and 3 now"),
        (("--bias-engine", "none"), "settings.bias_engine is 'separable' there and 'none' now"),
        (("--crop-shape", 32, 32, 12), "crop_shape is [32, 32, 16] there and [32, 32, 12] now"),
        (("--phases", 3), "num_phases is 4 there and 3 now"),
        (("--set", "motion=rigid"), "settings.motion is 'none' there and 'rigid' now"),
    ],
)
def test_other_voxels_are_refused_by_the_name_of_the_setting(cohort, grown, options, difference):
    store = grown[0]
    before = content(store)
    _, error = call("preprocess", cohort, store, *CROP, *options, status=2)
    assert difference in the_sentence(error)
    assert content(store) == before


def test_other_labels_are_refused_by_the_name_of_the_patient(cohort, grown, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    change_label(tmp_path / "cohort")
    _, error = call("preprocess", tmp_path / "cohort", grown[0], *CROP, status=2)
    assert "labels of Breast_MRI_004 are {'ER': " in the_sentence(error)


def test_another_layout_is_refused(grown, tmp_path):
    (tmp_path / "manifest.csv").write_text(
        "patient_id,phase_0,phase_1,phase_2,phase_3,mask,ER,PR,HER2\nx,a,b,c,d,m,1,0,1\n"
    )
    _, error = call("preprocess", tmp_path, grown[0], *CROP, status=2)
    assert "cohort.layout is 'duke' there and 'manifest' now" in the_sentence(error)


def test_a_patient_whose_images_came_later_is_tried_again(cohort, quick, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    late = tmp_path / "cohort" / COLLECTION / "Breast_MRI_006"
    late.rename(tmp_path / "late")
    words = ("preprocess", tmp_path / "cohort", tmp_path / "store", *CROP, "--workers", 1)
    out, _ = call(*words)
    assert f"{NUM_PATIENTS - 1} patients stored, 1 excluded (1 no-images)" in out
    finished = content(tmp_path / "store")
    out, _ = call(*words)  # nothing has changed: nothing is tried
    assert "8 were done before, 0 now" in out
    assert content(tmp_path / "store") == finished
    (tmp_path / "late").rename(late)
    out, _ = call(*words)
    assert "8 patients stored, 0 excluded; 7 were done before, 1 now" in out
    assert_same_store(tmp_path / "store", quick)
