"""Configurations written with their docs: read back to the same, defaults behind their ``#`` too."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from cluster.sweep.config import SweepConfig
from preprocessing.common.config import PreprocessConfig
from preprocessing.store import Store
from radiotrain.config.config_template import as_yaml, commented_yaml, fields_of
from radiotrain.config.run_config import RunConfig, Section, apply_overrides, parse_config

RUN: dict[str, Any] = {
    "store": "s",
    "split": "p.json",
    "out": "o",
    "train": {"lr": 1e-5, "ema_decay": 0.99},
    "network": {"covariates": ["age", "null"]},
}
SWEEP: dict[str, Any] = {
    "store": "s",
    "split": "p.json",
    "out": "o",
    "networks": ["ResNet18"],
    "targets": ["ER", ["PR", "HER2"]],
}


def uncomment(text: str) -> str:
    """Take the ``#`` from settings at their defaults; words keep theirs."""
    return re.sub(r"^( *)#(?=[^ \n])", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("model", "values"), [(RunConfig, RUN), (SweepConfig, SWEEP), (PreprocessConfig, {})]
)
def test_reads_back_with_and_without_its_defaults(model: type[Section], values: Any) -> None:
    text = commented_yaml(model, values, header=["Some words."], notes={"train.lr": ["More."]})
    wanted = parse_config(model, values, "test")
    assert parse_config(model, yaml.safe_load(text) or {}, "test") == wanted
    whole = yaml.safe_load(uncomment(text))
    assert parse_config(model, whole, "test") == wanted
    # Nothing is missing: what is uncommented is all that the model has.
    assert set(whole) == set(model.model_fields)


def test_every_setting_is_preceded_by_its_doc() -> None:
    lines = commented_yaml(RunConfig, RUN).splitlines()
    for field in fields_of(RunConfig):
        begins = tuple("  " * field.depth + f"{mark}{field.name}:" for mark in ("", "#"))
        found = [i for i, line in enumerate(lines) if line.startswith(begins)]
        assert len(found) == 1, field.key
        words = []
        for line in reversed(lines[: found[0]]):
            if not line.strip().startswith("# "):
                break
            words.insert(0, line.strip()[2:])
        assert " ".join(words) == field.doc != "", field.key


def test_notes_follow_the_doc_and_long_ones_are_wrapped() -> None:
    note = "word " * 60
    text = commented_yaml(RunConfig, RUN, notes={"train.lr": [note]})
    assert max(map(len, text.splitlines())) <= 100
    before, _, _ = text.partition("  lr: 1.0e-05")
    assert before.rstrip().endswith("word word")


@pytest.mark.parametrize("model", [RunConfig, SweepConfig, PreprocessConfig])
def test_every_field_says_what_it_takes_and_its_default(model: type[Section]) -> None:
    for field in fields_of(model):
        assert field.doc, field.key
        assert field.kind, field.key
        if field.section is None and not field.is_required:
            assert yaml.safe_load(as_yaml(field.default)) == field.default, field.key


def test_kinds_in_words() -> None:
    kinds = {field.key: field.kind for field in (*fields_of(RunConfig), *fields_of(SweepConfig))}
    assert kinds["train.lr"] == "number, > 0"
    assert kinds["early_stopping.min_delta"] == "number, ≥ 0 and < 1"
    assert kinds["train.loss"] == "bce or focal"
    assert kinds["fold"] == "whole number or null, ≥ 0"
    assert kinds["networks"] == "list of text"
    assert kinds["network"] == "section"
    assert kinds["search"].startswith("mapping of text to one of grid, choice")
    found = {field.key: field.kind for field in fields_of(PreprocessConfig)}
    assert found["crop_shape"] == "3 × whole number > 0"
    assert found["resample_mm"] == "3 × number > 0.05 and ≤ 20 or null"


def test_a_section_of_nothing_is_the_default_and_can_be_overridden() -> None:
    values = RUN | {"train": None}
    assert parse_config(RunConfig, values, "test").train.epochs == 60
    changed = apply_overrides(values, ["train.epochs=3"], RunConfig)
    assert parse_config(RunConfig, changed, "test").train.epochs == 3


def test_a_store_suggests_what_it_can(store: Store, split_url: str) -> None:
    from radiotrain.training.defaults import suggest_run

    found = suggest_run(store, split_url)
    assert found.values["targets"] == ["ER"]
    assert found.values["network"] == {"name": "SEResNet50"}
    # 32 patients in 4 folds.
    assert found.values["train"]["batch_size"] == 4
    assert "24 patients train" in found.notes["train.batch_size"][0]
    assert "ER (20 positive, 20 negative)" in found.notes["targets"][0]
    fitting, too_large = found.notes["network.name"]
    assert "SEResNet50" in fitting
    assert "DenseNet121 (29)" in too_large
    parse_config(RunConfig, found.values, "test")


@pytest.mark.parametrize(
    ("num_train", "batch_size"), [(589, 16), (64, 16), (63, 8), (32, 8), (31, 4), (15, 4), (3, 4)]
)
def test_batches_leave_an_epoch_some_steps(num_train: int, batch_size: int) -> None:
    from radiotrain.training.defaults import batch_size_for

    assert batch_size_for(num_train) == batch_size


@pytest.mark.parametrize("at_a_time", [2, 4, 8])
def test_no_suggested_batch_leaves_a_patient_alone(at_a_time: int) -> None:
    from radiotrain.data.sampler import check_batches
    from radiotrain.training.defaults import batch_size_for, leaving_nobody_alone

    for num_train in range(2, 700):
        batch_size = batch_size_for(num_train)
        check_batches(num_train, batch_size, 1)
        fewer = leaving_nobody_alone([num_train, num_train + 1], batch_size, at_a_time)
        check_batches(num_train, batch_size, 1, fewer)
        check_batches(num_train + 1, batch_size, 1, fewer)
        assert fewer in range(min(at_a_time, batch_size), min(at_a_time + 2, batch_size) + 1)


def test_where_memory_is_short_fewer_are_computed_at_a_time(
    store: Store, split_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radiotrain.training.defaults import suggest_run
    from radiotrain.training.resources import demand_of, memory_bytes

    def needed(batch_size: int) -> float:
        train = {"batch_size": batch_size}
        run = parse_config(RunConfig, RUN | {"train": train, "network": {"name": "SEResNet50"}}, "")
        return memory_bytes(demand_of(run), store.image_shape)

    between = (needed(2) + needed(4)) / 2 / 0.8
    monkeypatch.setattr("radiotrain.training.defaults.device_bytes", lambda device: between)
    train = suggest_run(store, split_url).values["train"]
    assert train == {"batch_size": 4, "micro_batch_size": 2}
