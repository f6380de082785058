"""``radiotrain init``: the files it writes are taken by the commands that they are for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.commands import call, the_sentence
from tests.unit.training.synthetic import write_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    write_store(str(folder / "store"))
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made / "store", tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_from_a_store_alone_to_its_dry_run(here: Path) -> None:
    out, _ = call("init", "run", "store", "--network", "ResNet10-narrow")
    assert "next: radiotrain split store --out splits.json" in out
    assert "then: radiotrain train --config run.yaml --dry-run" in out
    call("split", "store")
    before = sorted(here.rglob("*"))
    out, _ = call("train", "--config", "run.yaml", "--dry-run")
    assert (
        "ResNet10-narrow on ER: 25 training patients, 7 validation patients; 8 stay sealed" in out
    )
    assert "GB" in out
    assert "at most 60 of them" in out
    assert sorted(here.rglob("*")) == before
    # The very file trains.
    out, _ = call("train", "--config", "run.yaml", "--set", "train.epochs=3")
    assert (here / "runs" / "ER_ResNet10-narrow" / "predictions.parquet").exists()


def test_what_was_asked_for_is_in_the_file(here: Path) -> None:
    call("split", "store")
    words = ("--target", "PR", "--target", "ER", "--network", "ResNet18", "--out", "r.yaml")
    out, _ = call("init", "run", "store", *words)
    assert "next: radiotrain train --config r.yaml --dry-run" in out
    values = yaml.safe_load((here / "r.yaml").read_text())
    assert values["targets"] == ["PR", "ER"]
    assert values["network"]["name"] == "ResNet18"
    # As it was typed, so that the folder can be moved.
    assert (values["store"], values["split"]) == ("store", "splits.json")


@pytest.mark.parametrize("what", ["run", "sweep"])
def test_a_file_that_is_there_is_left_alone(here: Path, what: str) -> None:
    (here / f"{what}.yaml").write_text("mine")
    _, error = call("init", what, "store", status=2)
    assert f"{what}.yaml is there already" in the_sentence(error)
    assert (here / f"{what}.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "nowhere"), "no store at"),
        (("sweep", "nowhere"), "no store at"),
        (("run", "store", "--target", "HER"), "did you mean 'HER2'?"),
        (("run", "store", "--network", "DenseNet121"), "reads crops of 29×29×29 or more"),
        (("sweep", "store", "--network", "resnet18"), "did you mean 'ResNet18'?"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(
    here: Path, words: tuple[str, ...], said: str
) -> None:
    _, error = call("init", *words, status=2)
    assert said in the_sentence(error)
    assert sorted(path.name for path in here.iterdir()) == ["store"]


def test_a_split_of_another_store_is_refused(here: Path) -> None:
    write_store(str(here / "other"), seed=1)
    call("split", "other")
    _, error = call("init", "run", "store", status=2)
    assert "does not fit store" in the_sentence(error)


def test_a_dry_run_says_what_does_not_fit(here: Path) -> None:
    call("split", "store")
    call("init", "run", "store", "--network", "ResNet10-narrow")
    changes = ("--set", "fold=7")
    _, error = call("train", "--config", "run.yaml", "--dry-run", *changes, status=2)
    assert "fold is 7" in the_sentence(error)


def test_hours_on_a_cpu_are_said_with_what_to_do(here: Path) -> None:
    call("split", "store")
    call("init", "run", "store", "--network", "ResNet10-narrow")
    few, _ = call("train", "--config", "run.yaml", "--dry-run", "--set", "train.epochs=3")
    many, _ = call("train", "--config", "run.yaml", "--dry-run", "--set", "train.epochs=10000000")
    assert "for a first look on a CPU" not in few
    assert "for a first look on a CPU: --set network.name=ResNet10-narrow" in many
