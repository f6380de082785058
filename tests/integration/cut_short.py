"""Writes a small store and is cut short at every step of it; a program of its own.

``python -m tests.integration.cut_short FOLDER HOW`` where HOW is

- ``killed``: kill -9 before the n-th operation on a file, for every n;
- ``worker``: the same of a process that writes one patient, while the run itself goes on;
- ``refused``: every operation from the n-th on is refused for want of space, for every n;
- ``full``: on a file system with n free pages, for every n (to be run in a mount namespace).

Prints how often it was cut short, by what was being done. Each time the same is begun again
without trouble, and must end in the undisturbed store's bytes: anything else ends the program.

Every attempt is a fork of this process, which itself never touches a store: Zarr's threads do not
survive a fork.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import fsspec.implementations.local  # noqa: F401  (what forks import later, each imports anew)
import numpy as np
import numpy.random

from preprocessing.cohort.cohort import Finding
from preprocessing.common.errors import StorageFullError
from preprocessing.storage.folder_lock import exclusive
from preprocessing.store import PatientRecord, PatientTensor, StoreSpec, StoreWriter
from preprocessing.store.verify import check_metadata, repair
from tests.stores import content

PAGE = 4096
SHAPE = (2, 24, 24, 8)
SPEC = StoreSpec(("a", "b"), ("ER",), ((1,), (0,)), 2, (24, 24, 8))
LARGER = replace(SPEC, patient_ids=("a", "b", "c"), labels=((1,), (0,), (-1,)))
VERSIONS = {"zarr": "3"}
FULL = 3
# What is counted as a step.
CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.truncate")
STEPS = {"killed": CHANGES, "worker": CHANGES, "refused": ("open", "os.rename")}


def fill(url: str, spec: StoreSpec) -> None:
    """Do what `preprocessing.pipeline.run.preprocess` does, without Dask."""
    with exclusive(url):
        writer = StoreWriter.create_or_resume(url, spec, VERSIONS)
        for i in sorted(set(range(len(spec.patient_ids))) - writer.finished()):
            write(writer, i)
        writer.finish()


def write(writer: StoreWriter, i: int) -> None:
    name = writer.spec.patient_ids[i]
    if name == "b":
        writer.write(PatientRecord(i, name, "excluded", (Finding("no-images", "none"),)), None)
        return
    rng = np.random.default_rng(i)
    images = rng.normal(100, 30, SHAPE).astype(np.float32)
    region = rng.integers(0, 4, SHAPE[1:], dtype=np.uint8)
    writer.write(PatientRecord(i, name, "stored"), PatientTensor(images, region))


def make_again(url: str) -> None:
    """Take a patient back, as a repair does, and do it once more."""
    if (Path(url) / "patients.json").exists():
        repair(replace(check_metadata(url), lost=frozenset({0})))
    fill(url, SPEC)


@dataclass(frozen=True)
class Work:
    """Something done to a store; `begins` is what the store was filled with before."""

    name: str
    begins: StoreSpec | None
    does: Callable[[str], None]


WORKS = (
    Work("make", None, lambda url: fill(url, SPEC)),
    Work("add", SPEC, lambda url: fill(url, LARGER)),
    Work("repair", SPEC, make_again),
)


def forked(action: Callable[[], None]) -> int:
    """Do something in a copy of this process; return its exit status, negative for a signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        except StorageFullError as error:
            sentence = str(error)
            good = sentence.startswith("disk full while writing") and "run the same" in sentence
            status = FULL if good else 1
        except BaseException:  # noqa: BLE001  (told by the status)
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def stop_at(step: int, below: str, how: str) -> Callable[[], None]:
    """Return what, called in a fork, makes it stop before its `step`-th change of a file."""
    seen = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in (*STEPS[how], "os.mkdir") or not str(arguments[0]).startswith(below):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        seen += event != "os.mkdir"
        if seen <= step:
            return
        if how != "refused":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))

    return lambda: sys.addaudithook(watch)


def prepare(folder: Path, work: Work) -> Path:
    """Return a store as it is before `work`, made of a copy."""
    store = folder / "store"
    shutil.rmtree(store, ignore_errors=True)
    if work.begins is not None:
        shutil.copytree(folder / "before", store)
    return store


def must(status: int, expected: tuple[int, ...], what: str) -> int:
    if status not in expected:
        sys.exit(f"{what}: exit status {status}, expected {expected}")
    return status


