"""A sweep on an object store is read as one on a folder."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.folder import SweepFolder
from preprocessing.storage import files
from radiotrain.cli.board import copy_events
from radiotrain.config.run_config import parse_config
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from tests.commands import attempt
from tests.s3.objects import objects
from tests.stores import content
from tests.unit.training.synthetic import write_store

# What depends on the place.
_PLACES = {"sweep", "quiet_s"}


@pytest.fixture(scope="module")
def on_folder(tmp_path_factory):
    """Two trials: one trained to its end, one begun."""
    folder = tmp_path_factory.mktemp("status")
    store = write_store(str(folder / "store"))
    save_split(make_split(store, seed=3, num_folds=4), str(folder / "splits.json"))
    values = {
        "store": store.url,
        "split": str(folder / "splits.json"),
        "out": str(folder / "sweep"),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER", "PR"],
        "train": {"epochs": 2, "batch_size": 8, "warmup_epochs": 1},
        "halving": {"grace_epochs": 1},
        "device": "cpu",
    }
    sweep = parse_config(SweepConfig, values, "test")
    SweepFolder(sweep.out).write_sweep(sweep)
    first, second = plan_trials(sweep)
    train(first.run, reporter=lambda _: None)
    train(second.run, until_epoch=1, reporter=lambda _: None)
    folder = RunFolder(second.run.out)
    folder.write_record(replace(folder.read_record(), status="running"))
    return sweep.out


@pytest.fixture
def in_bucket(on_folder, bucket, url):
    bucket.put(f"{on_folder}/", f"{url.removeprefix('s3://')}/", recursive=True)
    return url


def without_places(text):
    values = json.loads(text)
    trials = [{k: v for k, v in t.items() if k not in _PLACES} for t in values["trials"]]
    return {k: v for k, v in values.items() if k not in _PLACES} | {"trials": trials}


def test_status_says_the_same_of_a_bucket(on_folder, in_bucket):
    here, there = (attempt("status", place, "--json") for place in (on_folder, in_bucket))
    assert (here.status, there.status) == (0, 0), there.error
    assert without_places(there.out) == without_places(here.out)
    trials = json.loads(there.out)["trials"]
    assert [(t["status"], t["epochs"]) for t in trials] == [("finished", 2), ("running", 1)]
    assert trials[0]["aucs"]
    assert 0 <= trials[1]["quiet_s"] < 300


def test_the_report_can_lie_in_the_bucket(in_bucket):
    ended = attempt("status", in_bucket, "--html", f"{in_bucket}/sweep.html")
    assert ended.status == 0, ended.error
    assert "ER_ResNet10-narrow" in files.read_text(f"{in_bucket}/sweep.html")


def test_a_bucket_without_a_sweep_is_one_sentence(bucket, url):
    bucket.pipe_file(f"{url.removeprefix('s3://')}/other", b"1")
    assert f"no sweep at {url}" in attempt("status", url).sentence


def test_the_events_of_a_bucket_are_copied_for_tensorboard(in_bucket, bucket, tmp_path):
    copy_events(in_bucket, tmp_path)
    there = {k: v for k, v in objects(bucket, in_bucket).items() if "/tensorboard/" in k}
    assert there
    assert content(tmp_path) == there
    name = min(there)
    bucket.pipe_file(f"{in_bucket.removeprefix('s3://')}/{name}", there[name] + b"more")
    copy_events(in_bucket, tmp_path)
    assert content(tmp_path) == there | {name: there[name] + b"more"}
