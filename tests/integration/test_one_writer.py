"""Two commands begun together on one result: one does it, the other is refused, and nothing is mixed."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from cluster.sweep.config import SweepConfig
from cluster.sweep.folder import SweepFolder
from preprocessing.store import Store
from radiotrain.config.run_config import dump_config, parse_config
from radiotrain.training.loop import train
from tests.commands import Ended, attempt, call, end, end_all, ended, start
from tests.processes import descendants, is_alive, wait_for
from tests.unit.training.synthetic import run_config, write_store

STEP = """
from radiotrain.cli.step import run_step
import sys
run_step("phantom", sys.argv[1], "--patients", 500, "--workers", 1)
"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one-writer")
    store = write_store(str(folder / "store"), 24)
    call("split", store.url, "--out", folder / "splits.json", "--folds", 3)
    for target in ("ER", "PR"):
        values: dict[str, Any] = {
            "targets": (target,),
            "train": {"epochs": 2, "batch_size": 8, "warmup_epochs": 0},
        }
        config = run_config(store, str(folder / "splits.json"), folder / "run", **values)
        (folder / f"{target}.yaml").write_text(dump_config(config))
    return folder


def sweep_yaml(folder: Path, out: Path) -> Path:
    values = {
        "store": f"{folder}/store",
        "split": f"{folder}/splits.json",
        "out": str(out),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "train": {"epochs": 2, "batch_size": 8, "warmup_epochs": 0},
        "logging": {"tensorboard": False},
        "device": "cpu",
    }
    path = folder / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def write_table(path: Path, seed: int) -> Path:
    random = np.random.default_rng(seed)
    label = np.tile([0, 1], 20)
    rows = {
        "run": "model",
        "patient_id": [f"P{i}" for i in range(40)],
        "target": "ER",
        "split": ["validation"] * 20 + ["test"] * 20,
        "fold": "",
        "label": label,
        "probability": np.clip(0.3 + 0.3 * label + random.normal(0, 0.2, 40), 0.01, 0.99),
    }
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_of_two_trainings_one_trains_and_the_folder_is_its_own(folder: Path) -> None:
    both = {t: start("train", "--config", folder / f"{t}.yaml") for t in ("ER", "PR")}
    done = {target: ended(process, 240) for target, process in both.items()}
    assert sorted(one.status for one in done.values()) == [0, 2], done
    (winner,) = [target for target, one in done.items() if one.status == 0]
    (refused,) = [one for one in done.values() if one.status == 2]
    assert f"process {both[winner].pid} on" in refused.sentence or "holds a run" in refused.sentence
    run = folder / "run"
    assert yaml.safe_load((run / "config.yaml").read_text())["targets"] == [winner]
    table = pd.read_parquet(run / "predictions.parquet")
    assert set(table["target"]) == {winner}
    assert not list(run.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("tune",), ("train", "--backend", "ray")], ids=["tune", "on-ray"]
)
def test_of_two_on_ray_the_second_is_refused_and_a_killed_one_is_resumed_at_once(
    folder: Path, words: tuple[str, ...]
) -> None:
    out = folder / words[-1]
    config = folder / "ER.yaml" if words[0] == "train" else sweep_yaml(folder, out)
    words = (*words, "--config", str(config), "--set", f"out={out}", "--set", "train.epochs=6")
    first = start(*words)
    wait_for(lambda: any(out.rglob("metrics.jsonl")), "a first epoch", 200)
    first.send_signal(signal.SIGSTOP)  # it is to last
    assert f"process {first.pid} on " in attempt(*words).sentence
    # Not its workers, nor Ray: they notice by themselves, while the next run is at it already.
    first.send_signal(signal.SIGKILL)
    first.communicate()
    end(start(*words), timeout_s=300)
    (metrics,) = out.rglob("metrics.jsonl")
    assert len(metrics.read_text().splitlines()) == 6
    assert not list(out.rglob(".*writing.json*"))


