"""One writer a folder: real processes, with the operating system's locks and without."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from preprocessing.common.errors import InputError, LockLostError
from preprocessing.storage import files, folder_lock, lock_notes
from preprocessing.storage.folder_lock import exclusive, exclusive_beside
from preprocessing.storage.lock_notes import Holder, is_lock

# Says "held" or why not, then waits; its words are an error number for flock, 0 for none, and the folder.
HOLD = """
import os, subprocess, sys, time
from tests.no_flock import deny_flock
if int(sys.argv[1]): deny_flock(int(sys.argv[1]))
from preprocessing.common.errors import InputError
from preprocessing.storage.folder_lock import exclusive
# One write a line: the lines of a process and of its copy must not mix.
def tell(words): os.write(1, f"{words}\\n".encode())
try:
    with exclusive(sys.argv[2], "run"):
        if sys.argv[3] == "fork":
            child = os.fork()
            if child == 0:
                # Only the child knows that it has forgotten the lock: the parent may go on before that.
                tell(os.getpid()); time.sleep(60); os._exit(0)
        if sys.argv[3] == "exec":
            tell(subprocess.Popen(["sleep", "60"]).pid)
        tell("held")
        if sys.argv[3] != "end": time.sleep(60)
except InputError as error:
    print(error, flush=True)
"""
# Threads of several processes try for 50 folders with the note of a dead holder at once.
RACE = """
import errno, sys, time
from multiprocessing import get_context
from tests.no_flock import deny_flock
deny_flock(errno.ENOLCK)
from preprocessing.storage import lock_notes
from preprocessing.common.errors import InputError
from preprocessing.storage.folder_lock import exclusive
lock_notes._WATCH_S = 0.05
def run(number, root, barrier, results):
    for i in range(50):
        barrier.wait()
        try:
            with exclusive(f"{root}/{i}", "run"):
                barrier.wait()
                results.put((i, number))
        except InputError:
            barrier.wait()
if __name__ == "__main__":
    context = get_context("fork")
    barrier, results = context.Barrier(4), context.SimpleQueue()
    all_of = [context.Process(target=run, args=(n, sys.argv[1], barrier, results)) for n in range(4)]
    for one in all_of: one.start()
    for one in all_of: one.join()
    while not results.empty(): print(*results.get())
"""
NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    yield
    for process in started:
        process.kill()
        process.communicate()
    started.clear()


started: list[subprocess.Popen[str]] = []


def hold(folder: Path, how: str = "wait", number: int = 0) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(number), str(folder), how],
        stdout=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def write_note(folder: Path, age_s: float = 0.0, name: str = ".writing.json") -> Holder:
    """Write the note of a holder on another machine, renewed some time ago."""
    far = replace(Holder.here(), host="far", boot="another", started=time.time() - age_s - 60)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(asdict(far)))
    os.utime(folder / name, (time.time() - age_s,) * 2)
    return far


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes in this process; its kernel cannot be told for one test."""
    monkeypatch.setattr(folder_lock, "_has_flock", lambda _: False)
    monkeypatch.setattr(lock_notes, "_WATCH_S", 0.5)
    monkeypatch.setattr(folder_lock, "_RENEW_S", 0.1)


@pytest.mark.parametrize("number", [0, *NO_FLOCK])
def test_the_second_process_is_refused_and_the_killed_ones_lock_is_free(
    tmp_path: Path, number: int
) -> None:
    first = hold(tmp_path / "run", number=number)
    assert says(first) == "held"
    refusal = says(hold(tmp_path / "run", number=number))
    pattern = (
        rf"another run \(process {first.pid} on {re.escape(socket.gethostname())}, since"
        rf" \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d, \d+ s ago\) is writing to run {tmp_path}/run: wait until it"
        r" has ended, or name another run"
    )
    assert re.fullmatch(pattern, refusal)
    killed(first)
    assert says(hold(tmp_path / "run", "end", number)) == "held"


@pytest.mark.parametrize("how", ["fork", "exec"])
def test_a_child_that_outlives_its_parent_does_not_hold_the_lock(tmp_path: Path, how: str) -> None:
    first = hold(tmp_path / "run", how)
    said = {says(first), says(first)}
    child = int((said - {"held"}).pop())
    killed(first)
    try:
        os.kill(child, 0)
        with exclusive(tmp_path / "run", "run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("number", [0, errno.ENOSYS])
def test_it_leaves_nothing(tmp_path: Path, number: int) -> None:
    process = hold(tmp_path / "run", "end", number)
    assert says(process) == "held"
    process.wait()
    assert not (tmp_path / "run").exists()
    with exclusive_beside(tmp_path / "file.json", "file"):
        (tmp_path / "file.json").write_text("")
        assert all(is_lock(path.name) for path in tmp_path.glob(".*"))
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_of_four_processes_one_gets_the_lock_of_a_dead_holder_50_times(tmp_path: Path) -> None:
    for i in range(50):
        write_note(tmp_path / str(i), age_s=3600)
    process = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert process.stderr == ""
    won = [int(line.split()[0]) for line in process.stdout.splitlines()]
    assert sorted(won) == list(range(50))


@pytest.mark.parametrize("lock", [exclusive, exclusive_beside])
@pytest.mark.parametrize(
    "other", ["file://{0}", "file://{0}/", "local://{0}", "{0}/../run/", "link"]
)
def test_a_folder_has_one_lock_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Callable[..., Any], other: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with (
        lock(tmp_path / "run", "run"),
        pytest.raises(InputError, match="another run"),
        lock(other.format(tmp_path / "run"), "run"),
    ):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["link"]


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("age_s", [0.0, 55.0])
def test_a_fresh_note_of_another_machine_counts(tmp_path: Path, age_s: float) -> None:
    far = write_note(tmp_path / "run", age_s)
    with (
        pytest.raises(
            InputError,
            match=rf"process {far.process} on far, .* wait until it has ended, or for 60 s if it was"
            rf" killed, name another run, or, if far is gone for good, remove {tmp_path}/run/.writing.json",
        ),
        exclusive(tmp_path / "run", "run"),
    ):
        pass


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("age_s", [65.0, -3600.0], ids=["old", "of a clock ahead"])
def test_a_note_that_is_not_renewed_counts_for_nothing(tmp_path: Path, age_s: float) -> None:
    write_note(tmp_path / "run", age_s)
    with exclusive(tmp_path / "run", "run"):
        assert [p.name for p in (tmp_path / "run").iterdir()] == [".writing.json.1"]
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_a_holder_whose_clock_is_wrong_keeps_its_lock(tmp_path: Path, skew_s: float) -> None:
    write_note(tmp_path / "run", -skew_s)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.05):
            os.utime(tmp_path / "run" / ".writing.json", (time.time() + skew_s,) * 2)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(InputError, match="on far"), exclusive(tmp_path / "run", "run"):
            pass
    finally:
        ended.set()
        thread.join()


