"""One run at a time, with nothing but objects to agree by."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest

from preprocessing import files
from preprocessing.errors import InputError
from preprocessing.store.layout import LOCK_NAME
from preprocessing.store.lock import Holder, exclusive
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


@pytest.mark.parametrize(
    ("age_s", "is_free"), [(55.0, False), (65.0, True)], ids=["fresh", "not renewed"]
)
def test_the_note_of_a_far_machine_counts_for_a_minute(url, age_s, is_free):
    then = time.time() - age_s
    note = replace(Holder.here(), host="far", started=then - 100.0, renewed=then)
    files.write_text(files.join(url, LOCK_NAME), json.dumps(asdict(note)))
    if is_free:
        with exclusive(url):
            pass
    else:
        with pytest.raises(InputError, match=f"process {note.process} on far"), exclusive(url):
            pass