def test_a_report_is_not_written_over_that_of_another_table(tmp_path: Path) -> None:
    first, second = (write_table(tmp_path / f"{n}.csv", n) for n in range(2))
    words = ("evaluate", "--resamples", 100, "--out", tmp_path / "report", "--predictions")
    call(*words, first)
    before = content(tmp_path / "report")
    assert (
        f"holds the report of {first}, and not the report of {second}"
        in attempt(*words, second).sentence
    )
    compared = attempt("compare", first, second, "--out", tmp_path / "report")
    assert "and not the comparison of" in compared.sentence
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    other = attempt("evaluate", "--predictions", first, "--out", tmp_path / "notes")
    assert "is not empty and holds no report (found 'mine.txt')" in other.sentence
    assert content(tmp_path / "report") == before
    assert content(tmp_path / "notes") == {"mine.txt": b"mine"}
    call(*words, first)
    (tmp_path / "report" / "report.html").unlink()  # as a killed one leaves it
    (tmp_path / "report" / "metrics.json").unlink()
    call(*words, first)
    own = attempt(*words, tmp_path / "report" / "predictions.parquet")
    assert "and not the report of" in own.sentence
    call("compare", first, second, "--out", tmp_path / "comparison", "--resamples", 100)
    call("compare", first, second, "--out", tmp_path / "comparison", "--resamples", 100)


def test_a_report_that_moved_along_with_its_table_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_table(tmp_path / "a" / "table.csv", 0)
    words = ("evaluate", "--resamples", 100, "--predictions")
    call(*words, tmp_path / "a" / "table.csv", "--out", tmp_path / "a" / "report")
    (tmp_path / "a").rename(tmp_path / "b")
    call(*words, tmp_path / "b" / "table.csv", "--out", tmp_path / "b" / "report")


@pytest.mark.slow
def test_of_two_splits_one_is_written(folder: Path) -> None:
    words = ("split", folder / "store", "--folds", 3, "--out", folder / "two.json", "--seed")
    both = [start(*words, seed) for seed in (1, 2)]
    done = [ended(process, 120) for process in both]
    assert sorted(one.status for one in done) == [0, 2]
    won = [one.status for one in done].index(0)
    assert json.loads((folder / "two.json").read_text())["seed"] == won + 1
    assert "holds another split" in done[1 - won].sentence


def test_reproduce_refuses_other_settings_and_changes_nothing(folder: Path, tmp_path: Path) -> None:
    out, cohort = tmp_path / "out", tmp_path / "cohort"
    cohort.mkdir()
    shutil.copytree(folder / "store", out / "store.zarr")
    shutil.copy(folder / "splits.json", out / "splits.json")
    (out / "preprocess.yaml").write_text("crop_shape: [24, 24, 12]\n")
    same = ["preprocess.crop_shape=[24,24,12]", "split.folds=3", "sweep.targets=[ER]"]
    same += ["sweep.networks=[ResNet10-narrow]", "sweep.folds=[0]", "sweep.device=cpu"]
    same += ["sweep.train.epochs=1", "sweep.train.batch_size=8", "sweep.train.warmup_epochs=0"]
    # A trial of that sweep, trained by itself.
    values: dict[str, Any] = {
        "targets": ("ER",),
        "train": {"epochs": 1, "batch_size": 8, "warmup_epochs": 0},
    }
    place = (
        Store.open(f"{out}/store.zarr"),
        f"{out}/splits.json",
        out / "sweep/ER_ResNet10-narrow",
    )
    train(run_config(*place, **values), reporter=lambda _: None)
    sweep: dict[str, Any] = {
        "store": f"{out}/store.zarr",
        "split": f"{out}/splits.json",
        "out": f"{out}/sweep",
    }
    sweep |= {"networks": ["ResNet10-narrow"], "targets": ["ER"], "device": "cpu", **values}
    SweepFolder(f"{out}/sweep").write_sweep(parse_config(SweepConfig, sweep, "sweep"))
    before = content(out)

    def attempt_with(*changes: str) -> Ended:
        settings = (word for change in (*same, *changes) for word in ("--set", change))
        return attempt("reproduce", cohort, "--out", out, *settings, "--dry-run")

    assert attempt_with().status == 0
    for change, words in {
        "preprocess.crop_shape=[32,32,16]": "begun with preprocess.crop_shape [24, 24, 12], got [32",
        "split.seed=7": "begun with split.seed 0, got 7",
        "sweep.train.batch_size=4": "holds a sweep of another configuration, train.batch_size",
    }.items():
        assert words in attempt_with(change).sentence
    assert attempt_with("sweep.seeds=[0,1]").status == 0
    settings = (word for change in (*same, "split.seed=7") for word in ("--set", change))
    assert attempt("reproduce", cohort, "--out", out, *settings).status == 2
    assert content(out) == before


def test_a_step_ends_with_the_command_that_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path / "phantom", program=("-c", STEP))
    wait_for(lambda: (tmp_path / "phantom" / "phantom.json").exists(), "the step to write")
    below = descendants(process.pid)
    assert below
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(map(is_alive, below)), "the step to end", 10)