def test_a_machine_with_flock_heeds_the_note_of_one_without(tmp_path: Path) -> None:
    write_note(tmp_path / "run")
    with pytest.raises(InputError, match="on far"), exclusive(tmp_path / "run", "run"):
        pass
    other = hold(tmp_path / "other", number=errno.ENOSYS)
    assert says(other) == "held"
    assert f"process {other.pid} " in says(hold(tmp_path / "other"))
    killed(other)
    assert says(hold(tmp_path / "other", "end")) == "held"


def test_a_machine_without_flock_heeds_the_lock_of_one_with_it(tmp_path: Path) -> None:
    first = hold(tmp_path / "run")
    assert says(first) == "held"
    assert f"process {first.pid} " in says(hold(tmp_path / "run", number=errno.ENOSYS))


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("is_newer", [False, True], ids=["removed", "superseded"])
def test_a_holder_whose_lock_was_taken_over_stops_and_leaves_the_new_one(
    tmp_path: Path, is_newer: bool
) -> None:
    run = tmp_path / "run"
    begin = time.monotonic()

    def work() -> None:
        with exclusive(run, "run"):
            if is_newer:
                write_note(run, name=".writing.json.1")
            else:
                (run / ".writing.json").unlink()
            time.sleep(60)

    with pytest.raises(LockLostError, match=r"has taken over run .*/run from this one"):
        work()
    assert time.monotonic() - begin < 10
    assert [p.name for p in run.glob(".*")] == [".writing.json.1"] * is_newer


def test_a_thread_whose_lock_file_was_removed_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "_RENEW_S", 0.1)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with exclusive(tmp_path / "run", "run"):
                (tmp_path / "run" / ".writing.json").unlink()
                while True:
                    time.sleep(0.01)
        except LockLostError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert "has taken over run" in str(errors[0])


def test_nothing_more_is_written_below_a_folder_whose_lock_is_lost(tmp_path: Path) -> None:
    def work() -> None:
        with exclusive(tmp_path / "run", "run"):
            files.write_text(f"{tmp_path}/run/before", "")
            (tmp_path / "run" / ".writing.json").unlink()
            files.write_text(f"{tmp_path}/elsewhere", "")
            with pytest.raises(LockLostError):
                files.write_text(f"{tmp_path}/run/after", "")
            with exclusive_beside(tmp_path / "other", "file"):
                files.write_text(f"{tmp_path}/other", "")

    with pytest.raises(LockLostError):
        work()
    assert {p.name for p in tmp_path.rglob("*")} == {"run", "before", "elsewhere", "other"}


def test_patience_waits_for_a_holder_that_ends(tmp_path: Path) -> None:
    first = hold(tmp_path / "run")
    assert says(first) == "held"
    timer = threading.Timer(1.0, first.kill)
    timer.start()
    with exclusive(tmp_path / "run", "run", patience_s=30):
        pass
    timer.join()


@pytest.mark.parametrize(
    ("options", "is_local"),
    [("rw,localflock", True), ("rw,vers=3,local_lock=all", True), ("rw,flock", False)],
)
def test_a_mount_whose_locks_hold_on_one_machine_only_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, is_local: bool
) -> None:
    device = tmp_path.stat().st_dev
    line = f"36 35 {os.major(device)}:{os.minor(device)} / /lustre rw - lustre mgs:/fs {options}\n"
    table = tmp_path / "mountinfo"
    table.write_text(line)
    monkeypatch.setattr(folder_lock, "_MOUNTS", table)
    assert folder_lock._locks_are_local(tmp_path) == is_local


def test_two_writers_of_a_new_file_do_not_mix(tmp_path: Path) -> None:
    files.write_new(f"{tmp_path}/new.json", "first")
    with pytest.raises(FileExistsError):
        files.write_new(f"{tmp_path}/new.json", "second")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("new.json", "first")]


def test_the_numbers_of_processes_are_used_again() -> None:
    here = Holder.here()
    assert not here.is_gone
    assert replace(here, process_started="1").is_gone
    assert not replace(here, boot="another", process_started="1").is_gone
    assert not replace(here, pid_namespace="another", process_started="1").is_gone
