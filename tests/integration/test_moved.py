"""Runs and sweeps whose store and split have moved since."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.folder import SweepFolder
from preprocessing.common.errors import MissingPathError
from preprocessing.store import Store
from radiotrain.config.run_config import dump_config, parse_config
from radiotrain.runs.locations import split_of_run
from radiotrain.split.split import make_split, save_split
from radiotrain.split.test_set_access import read_test_log
from radiotrain.training.loop import train
from tests.commands import attempt, call
from tests.unit.training.synthetic import run_config, write_store

TRAIN = {"epochs": 1, "batch_size": 16, "lr": 3e-3, "warmup_epochs": 0}
EVALUATE = ("--no-baselines", "--saliency", 0, "--resamples", 100)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and a sweep, and their store and split in another folder than they were trained with."""
    folder = tmp_path_factory.mktemp("moved")
    (folder / "old").mkdir()
    store = write_store(str(folder / "old" / "store"))
    split = str(folder / "old" / "splits.json")
    save_split(make_split(store, seed=3, num_folds=4), split)
    run = run_config(store, split, folder / "run", train=TRAIN)
    (folder / "run.yaml").write_text(dump_config(run))
    train(run, reporter=lambda _: None)
    sweep = parse_config(
        SweepConfig,
        {
            "store": store.url,
            "split": split,
            "out": str(folder / "sweep"),
            "networks": ["ResNet10-narrow"],
            "targets": ["ER"],
            "train": TRAIN,
            "logging": {"tensorboard": False},
            "device": "cpu",
        },
        "test",
    )
    SweepFolder(sweep.out).write_sweep(sweep)
    (folder / "sweep.yaml").write_text(dump_config(sweep))
    train(plan_trials(sweep)[0].run, reporter=lambda _: None)
    (folder / "old").rename(folder / "new")
    return folder


@pytest.fixture
def places(moved: Path) -> list[object]:
    return ["--store", moved / "new" / "store", "--split", moved / "new" / "splits.json"]


def commands(folder: Path, out: Path) -> dict[str, list[object]]:
    return {
        "evaluate": ["evaluate", folder / "run", "--out", out, *EVALUATE],
        "export": ["export", folder / "run", "--format", "safetensors", "--out", out],
        "train": ["train", "--config", folder / "run.yaml"],
        "train anew": ["train", "--config", folder / "run.yaml", "--set", f"out={out}"],
        "train dry": ["train", "--config", folder / "run.yaml", "--dry-run"],
        "promote": ["promote", folder / "sweep", "--out", out],
        "tune": ["tune", "--config", folder / "sweep.yaml"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", commands(Path(), Path()))
def test_every_command_says_so_and_takes_the_new_places(
    moved: Path, places: list[object], tmp_path: Path, name: str
) -> None:
    words = commands(moved, tmp_path / "out")[name]
    asked = {"--store": f"no store at {moved}/old/store", "--split": f"no split at {moved}/old"}
    given: list[object] = []
    while len(given) < len(places):
        sentence = attempt(*words, *given).sentence
        (option,) = (o for o in asked if f"if it has moved, name it with {o}" in sentence)
        assert asked[option] in sentence
        given += [option, places[places.index(option) + 1]]
    assert not (tmp_path / "out").exists()
    call(*words, *places)
    if name == "evaluate":
        log = read_test_log(str(moved / "new" / "splits.json")).records
        assert log[-1].runs == ("run",)
        assert not (moved / "old").exists()
    if name == "promote":
        # What is made from there knows the new places.
        call("evaluate", tmp_path / "out" / "ER", "--out", tmp_path / "report", *EVALUATE)
    if name == "tune":
        call("status", moved / "sweep")
        kept = yaml.safe_load((moved / "sweep" / "sweep.yaml").read_text())
        assert kept["store"] == str(moved / "new" / "store")


@pytest.mark.slow
def test_another_store_or_split_is_none_that_has_moved(
    moved: Path, places: list[object], tmp_path: Path
) -> None:
    other = write_store(str(tmp_path / "store"), seed=1)
    save_split(make_split(other), str(tmp_path / "of-other.json"))
    store = Store.open(str(moved / "new" / "store"))
    save_split(make_split(store, seed=9), str(tmp_path / "other.json"))
    for name in ("evaluate", "export", "train", "promote", "tune"):
        words = commands(moved, tmp_path / "out")[name]
        for changes in (
            ["--store", other.url, *places[2:]],
            ["--store", other.url, "--split", tmp_path / "of-other.json"],
            [*places[:2], "--split", tmp_path / "other.json"],
        ):
            sentence = attempt(*words, *changes).sentence
            assert re.search("store|split is|patients is", sentence), sentence
    assert not (tmp_path / "out").exists()


def test_each_run_is_given_its_own_of_several_splits(tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"))
    urls = [str(tmp_path / f"{seed}.json") for seed in range(3)]
    splits = [make_split(store, seed=seed) for seed in range(3)]
    for url, split in zip(urls, splits, strict=True):
        save_split(split, url)
    shutil.copy(urls[0], tmp_path / "copy.json")
    gone = str(tmp_path / "gone.json")
    assert split_of_run(gone, splits[1].fingerprint, urls) == urls[1]
    assert split_of_run(urls[0], splits[0].fingerprint, [str(tmp_path / "copy.json")]) == str(
        tmp_path / "copy.json"
    )
    assert split_of_run(gone, "of another", urls[:1]) == urls[0]
    assert split_of_run(gone, "of another", urls) == gone
    assert split_of_run(gone, "of another", []) == gone
    with pytest.raises(MissingPathError, match="no split at"):
        split_of_run(gone, "of another", [gone])
