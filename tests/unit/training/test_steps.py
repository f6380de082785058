"""What one step does: micro-batches, averaging, what is not finite, what does not fit."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.data.augmentation import Draw, apply
from radiotrain.distributed import Worker
from radiotrain.runs.predict_run import load_network
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import Split, make_split
from radiotrain.training import trainer
from radiotrain.training.loop import train
from radiotrain.training.trainer import Training, find_micro_batch, is_out_of_memory, out_of_memory
from tests.unit.training.synthetic import run_config

MakeTraining = Callable[..., Training]


@pytest.fixture
def make(store: Store, split_url: str, split: Split, tmp_path: Path) -> MakeTraining:
    def make(**changes: object) -> Training:
        config = make_config(store, split_url, tmp_path / "run", **changes)
        return Training(config, Worker.single("cpu"), store, split)

    return make


def make_config(store: Store, split_url: str, out: Path, **changes: object) -> RunConfig:
    speed = {"placement": "device", **dict(changes.pop("speed", {}))}
    return run_config(store, split_url, out, speed=speed, **changes)


def gradients(training: Training) -> dict[str, torch.Tensor]:
    # Batch norm normalises by what is computed together, which is what differs.
    training.wrapped.eval()
    training.take_step(training.plan(0)[0])
    return {name: p.grad.clone() for name, p in training.network.named_parameters()}


@pytest.mark.parametrize("micro_batch_size", [2, 3, 8, 20])
def test_micro_batches_add_up_to_the_batch(make, micro_batch_size):
    train = {"batch_size": 8, "gradient_clip": None}
    whole = gradients(make(train=train, targets=["ER", "HER2"]))
    parts = gradients(
        make(train=train | {"micro_batch_size": micro_batch_size}, targets=["ER", "HER2"])
    )
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, atol=1e-6, rtol=1e-4), name


@pytest.mark.parametrize("is_corrected", [False, True])
@pytest.mark.parametrize("decay", [0.8, 0.9999])
def test_average_of_weights_is_the_one_kept_by_hand(make, is_corrected, decay):
    options = {"ema_decay": decay, "ema_bias_correction": is_corrected}
    training = make(train={**options, "lr": 1e-2, "warmup_epochs": 0})
    seen: dict[str, list[torch.Tensor]] = {}
    training.wrapped.train()
    for step in training.plan(0):
        training.take_step(step)
        for name, weight in training.network.named_parameters():
            seen.setdefault(name, []).append(weight.detach().clone())
    num = len(training.plan(0))
    shares = np.array([decay ** (num - 1 - k) * (1 - decay) for k in range(num)])
    if is_corrected:
        shares /= shares.sum()
    else:
        shares[0] = decay ** (num - 1)
    assert shares.sum() == pytest.approx(1)
    for name, weight in training.evaluated.named_parameters():
        expected = sum(float(s) * w for s, w in zip(shares, seen[name], strict=True))
        assert torch.allclose(weight, expected, atol=1e-6), name
    assert not torch.equal(
        next(training.network.parameters()), next(training.evaluated.parameters())
    )


def test_average_is_what_is_kept_and_predicts(store, split_url, tmp_path):
    config = make_config(
        store,
        split_url,
        tmp_path / "run",
        train={"epochs": 1, "ema_decay": 0.5, "warmup_epochs": 0},
    )
    result = train(config, reporter=lambda _: None)
    best = load_network(result.run_url).network.state_dict()
    training = Training(config, Worker.single("cpu"), store, _split(store))
    assert training.resume(RunFolder(config.out))
    kept, last = training.evaluated.state_dict(), training.network.state_dict()
    assert best.keys() == kept.keys()
    assert all(torch.equal(best[name], kept[name]) for name in best)
    assert not all(torch.equal(best[name], last[name]) for name in best)


def _split(store):
    return make_split(store, seed=3, num_folds=4)


class _Spoilt:
    """Gives some rows as NaN."""

    is_on_device = False

    def __init__(self, source, rows):
        self.take_all, self.rows = source.take, rows

    def take(self, rows):
        voxels, gain, offset = self.take_all(rows)
        gain = gain.clone()
        gain[torch.from_numpy(np.isin(rows, self.rows))] = float("nan")
        return voxels, gain, offset


def test_patients_of_a_loss_that_is_not_finite_are_named_and_saved(
    store, split_url, tmp_path, monkeypatch
):
    config = make_config(store, split_url, tmp_path / "run", train={"batch_size": 8})
    load = Training._load
    spoilt = [3, 11]

    def loaded(self, split, part):
        patients = load(self, split, part)
        if part == "train":
            object.__setattr__(patients, "source", _Spoilt(patients.source, spoilt))
        return patients

    monkeypatch.setattr(Training, "_load", loaded)
    with pytest.raises(InputError, match="are not finite in epoch 1, step") as caught:
        train(config, reporter=lambda _: None)
    sentence = str(caught.value)
    named = re.search(r"images of patients (.*) are", sentence)[1].split(", ")
    ids = _split(store).train_ids(0)
    assert set(named) <= {ids[row] for row in spoilt}
    saved = torch.load(re.search(r"batch is in (\S+)", sentence)[1], weights_only=True)
    bad = [saved["patient_ids"].index(name) for name in named]
    finite = torch.isfinite(saved["images"]).flatten(1).all(1)
    assert [n for n in range(len(finite)) if not finite[n]] == sorted(bad)
    # It replays: the same draw on the same patients.
    monkeypatch.setattr(Training, "_load", load)
    training = Training(config, Worker.single("cpu"), store, _split(store))
    rows = np.array([training.patients.ids.index(name) for name in saved["patient_ids"]])
    batch = training.patients.batch(rows, torch.device("cpu"))
    again = apply(
        batch.images,
        Draw.from_json(saved["draw"]),
        training.patients.spacing_mm[torch.from_numpy(rows)],
    )
    good = [n for n in range(len(rows)) if n not in bad]
    assert torch.equal(again[good], saved["images"][good])


def test_loss_that_is_not_finite_of_good_images_names_its_patients(store, split_url, tmp_path):
    config = make_config(
        store,
        split_url,
        tmp_path / "run",
        train={"lr": 1e30, "warmup_epochs": 0, "gradient_clip": None},
    )
    with pytest.raises(InputError, match=r"the loss of patients P\d+, .* lower train.lr"):
        train(config, reporter=lambda _: None)


def test_weights_do_not_take_a_step_that_is_not_finite(make):
    training = make(train={"batch_size": 8})
    object.__setattr__(training.patients, "source", _Spoilt(training.patients.source, [0]))
    step = next(step for step in training.plan(0) if 0 in step.rows)
    before = {name: p.clone() for name, p in training.network.named_parameters()}
    with pytest.raises(InputError):
        training.take_step(step)
    for name, weight in training.network.named_parameters():
        assert torch.equal(weight, before[name]), name


def _holds_at_most(training: Training, num_patients: int) -> None:
    """Raise what a GPU does where more are computed at a time."""

    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > num_patients:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    training.network.register_forward_pre_hook(hook)


def test_step_that_does_not_fit_says_what_to_change(make):
    training = make(train={"batch_size": 24})
    _holds_at_most(training, 6)
    with pytest.raises(InputError) as caught:
        training.take_step(training.plan(0)[0])
    assert str(caught.value) == (
        "24 patients at a time do not fit into the machine's memory: set train.micro_batch_size to"
        " 12 (the global batch stays as it is), give --auto-batch, or set"
        " speed.activation_checkpointing to true"
    )


def test_on_request_the_micro_batch_is_halved_until_it_fits(make):
    training = make(train={"batch_size": 24})
    _holds_at_most(training, 7)
    assert find_micro_batch(training) == training.micro_batch_size == 6
    training.take_step(training.plan(0)[0])
    nothing = make(train={"batch_size": 24})
    _holds_at_most(nothing, 1)
    with pytest.raises(InputError, match="take a smaller network"):
        find_micro_batch(nothing)


def test_resumed_run_keeps_to_the_micro_batch_it_found(store, split_url, tmp_path, monkeypatch):
    config = make_config(
        store,
        split_url,
        tmp_path / "run",
        train={"batch_size": 24, "epochs": 2, "warmup_epochs": 0},
        speed={"auto_batch": True},
    )
    fits = trainer.fits
    monkeypatch.setattr(trainer, "fits", lambda training, n: n <= 6 and fits(training, n))

    def interrupt(metrics: object) -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(config, on_epoch=interrupt, reporter=lambda _: None)
    monkeypatch.setattr(trainer, "fits", fits)
    lines: list[str] = []
    train(config, reporter=lines.append)
    assert any("batches of 24, 6 at a time" in line for line in lines)


def test_out_of_memory_is_told_from_other_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert "smaller network" in str(out_of_memory(2, torch.device("cpu")))


def test_trying_what_fits_teaches_nothing(make):
    training = make(train={"batch_size": 8})
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    assert find_micro_batch(training) == 8
    assert training.micro_batch_size is None
    for name, value in training.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in training.network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 4])
def test_killed_at_any_moment_a_run_goes_on_to_the_same_bits(store, split_url, tmp_path, first):
    """Killed at every so many'th operation on a file, steps counted in between."""
    program = [sys.executable, "-m", "tests.unit.training.cut_training"]
    done = subprocess.run(
        [*program, store.url, split_url, str(tmp_path), str(first), "8"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[1]) >= 5