def must_be(store: Path, expected: dict[str, bytes], what: str) -> None:
    found = content(store)
    names = sorted(set(found) ^ set(expected)) or [n for n in found if found[n] != expected[n]]
    if names:
        sys.exit(f"{what}: not the undisturbed store: {names}")


def must_not_lie(store: Path, what: str) -> None:
    """A store that says it is finished has all that its attributes speak of."""
    if not (store / "patients.json").exists():
        return
    index = json.loads((store / "patients.json").read_text())
    told = [record["patient_id"] for record in index["records"]]
    attributes = json.loads((store / "attributes.json").read_text())
    done = len(list((store / "records").glob("0*.json")))
    if told != attributes["spec"]["patient_ids"] or done != len(told):
        sys.exit(f"{what}: finished, it says, with {told} and {done} records")


def cut(folder: Path, work: Work, expected: dict[str, bytes], how: str) -> int:
    """Cut `work` short at every step; return how many there were."""
    for step in range(-1, 10_000):
        store = prepare(folder, work)
        what = f"{work.name} {how} at step {step}"

        def disturbed(step: int = step, store: Path = store) -> None:
            stop_at(step, str(store), how)()
            work.does(str(store))

        stopped = -signal.SIGKILL if how == "killed" else FULL
        if must(forked(disturbed), (stopped, 0), what) == 0:
            must_be(store, expected, what)
            return step + 1
        must_not_lie(store, what)
        must(forked(partial(work.does, str(store))), (0,), f"{what}, resumed")
        must_be(store, expected, f"{what}, resumed")
    raise AssertionError("it never ends")


def kill_a_worker(folder: Path, expected: dict[str, bytes]) -> int:
    """Kill the process that writes a patient at every step of it; return how many there were."""
    for step in range(10_000):
        store = prepare(folder, WORKS[0])
        what = f"worker killed at step {step}"
        must(forked(partial(StoreWriter.create_or_resume, str(store), SPEC, VERSIONS)), (0,), what)

        def work(step: int = step, store: Path = store) -> None:
            stop_at(step, str(store), "worker")()
            write(StoreWriter.create_or_resume(str(store), SPEC, VERSIONS), 0)

        def others(store: Path = store) -> None:
            writer = StoreWriter.create_or_resume(str(store), SPEC, VERSIONS)
            for i in range(len(SPEC.patient_ids)):
                write(writer, i)
            writer.finish()

        ended = must(forked(work), (-signal.SIGKILL, 0), what)
        must(forked(others), (0,), what)
        must_be(store, expected, what)
        if ended == 0:
            return step
    raise AssertionError("it never ends")


def fill_up(folder: Path, work: Work, expected: dict[str, bytes]) -> int:
    """Do `work` with ever more free pages; return how many were too few."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    for pages in range(1, 10_000):
        what = f"{work.name} on {pages} pages"
        mount = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(disk)]
        subprocess.run(mount, check=True)
        try:
            if work.begins is not None:
                shutil.copytree(folder / "before", disk / "store")
            resize(disk, used(disk) + pages)
            work_here = partial(work.does, str(disk / "store"))
            status = must(forked(work_here), (FULL, 0), what)
            resize(disk, 10_000)
            must(forked(work_here), (0,), f"{what}, resumed")
            must_be(disk / "store", expected, f"{what}, resumed")
        finally:
            subprocess.run(["umount", str(disk)], check=True)
        if status == 0:
            return pages - 1
    raise AssertionError("it never ends")


def used(disk: Path) -> int:
    """Return the pages in use on a file system."""
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize // PAGE


def resize(disk: Path, pages: int) -> None:
    options = f"remount,size={pages * PAGE}"
    subprocess.run(["mount", "-o", options, str(disk)], check=True)


def main(folder: Path, how: str) -> None:
    gc.freeze()  # forks are quicker
    if how == "worker":
        store = prepare(folder, WORKS[0])
        must(forked(partial(fill, str(store), SPEC)), (0,), "undisturbed")
        print("write", kill_a_worker(folder, content(store)), flush=True)
        return
    for work in WORKS:
        before, reference = folder / "before", folder / "reference"
        for place in (before, reference):
            shutil.rmtree(place, ignore_errors=True)
        if work.begins is not None:
            must(forked(partial(fill, str(before), work.begins)), (0,), "before")
            shutil.copytree(before, reference)
        must(forked(partial(work.does, str(reference))), (0,), "undisturbed")
        expected = content(reference)
        times = (
            fill_up(folder, work, expected) if how == "full" else cut(folder, work, expected, how)
        )
        print(work.name, times, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
