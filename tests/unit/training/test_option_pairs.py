"""Every pair of options in `train` is documented, and right together or refused."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from preprocessing.common.errors import InputError
from radiotrain.config.run_config import RunConfig, TrainConfig, parse_config, parse_recorded
from radiotrain.training.loop import train
from radiotrain.training.validate import check_options
from tests.unit.training.synthetic import run_config

PAGE = Path(__file__).parents[3] / "docs" / "training-options.md"
# Another value than the default. A new option needs one, and a place on the page.
OTHER = {
    "epochs": 30,
    "batch_size": 8,
    "micro_batch_size": 4,
    "lr": 1e-3,
    "weight_decay": 0.1,
    "warmup_epochs": 5.0,
    "final_lr_fraction": 1.0,
    "gradient_clip": None,
    "class_weights": False,
    "class_weight_rule": "patients",
    "loss": "focal",
    "focal_gamma": 1.0,
    "sampling": "balanced",
    "ema_decay": 0.99,
    "ema_bias_correction": False,
    "sync_batch_norm": True,
    "normalisation": "plain",
}
LABELS = np.array([[1], [0], [0], [-1]], dtype=np.int8)
REFUSED = {
    ("epochs", "warmup_epochs"): (
        {"epochs": 3, "warmup_epochs": 3},
        r"warmup_epochs is 3, expected less than epochs \(3\)",
    ),
    ("batch_size", "micro_batch_size"): (
        {"batch_size": 8, "micro_batch_size": 9},
        "train.micro_batch_size is 9 and train.batch_size is 8, expected no more than that",
    ),
    ("micro_batch_size", "sync_batch_norm"): (
        {"micro_batch_size": 4, "sync_batch_norm": True},
        "batch norm cannot normalise by a whole batch that is computed in parts",
    ),
    ("class_weight_rule", "sampling"): (
        {"class_weight_rule": "patients", "sampling": "balanced"},
        "which would weigh rare labels twice: set train.class_weight_rule to draws",
    ),
    ("loss", "focal_gamma"): (
        {"focal_gamma": 1.0},
        "train.focal_gamma is 1 and train.loss is bce, which has no gamma",
    ),
}


def config(values: dict[str, object], **changes: object) -> RunConfig:
    plain = {"store": "a", "split": "b", "out": "c", "train": values, **changes}
    return parse_config(RunConfig, plain, "test")


def documented() -> dict[tuple[str, str], str]:
    """What the page says of each pair; pairs are in the order of the configuration."""
    order = list(TrainConfig.model_fields)
    found: dict[tuple[str, str], str] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `"):
            continue
        first = cells[0].strip("`")
        for second in re.findall(r"`(\w+)`", cells[1]):
            pair = tuple(sorted((first, second), key=order.index))
            assert pair not in found, f"{pair} stands there twice"
            found[pair] = cells[2] if len(cells) > 2 else "independent"
    return found


def test_every_pair_stands_on_the_page_once() -> None:
    assert set(documented()) == set(combinations(TrainConfig.model_fields, 2))
    assert set(OTHER) == set(TrainConfig.model_fields)


def test_what_the_page_calls_refused_is_refused_and_nothing_else() -> None:
    assert {pair for pair, text in documented().items() if "refused" in text} == set(REFUSED)
    # One option alone that has no meaning by itself is left out of the others' pairs.
    for first, second in combinations(OTHER, 2):
        values = {first: OTHER[first], second: OTHER[second]}
        if "focal_gamma" in values and "loss" not in values:
            values["loss"] = "focal"
        if (first, second) in REFUSED and (first, second) in {
            ("micro_batch_size", "sync_batch_norm"),
            ("class_weight_rule", "sampling"),
        }:
            continue
        check_options(config(values), LABELS)


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=map(str, REFUSED))
def test_contradictions_are_one_sentence(values, message) -> None:
    with pytest.raises(InputError, match=message):
        check_options(config(values), LABELS)


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({"batch_size": 8, "micro_batch_size": 8, "sync_batch_norm": True}, {}),
        ({"class_weight_rule": "patients", "sampling": "balanced", "class_weights": False}, {}),
        ({"loss": "focal", "focal_gamma": 0.0}, {}),
    ],
)
def test_what_does_not_contradict_is_taken(values, changes) -> None:
    check_options(config(values, **changes), LABELS)


@pytest.mark.parametrize(
    ("labels", "missing"), [([1, 1, -1], "negative"), ([0, -1], "positive"), ([-1], "negative")]
)
def test_balanced_draws_need_both_classes(labels, missing) -> None:
    with pytest.raises(InputError, match=f"no training patient is {missing} in ER, expected both"):
        check_options(config({"sampling": "balanced"}), np.array(labels, dtype=np.int8)[:, None])


def test_batch_norm_of_a_whole_batch_is_not_cut_by_auto_batch() -> None:
    with pytest.raises(InputError, match=r"speed\.auto_batch may compute a batch in parts"):
        check_options(config({"sync_batch_norm": True}, speed={"auto_batch": True}), LABELS)


def test_a_new_run_is_refused_before_anything_is_written(store, split_url, tmp_path) -> None:
    values = {"epochs": 2, "batch_size": 8, "warmup_epochs": 1, "focal_gamma": 1.0}
    made = run_config(store, split_url, tmp_path / "run", train=values)
    with pytest.raises(InputError, match=r"train\.loss is bce, which has no gamma"):
        train(made, reporter=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_recorded_runs_keep_their_rules_and_their_identity() -> None:
    recorded = config({"sampling": "balanced", "ema_decay": 0.9}).model_dump(mode="json")
    recorded["network"]["covariates"] = ["age"]
    del recorded["network"]["covariate_start"]
    del recorded["train"]["class_weight_rule"]
    del recorded["train"]["ema_bias_correction"]
    read = parse_recorded(RunConfig, recorded, "recorded")
    assert read.network.covariate_start == "zero"
    assert read.train.class_weight_rule == "patients"
    assert read.train.ema_bias_correction is False
    identity = read.identity()
    assert "covariate_start" not in identity["network"]
    assert not {"class_weight_rule", "ema_bias_correction"} & set(identity["train"])


def test_a_key_without_an_effect_is_no_part_of_a_runs_identity() -> None:
    now = config({"class_weights": False})
    recorded = now.model_dump(mode="json")
    del recorded["network"]["covariate_start"]
    del recorded["train"]["class_weight_rule"]
    del recorded["train"]["ema_bias_correction"]
    assert parse_recorded(RunConfig, recorded, "recorded").identity() == now.identity()
