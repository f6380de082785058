"""The whole table by one command, interrupted on the way, on a phantom cohort."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from radiotrain.split.access_log import read_access_log
from tests.commands import call, end, end_all, start
from tests.processes import descendants, wait_for

pytestmark = pytest.mark.slow

FEW_EPOCHS = (
    "--quick",
    *("--set", "sweep.networks=[ResNet10-narrow]"),
    *("--set", "sweep.targets=[ER]"),
    *("--set", "sweep.folds=[0,1]"),
    *("--set", "sweep.train.epochs=3"),
    *("--set", "sweep.halving.grace_epochs=2"),
)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce") / "cohort"
    write_phantom(folder, PhantomSettings(patients=40, matrix=64, slices=24))
    return folder


def test_interrupted_and_run_again_it_ends_with_one_opening(cohort: Path, tmp_path: Path) -> None:
    words = ("reproduce", cohort, "--out", tmp_path / "out", *FEW_EPOCHS)
    first = start(*words)
    sweep = tmp_path / "out" / "sweep"
    wait_for(lambda: any(sweep.rglob("metrics.jsonl")), "a first epoch", timeout_s=200)
    # To the command alone, as a scheduler would; at a terminal Ctrl-C comes this way too.
    first.send_signal(signal.SIGINT)
    _, error = end(first, status=130)
    assert "run the same command again to resume" in error
    assert descendants(first.pid) == []
    out, _ = end(start(*words), timeout_s=300)
    assert [line.split()[2] for line in out.splitlines() if line.startswith("$ ")] == [
        "preprocess", "split", "tune", "promote", "evaluate",
    ]  # fmt: skip
    assert "ensemble of its 2 networks" in out
    # A phantom is not the cohort that others have published on.
    assert "Shiri et al." not in out
    report = tmp_path / "out" / "report"
    metrics = json.loads((report / "metrics.json").read_text())
    ours = metrics["runs"]["ER"]["ER"]
    assert f"{ours['auc']:.3f}" in out.partition("results on the test set")[2]
    split = str(tmp_path / "out" / "splits.json")
    assert [opening.purpose for opening in read_access_log(split).records] == [
        "reproduction of the published table"
    ]
    before = (report / "report.html").stat().st_mtime_ns
    out, _ = end(start(*words), timeout_s=300)
    assert "the test set was opened for these models before" in out
    assert len(read_access_log(split).records) == 1
    assert (report / "report.html").stat().st_mtime_ns == before


def test_a_dry_run_prints_the_road_and_writes_nothing(cohort: Path, tmp_path: Path) -> None:
    out, _ = call("reproduce", cohort, "--out", tmp_path / "out", "--dry-run", "--backend", "ray")
    steps = [line.split()[1] for line in out.splitlines()]
    assert steps == ["cohort", "preprocess", "split", "tune", "promote", "evaluate"]
    assert out.count("--backend ray") == 2
    assert not (tmp_path / "out").exists()


def test_with_outer_parts_each_has_a_sweep_and_all_one_report(cohort: Path, tmp_path: Path) -> None:
    options = ("--set", "split.folds=2", "--set", "sweep.train.epochs=2")
    words = ("reproduce", cohort, "--out", tmp_path / "out", *FEW_EPOCHS, *options, "--outer", 2)
    out, _ = end(start(*words), timeout_s=500)
    assert [line.split()[2] for line in out.splitlines() if line.startswith("$ ")] == [
        *("cohort", "preprocess", "split", "tune", "promote", "tune", "promote", "evaluate"),
    ]
    report = tmp_path / "out" / "report-outer"
    ours = json.loads((report / "metrics.json").read_text())["runs"]["ER"]["ER"]
    assert ours["num_patients"] == 40
    assert [part["number"] for part in ours["outer"]] == [1, 2]
    for part in (1, 2):
        log = read_access_log(str(tmp_path / "out" / f"outer-{part}-of-2.json"))
        assert len(log.records) == 1
    before = (report / "report.html").stat().st_mtime_ns
    out, _ = end(start(*words), timeout_s=300)
    assert "the test set was opened for these models before" in out
    assert (report / "report.html").stat().st_mtime_ns == before
    _, error = call(*words[:-1], 3, status=2)
    assert "was begun with split.outer 2, got 3" in error


def test_a_dry_run_with_outer_parts_names_each(cohort: Path, tmp_path: Path) -> None:
    words = ("reproduce", cohort, "--out", tmp_path / "out", "--dry-run", "--outer", 3)
    out, _ = call(*words, "--set", "sweep.targets=[ER]")
    steps = [line.split()[1] for line in out.splitlines()]
    assert steps == ["cohort", "preprocess", "split", *("tune", "promote") * 3, "evaluate"]
    assert "--outer 3" in out
    assert out.splitlines()[-1].count("/promoted/ER") == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "sweep.network=[a]"), "did you mean 'networks'?"),
        (("--set", "sweep.networks=[SEResNet5]"), "did you mean 'SEResNet50'?"),
        (("--set", "preprocess.crop=3"), "unknown key 'preprocess.crop'"),
        (("--set", "split.test_fraction=2"), "test_fraction"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_a_mistake_is_said_before_anything_is_done(
    cohort: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    _, error = call("reproduce", cohort, "--out", tmp_path / "out", *words, status=2)
    assert sentence in error
    assert not (tmp_path / "out").exists()


def test_no_cohort_is_said_before_anything_is_done(tmp_path: Path) -> None:
    _, error = call("reproduce", tmp_path / "nowhere", "--out", tmp_path / "out", status=2)
    assert "no cohort at" in error
    assert not (tmp_path / "out").exists()


def test_what_is_not_said_is_the_papers() -> None:
    from radiotrain.config.reproduction import ReproduceConfig

    settings = ReproduceConfig()
    sweep = settings.sweep_yaml("store", "split", "out")
    assert sweep["networks"] == ["SEResNet50", "ResNet34", "SEResNext101"]
    assert sweep["targets"] == ["ER", "PR", "HER2"]
    assert settings.preprocess.crop_shape == (128, 128, 68)
    assert settings.preprocess.num_phases == 4
    assert settings.split.test_fraction == 0.2
