"""Networks that delay, lose and die, and a server that asks for patience."""

from __future__ import annotations

import pytest

from preprocessing.storage import files
from preprocessing.storage.s3_options import PATIENCE
from tests.commands import attempt, ended, start
from tests.s3.objects import CROP, objects
from tests.s3.proxy import DEAD, FAIR, Weather
from tests.stores import content


@pytest.mark.slow
def test_delayed_and_lost_requests_change_nothing(
    cohort_url, local_store, bucket, url, proxy, scheduler
):
    proxy.set(Weather(lost=0.05))
    # Delayed from when the store has been made: one request after another, that takes long enough.
    proxy.set_after(80, Weather(delay_s=(0.05, 0.2), lost=0.05))
    result = attempt("preprocess", cohort_url, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    assert proxy.num_lost > 10
    assert objects(bucket, url) == content(local_store)


@pytest.mark.slow
def test_a_server_that_asks_to_slow_down_is_obeyed(
    cohort, local_store, bucket, url, proxy, scheduler
):
    # From when the store has been made on.
    proxy.set_after(60, Weather(slow_down=0.2))
    result = attempt("preprocess", cohort, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    assert objects(bucket, url) == content(local_store)


@pytest.mark.parametrize("weather", [DEAD, Weather(slow_down=1.0)], ids=["dead", "busy"])
def test_a_short_outage_is_waited_out(bucket, url, proxy, weather):
    bucket.pipe_file(f"{url.removeprefix('s3://')}/x", b"1")
    proxy.set(weather)
    # More often than botocore asks.
    proxy.set_after(4, FAIR)
    assert files.read_text(files.join(url, "x")) == "1"


@pytest.mark.slow
def test_a_network_that_dies_is_one_sentence_and_the_run_resumes(
    cohort_url, local_store, bucket, url, proxy, scheduler, tmp_path
):
    proxy.set_after(290, DEAD)
    words = ("preprocess", cohort_url, url, *CROP, "--workers", 1)
    process = start(*words, environment={"TMPDIR": str(tmp_path), PATIENCE: "5"})
    dead = ended(process, timeout_s=120)
    assert "the object store did not answer" in dead.sentence
    assert proxy.endpoint in dead.sentence
    proxy.set(FAIR)
    result = attempt("preprocess", cohort_url, url, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    assert "done before" in result.out
    assert objects(bucket, url) == content(local_store)
