"""One run at a time, with nothing but objects to agree by."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import pytest

from preprocessing.common.errors import InputError, LockLostError
from preprocessing.storage import files, folder_lock, lock_notes
from preprocessing.storage.folder_lock import LOCK_NAME, Holder, exclusive
from tests.s3.proxy import FAIR, Weather

_NUM_RUNS = 6


def _race(url):
    """Return how many of some runs that begin at once get the lock."""
    at_once, all_tried = (threading.Barrier(_NUM_RUNS, timeout=60) for _ in range(2))

    def run(number):
        at_once.wait()
        try:
            with exclusive(url):
                all_tried.wait()
                return True
        except InputError:
            all_tried.wait()
            return False

    with ThreadPoolExecutor(_NUM_RUNS) as pool:
        return sum(pool.map(run, range(_NUM_RUNS)))


@pytest.mark.parametrize("weather", [FAIR, Weather(delay_s=(0.0, 0.1), lost=0.3)])
def test_one_of_many_that_begin_at_once_gets_it(url, proxy, weather):
    """Also when answers are lost, and a run meets its own note on asking again."""
    proxy.set(weather)
    for number in range(2):
        assert _race(f"{url}/{number}") == 1


def test_a_server_without_conditional_writes_will_do(url, proxy, bucket):
    proxy.set(Weather(unconditional=True))
    with exclusive(url), pytest.raises(InputError, match="another run"), exclusive(url):
        pass
    assert not files.exists(files.join(url, LOCK_NAME))


def _write_note(url, **changes):
    note = replace(Holder.here(), host="far", boot="another", **changes)
    files.write_text(files.join(url, LOCK_NAME), note.to_text())
    return note


def test_the_fresh_note_of_a_far_machine_counts(url):
    note = _write_note(url)
    with pytest.raises(InputError, match=f"process {note.process} on far"), exclusive(url):
        pass


@pytest.mark.parametrize("is_renewed", [False, True])
def test_an_old_note_counts_if_it_is_renewed_after_all(url, monkeypatch, is_renewed):
    """Whatever a clock says: this one is behind, so that no note looks fresh."""
    monkeypatch.setattr(lock_notes, "DEAD_AFTER_S", -3.0)
    monkeypatch.setattr(lock_notes, "_WATCH_S", 4.0)
    note = _write_note(url)
    ended = threading.Event()

    def renew():
        while not ended.wait(0.5):
            files.write_text(files.join(url, LOCK_NAME), note.to_text())

    thread = threading.Thread(target=renew)
    if is_renewed:
        thread.start()
    try:
        with (
            pytest.raises(InputError, match="on far") if is_renewed else nullcontext(),
            exclusive(url),
        ):
            assert files.list_names(url) == [LOCK_NAME + ".1"]
    finally:
        ended.set()
        if is_renewed:
            thread.join()


@pytest.mark.slow
def test_of_four_one_gets_the_lock_of_a_dead_holder_50_times(url):
    dead = replace(Holder.here(), process_started="1")
    for number in range(50):
        files.write_text(files.join(f"{url}/{number}", LOCK_NAME), dead.to_text())
    barrier = threading.Barrier(4, timeout=60)
    won = []

    def run(_):
        for number in range(50):
            barrier.wait()
            try:
                with exclusive(f"{url}/{number}"):
                    won.append(number)
                    barrier.wait()
            except InputError:
                barrier.wait()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    assert sorted(won) == list(range(50))


@pytest.mark.parametrize("is_newer", [False, True], ids=["removed", "superseded"])
def test_a_holder_whose_lock_was_taken_over_stops_and_leaves_the_new_one(
    url, monkeypatch, is_newer
):
    monkeypatch.setattr(folder_lock, "_RENEW_S", 0.2)

    def work():
        with exclusive(url, "run"):
            if is_newer:
                note = replace(Holder.here(), host="far")
                files.write_text(files.join(url, LOCK_NAME + ".1"), note.to_text())
            else:
                files.remove(files.join(url, LOCK_NAME))
            time.sleep(60)

    with pytest.raises(LockLostError, match="has taken over run"):
        work()
    assert not files.exists(files.join(url, LOCK_NAME))
    assert files.exists(files.join(url, LOCK_NAME + ".1")) == is_newer


def test_a_holder_that_slept_asks_before_it_writes(url, monkeypatch):
    def work():
        with exclusive(url, "run"):
            files.write_text(files.join(url, "before"), "")
            files.remove(files.join(url, LOCK_NAME))
            awake = folder_lock.uptime()
            monkeypatch.setattr(folder_lock, "uptime", lambda: awake + 3600)
            files.write_text(files.join(url, "after"), "")

    with pytest.raises(LockLostError):
        work()
    assert files.list_names(url) == ["before"]
