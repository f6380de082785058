"""An object store that is started again while it is used: waited for, and nothing is lost or changed."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from preprocessing.storage.s3_options import PATIENCE
from preprocessing.store import Store
from radiotrain.config.run_config import dump_config
from radiotrain.runs.checkpoint import load_newest_checkpoint
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from tests.commands import Ended, end, end_all, ended, start
from tests.processes import wait_for
from tests.s3.objects import CROP, objects
from tests.s3.server import Server
from tests.stores import content
from tests.unit.training.synthetic import run_config, write_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Longer than any client asks by itself.
OUTAGE_S = 30


@pytest.fixture(autouse=True)
def everything_ends():
    yield
    end_all()


@pytest.fixture
def direct(server: Server, proxy: object) -> dict[str, str]:
    """The environment of commands that go to the server itself: where it is away, they are refused."""
    return {"AWS_ENDPOINT_URL": server.endpoint}


def restart(server: Server, during_s: float = OUTAGE_S) -> None:
    server.kill()
    time.sleep(during_s)
    server.start()
    server.make_bucket()


def told_of_waiting(done: Ended, server: Server) -> bool:
    begin = re.search(
        rf"waiting for s3://radiotrain at {re.escape(server.endpoint)} since \d\d:\d\d:\d\d, for 300 s"
        rf" at most \({PATIENCE}\): Could not connect",
        done.error,
    )
    end = re.search(r"answers again, after \d+ s", done.error)
    return begin is not None and end is not None


def test_a_training_waits_and_ends_as_undisturbed(
    tmp_path: Path, bucket: Any, url: str, server: Server, direct: dict[str, str]
) -> None:
    store = write_store(str(tmp_path / "store"))
    save_split(make_split(store, seed=3, num_folds=4), str(tmp_path / "splits.json"))
    bucket.put(f"{tmp_path}/", f"{url.removeprefix('s3://')}/", recursive=True)

    def settings(place: str) -> Path:
        values = {
            "train": {"epochs": 12, "batch_size": 12, "warmup_epochs": 1},
            "speed": {"placement": "stream"},
        }
        config = run_config(
            Store.open(f"{place}/store"), f"{place}/splits.json", f"{place}/run", **values
        )
        path = tmp_path / f"{place.replace('/', '_')}.yaml"
        path.write_text(dump_config(config))
        return path

    end(start("train", "--config", settings(str(tmp_path))))
    process = start("train", "--config", settings(url), environment=direct)
    wait_for(lambda: epochs(bucket, url) >= 1, "an epoch", timeout_s=120)
    restart(server)
    done = ended(process, timeout_s=300)
    assert done.status == 0, done.error
    assert told_of_waiting(done, server), done.error
    here, there = RunFolder(str(tmp_path / "run")), RunFolder(f"{url}/run")
    expected, found = (load_newest_checkpoint(r.checkpoints)["network"] for r in (here, there))
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert here.read_predictions()["probability"].equals(there.read_predictions()["probability"])
    losses = [[m.train_loss for m in run.read_metrics()] for run in (here, there)]
    assert losses[0] == losses[1]


def epochs(bucket: Any, url: str) -> int:
    place = f"{url}/run/metrics.jsonl"
    return len(bucket.cat(place).splitlines()) if bucket.exists(place) else 0


def test_preprocessing_waits_and_makes_the_same_store(
    tmp_path: Path,
    cohort: Path,
    cohort_url: str,
    local_store: Path,
    bucket: Any,
    url: str,
    server: Server,
    direct: dict[str, str],
) -> None:
    words = ("preprocess", cohort_url, url, *CROP, "--workers", 2)
    process = start(*words, slowly=True, environment={**direct, "TMPDIR": str(tmp_path)})
    wait_for(lambda: bool(bucket.find(f"{url}/records")), "a patient", timeout_s=120)
    restart(server)
    done = ended(process, timeout_s=300)
    assert done.status == 0, done.error
    assert told_of_waiting(done, server), done.error
    assert objects(bucket, url) == content(local_store)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch|Forbidden"),
        ({"AWS_ENDPOINT_URL": "http://no-such-host.invalid:9000"}, "Could not connect"),
        ({PATIENCE: "0", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect"),
        ({PATIENCE: "soon"}, f"{PATIENCE} is 'soon', expected seconds"),
    ],
    ids=["credentials", "name", "no-patience", "no-number"],
)
def test_what_does_not_pass_is_said_at_once(
    changes: dict[str, str], message: str, url: str, direct: dict[str, str]
) -> None:
    begin = time.monotonic()
    process = start("store", "verify", url, environment={**direct, **changes})
    assert re.search(message, ended(process, timeout_s=60).sentence)
    assert time.monotonic() - begin < 25  # of which Python's start is a part


def test_status_says_that_it_waits(url: str, direct: dict[str, str]) -> None:
    environment = {**direct, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", PATIENCE: "20"}
    done = ended(start("status", url, environment=environment), timeout_s=60)
    assert "waiting for s3://radiotrain at http://127.0.0.1:9 since" in done.error
    assert "Could not connect" in done.sentence


def test_ctrl_c_ends_the_waiting(url: str, direct: dict[str, str]) -> None:
    process = start("status", url, environment={**direct, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    time.sleep(12)
    os.kill(process.pid, signal.SIGINT)
    begin = time.monotonic()
    assert ended(process, timeout_s=30).status == 130
    assert time.monotonic() - begin < 10
