"""How processes of work begin."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from preprocessing.processes.worker_process import interrupts_held_back, worker_context


@pytest.fixture
def another_thread() -> Iterator[None]:
    """One that was there before, does not block the signal, and so may be the one that hears it."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
    over.set()
    thread.join()


def test_ctrl_c_is_heard_when_the_block_is_over(another_thread: None) -> None:
    blocked = []

    def press() -> None:
        with interrupts_held_back():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))

    with pytest.raises(KeyboardInterrupt):
        press()
    assert blocked == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_without_ctrl_c_nothing_is_raised_and_all_is_as_before(another_thread: None) -> None:
    with interrupts_held_back():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())


def test_our_environment_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    before = dict(os.environ)
    worker_context("json")
    assert dict(os.environ) == before


def test_no_place_for_shared_locks_is_said_in_a_sentence() -> None:
    code = "from preprocessing.processes.worker_process import worker_context; worker_context()"
    mount = 'mount -t tmpfs -o ro tmpfs /dev/shm && exec "$@"'
    words = ["unshare", "-m", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    done = subprocess.run(
        [*words, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "InputError: processes cannot share locks: /dev/shm cannot be written" in done.stderr


_TOLD_TO_ALL = """
import os, signal, time
from multiprocessing import resource_tracker
from preprocessing.processes.worker_process import interrupts_held_back, worker_context
for number in (signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda *_: None)
lock = worker_context("json").Lock()
tracker = resource_tracker._resource_tracker._pid
for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT, signal.SIGTERM):
    os.kill(tracker, number)
time.sleep(0.3)
resource_tracker.ensure_running()
print("same" if resource_tracker._resource_tracker._pid == tracker else "another")
"""


def test_notices_to_all_processes_leave_the_one_that_looks_after_what_they_share() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TOLD_TO_ALL],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        start_new_session=True,
    )
    assert (done.stdout, done.stderr) == ("same\n", "")
