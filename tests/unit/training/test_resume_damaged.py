"""A run that goes on from damaged or foreign files: it ends with the right result, or is refused."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from preprocessing.common.errors import DamagedFileError, InputError, MissingPathError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.runs.checkpoint import read_weights, save_weights
from radiotrain.runs.predict_run import load_network
from radiotrain.runs.run_folder import RunFolder, open_run
from radiotrain.split.split import load_split
from radiotrain.training.loop import train
from radiotrain.training.trainer import Training
from tests.checked_files import change_values
from tests.commands import call, the_sentence
from tests.unit.training.synthetic import run_config

pytestmark = pytest.mark.slow

TRAIN = {"epochs": 3, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def paused(
    store: Store, split_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, RunConfig]:
    """Runs that paused after two epochs of three, and one of them that went on to its end."""
    folder = tmp_path_factory.mktemp("paused")
    found = {}
    for name, seed in (("run", 0), ("other", 1)):
        found[name] = run_config(store, split_url, folder / name, train=TRAIN, seed=seed)
        train(found[name], until_epoch=2, reporter=quiet)
    found["whole"] = found["run"].model_copy(update={"out": str(folder / "whole")})
    shutil.copytree(found["run"].out, found["whole"].out)
    train(found["whole"], reporter=quiet)
    return found


@pytest.fixture
def config(paused: dict[str, RunConfig], tmp_path: Path) -> RunConfig:
    """A copy of the paused run."""
    shutil.copytree(paused["run"].out, tmp_path / "run")
    return paused["run"].model_copy(update={"out": str(tmp_path / "run")})


def ends_as(config: RunConfig, whole: RunConfig) -> bool:
    """Train to the end; tell whether weights and losses are those of the undisturbed run."""
    result = train(config, reporter=quiet)
    losses = [m.train_loss for m in RunFolder(whole.out).read_metrics()]
    mine, theirs = (load_network(c.out).network.state_dict() for c in (config, whole))
    open_run(config.out)
    return [m.train_loss for m in result.history] == losses and all(
        torch.equal(value, theirs[name]) for name, value in mine.items()
    )


def checkpoints(config: RunConfig) -> list[Path]:
    return sorted(Path(config.out, "checkpoints").glob("epoch-*.pt"))


def test_a_torn_last_line_is_written_anew(config: RunConfig, paused: dict[str, RunConfig]) -> None:
    path = Path(config.out, "metrics.jsonl")
    path.write_bytes(path.read_bytes()[:-30])
    assert ends_as(config, paused["whole"])


def test_a_torn_line_of_a_finished_run_is_refused(
    paused: dict[str, RunConfig], tmp_path: Path
) -> None:
    shutil.copytree(paused["whole"].out, tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    whole = path.read_bytes()
    for text in (whole[:-1], whole[:-30], whole + b'{"epoch": 3', whole + b"\0" * 40):
        path.write_bytes(text)
        with pytest.raises(DamagedFileError, match=r"metrics\.jsonl"):
            open_run(str(tmp_path / "run"))
        with pytest.raises(DamagedFileError, match=r"metrics\.jsonl"):
            train(paused["whole"].model_copy(update={"out": str(tmp_path / "run")}), reporter=quiet)


def test_weights_newer_than_the_checkpoint_that_is_left_are_made_again(
    config: RunConfig, paused: dict[str, RunConfig]
) -> None:
    checkpoints(config)[-1].write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="the one before is used"):
        assert ends_as(config, paused["whole"])


@pytest.mark.parametrize("damage", ["a bit", "missing", "another run", "an earlier epoch"])
def test_wrong_weights_are_refused_and_what_to_do_then_works(
    config: RunConfig, paused: dict[str, RunConfig], damage: str
) -> None:
    # In the middle of the third epoch, so that the best weights are not made from the checkpoint.
    path = Path(config.out, "checkpoints", "best.pt")
    _go_into_the_next_epoch(config)
    content = path.read_bytes()
    if damage == "a bit":
        path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif damage == "missing":
        path.unlink()
    elif damage == "another run":
        shutil.copyfile(Path(paused["other"].out, "checkpoints", "best.pt"), path)
    else:
        saved = read_weights(content, str(path), "")
        save_weights(str(path), saved | {"epoch": saved["epoch"] - 1})
    with pytest.raises(
        DamagedFileError, match=r"best\.pt .*: remove .*checkpoints and run the same"
    ):
        train(config, reporter=quiet)
    shutil.rmtree(path.parent)
    assert ends_as(config, paused["whole"])


def _go_into_the_next_epoch(config: RunConfig) -> None:
    """Write a checkpoint after the next epoch's first step, as a long epoch has them, and end there."""
    store = Store.open(config.store)
    training = Training(config, Worker.single("cpu"), store, load_split(config.split))
    folder = RunFolder(config.out)
    assert training.resume(folder)

    def stop(*_: object) -> None:
        training.save(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run_epoch(stop)


def test_a_checkpoint_of_another_run_is_refused(
    config: RunConfig, paused: dict[str, RunConfig]
) -> None:
    for path in checkpoints(config):
        path.unlink()
    for path in checkpoints(paused["other"]):
        shutil.copy(path, Path(config.out, "checkpoints"))
    with pytest.raises(InputError, match="holds checkpoints of another run: remove"):
        train(config, reporter=quiet)


def test_weights_that_an_ended_run_has_lost_are_not_waited_for(
    paused: dict[str, RunConfig], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(paused["whole"].out, run)
    (run / "checkpoints" / "best.pt").unlink()
    with pytest.raises(MissingPathError, match=r"has ended .*: train it again into a new folder"):
        load_network(str(run))


def test_a_record_of_another_run_is_refused(
    config: RunConfig, paused: dict[str, RunConfig]
) -> None:
    shutil.copy(Path(paused["other"].out, "run.json"), config.out)
    with pytest.raises(InputError, match=r"config\.yaml and run\.json in .* two different runs"):
        train(config, reporter=quiet)


def test_a_configuration_with_a_checksum_is_used_as_it_is_or_without(
    config: RunConfig, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(Path(config.out, "config.yaml").read_text().replace("seed: 0", "seed: 5"))
    _, error = call("train", "--config", path, "--dry-run", status=2)
    assert "delete its last line if it was changed on purpose" in the_sentence(error)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    call("train", "--config", path, "--set", f"out={tmp_path / 'new'}", "--dry-run")


def _first_weights(saved: dict[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    name = next(iter(saved["weights"]))
    return saved | {"weights": saved["weights"] | {name: change(saved["weights"][name])}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: _first_weights(s, lambda w: w * math.nan), "are not finite"),
        (lambda s: _first_weights(s, lambda w: w / 0), "are not finite"),
        (lambda s: _first_weights(s, lambda w: w.to(torch.int8)), "is not what radiotrain wrote"),
        (lambda s: _first_weights(s, lambda w: w.to(torch.cfloat)), "is not what radiotrain wrote"),
        (lambda s: s | {"targets": ["PR"]}, "for other targets than config.yaml"),
        (lambda s: s | {"targets": "E"}, "for other targets than config.yaml"),
        (lambda s: s | {"network": "ResNet10"}, "a network of another kind"),
        (lambda s: s | {"network": None}, "a network of another kind"),
    ],
)
def test_weights_that_would_be_taken_and_predict_nonsense_are_refused(
    config: RunConfig, change: Callable[[dict[str, Any]], dict[str, Any]], sentence: str
) -> None:
    """Each file has the right checksum, and belongs to the run by its record."""
    url = RunFolder(config.out).best_weights
    weights = save_weights(url, change(torch.load(url, weights_only=True)))
    change_values(Path(config.out) / "run.json", lambda old: old | {"weights_digest": weights})
    with pytest.raises(InputError, match=sentence):
        load_network(config.out)
