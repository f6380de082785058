"""A run that was given another length ends as one that had it from the start, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.runs.early_stopping import why_not_changed
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.runs.run_folder import RunFolder, open_run
from radiotrain.training.loop import RunResult, train
from tests.unit.training.synthetic import run_config

MakeConfig = Callable[..., RunConfig]
CONSTANT = {"batch_size": 16, "lr": 3e-3, "warmup_epochs": 1, "final_lr_fraction": 1.0}
NEVER_BETTER = {"min_delta": 0.9}


@pytest.fixture(scope="module")
def make(store: Store, split_url: str) -> MakeConfig:
    def make(
        out: Path, epochs: int = 2, patience: int | None = None, **changes: object
    ) -> RunConfig:
        train_values = CONSTANT | {"epochs": epochs} | dict(changes.pop("train", {}))  # type: ignore[call-overload]
        stopping = {"choose": "best_auc", "patience": patience} | dict(
            changes.pop("early_stopping", {})
        )  # type: ignore[call-overload]
        return run_config(
            store, split_url, out, train=train_values, early_stopping=stopping, **changes
        )

    return make


def trained(config: RunConfig) -> tuple[RunResult, list[int]]:
    """The result, and the epochs that were trained for it now."""
    epochs: list[int] = []
    result = train(config, on_epoch=lambda m: epochs.append(m.epoch), reporter=lambda _: None)
    return result, epochs


def bits(result: RunResult) -> list[object]:
    """All that a run leaves but the time it took."""
    folder = Path(result.run_url)
    newest = max((folder / "checkpoints").glob("epoch-*.pt"))
    state = torch.load(newest, weights_only=True)
    best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    tensors = [*state["network"].values(), *best["weights"].values()]
    for values in state["optimizer"]["state"].values():
        tensors += list(values.values())
    history = [replace(m, seconds=0.0, samples_per_s=0.0) for m in result.history]
    table = RunFolder(result.run_url).read_predictions().drop(columns="run")
    return [[t.numpy().tobytes() for t in tensors], history, result.best_epoch, table.to_csv()]


@pytest.mark.slow
@pytest.mark.parametrize("train_values", [{}, {"ema_decay": 0.5}])
def test_a_longer_run_ends_as_one_that_was_so_from_the_start(
    make: MakeConfig, tmp_path: Path, train_values: dict[str, object]
) -> None:
    trained(make(tmp_path / "run", 2, train=train_values))
    longer, epochs = trained(make(tmp_path / "run", 4, train=train_values))
    assert epochs == [2, 3]
    assert open_run(longer.run_url)[1].train.epochs == 4
    assert [m.num_epochs for m in RunFolder(longer.run_url).read_metrics()] == [4] * 4
    assert bits(longer) == bits(trained(make(tmp_path / "other", 4, train=train_values))[0])


@pytest.mark.slow
def test_a_longer_run_without_a_fold_keeps_its_last_epoch(make: MakeConfig, tmp_path: Path) -> None:
    trained(make(tmp_path / "run", 2, fold=None))
    longer, epochs = trained(make(tmp_path / "run", 3, fold=None))
    assert (epochs, longer.best_epoch) == ([2], 2)


@pytest.mark.slow
def test_more_patience_lets_a_run_go_on_that_early_stopping_ended(
    make: MakeConfig, tmp_path: Path
) -> None:
    # The cosine does not depend on patience, so that any schedule may go on.
    cosine = {"train": {"final_lr_fraction": 0.01, "lr": 1e-12}, "early_stopping": NEVER_BETTER}
    first, _ = trained(make(tmp_path / "run", 9, patience=1, **cosine))
    assert len(first.history) < 6
    again, epochs = trained(make(tmp_path / "run", 9, patience=3, **cosine))
    assert epochs == list(range(len(first.history), len(again.history)))
    assert bits(again) == bits(trained(make(tmp_path / "other", 9, patience=3, **cosine))[0])


def test_more_epochs_change_nothing_where_early_stopping_ended_it(
    make: MakeConfig, tmp_path: Path
) -> None:
    ended = {"train": {"lr": 1e-12}, "early_stopping": NEVER_BETTER}
    config = make(tmp_path / "run", 4, patience=1, **ended)
    first, _ = trained(config)
    lines: list[str] = []
    longer = make(tmp_path / "run", 6, patience=1, **ended)
    assert (
        train(longer, on_epoch=lambda _: pytest.fail("it was trained"), reporter=lines.append)
        == first
    )
    assert "early stopping after epoch" in lines[0]
    assert open_run(first.run_url)[1] == config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epochs": 4, "train": {"final_lr_fraction": 0.01}}, "final_lr_fraction is 1.0 there"),
        ({"epochs": 1, "train": {"warmup_epochs": 0}}, "warmup_epochs is 1.0 there and 0.0 now"),
        ({"epochs": 4, "early_stopping": {"min_delta": 0.5}}, "min_delta is 0.0 there and 0.5"),
        ({"epochs": 4, "seed": 1}, "seed is 0 there and 1 now"),
    ],
)
def test_whatever_else_changes_is_another_run(
    make: MakeConfig, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    trained(make(tmp_path / "run", 2))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=sentence):
        trained(make(tmp_path / "run", **changes))
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_what_cannot_be_longer_says_why_and_stays_as_it_was(
    make: MakeConfig, tmp_path: Path
) -> None:
    cosine = {"final_lr_fraction": 0.01}
    trained(make(tmp_path / "cosine", 2, train=cosine))
    trained(make(tmp_path / "run", 3))
    pruned, damaged = tmp_path / "run" / "checkpoints", tmp_path / "damaged" / "checkpoints"
    trained(make(tmp_path / "damaged", 2))
    for path in pruned.glob("epoch-*.pt"):
        path.unlink()
    for path in damaged.glob("epoch-*.pt"):
        path.write_bytes(path.read_bytes()[:-1])
    before = contents(tmp_path)
    for config, sentence in [
        (make(tmp_path / "cosine", 4, train=cosine), "the learning rate of each epoch depends"),
        (make(tmp_path / "run", 2), "train.epochs is 2 now, and 3 epochs are trained"),
        (make(tmp_path / "run", 5), "has no checkpoint to go on from"),
    ]:
        with pytest.raises(InputError, match=sentence):
            trained(config)
    with (
        pytest.warns(UserWarning, match="is damaged"),
        pytest.raises(InputError, match="no checkpoint that can be read"),
    ):
        trained(make(tmp_path / "damaged", 4))
    assert contents(tmp_path) == before
    # With its own length it still is what it was.
    assert trained(make(tmp_path / "run", 3))[1] == []


def test_a_promoted_model_is_not_made_longer(make: MakeConfig, tmp_path: Path) -> None:
    result, _ = trained(make(tmp_path / "run", 2))
    Path(result.run_url, "promoted.json").write_text("{}")
    with pytest.raises(InputError, match="it is a model of 'radiotrain promote'"):
        trained(make(tmp_path / "run", 3))


@pytest.mark.slow
def test_a_run_on_its_way_may_end_sooner(make: MakeConfig, tmp_path: Path) -> None:
    train(make(tmp_path / "run", 5), until_epoch=1, reporter=lambda _: None)
    shorter, epochs = trained(make(tmp_path / "run", 2))
    assert (shorter.status, epochs) == ("finished", [1])
    assert bits(shorter) == bits(trained(make(tmp_path / "other", 2))[0])


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def history(*aucs: float) -> list[EpochMetrics]:
    return [EpochMetrics(i, 9, 0, 0.5, auc, {}, 0, False, 0, 0) for i, auc in enumerate(aucs)]


@pytest.mark.parametrize(
    ("patience", "aucs", "possible"),
    [
        (1, (0.5, 0.6, 0.7), True),
        (1, (0.5, 0.6, 0.6), True),  # it would end now
        (1, (0.5, 0.5, 0.7), False),  # it would have ended before the best came
        (2, (0.5, 0.5, 0.7), True),
        (None, (0.5, 0.4, 0.3), True),
    ],
)
def test_less_patience_is_refused_where_it_would_have_ended_the_run_sooner(
    patience: int | None, aucs: tuple[float, ...], possible: bool, make: MakeConfig
) -> None:
    before, after = make(Path("run"), 9, patience=5), make(Path("run"), 9, patience=patience)
    assert (why_not_changed(before, after, history(*aucs), len(aucs)) is None) == possible
