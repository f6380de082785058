"""Configurations that were recorded before a key was added."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.sweep.config import SweepConfig, load_sweep, plan_trials
from preprocessing.storage.digests import text_with_digest
from radiotrain.config import run_config
from radiotrain.config.run_config import RunConfig, flatten, parse_config
from radiotrain.config.yaml_text import dump_yaml


def test_a_key_that_runs_were_recorded_without_has_the_value_they_were_trained_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {"store": "a", "split": "b", "out": "c", "train": {"lr": 1e-3}}
    before = parse_config(RunConfig, values, "before")
    recorded = before.model_dump(mode="json")
    for section, key in (("train", "loss"), ("network", "pretrained")):
        del recorded[section][key]
    monkeypatch.setattr(
        run_config, "ADDED_KEYS", {"train.loss": "focal", "network.pretrained": "w.pt"}
    )
    read = run_config.parse_recorded(RunConfig, recorded, "recorded")
    assert (read.train.loss, read.network.pretrained, read.train.lr) == ("focal", "w.pt", 1e-3)
    # A run by the old values has the identity that it was recorded with; one by others has not.
    assert "loss" not in read.identity()["train"]
    assert "weights" not in read.identity()["network"]
    assert parse_config(RunConfig, values, "now").identity()["train"]["loss"] == "bce"


def test_a_file_that_was_recorded_is_read_by_the_rules_of_its_time(tmp_path: Path) -> None:
    values = {"store": "a", "split": "b", "out": "c"}
    recorded = parse_config(RunConfig, values, "before").model_dump(mode="json")
    for dotted in run_config.ADDED_KEYS:
        section, _, key = dotted.partition(".")
        (recorded[section] if key else recorded).pop(key or section, None)
    text = dump_yaml(recorded)
    (tmp_path / "recorded.yaml").write_text(text_with_digest(text))
    (tmp_path / "user.yaml").write_text(text.replace("patience: 15", "patience: null"))
    read = run_config.load_config(str(tmp_path / "recorded.yaml"))
    now = run_config.load_config(str(tmp_path / "user.yaml"))
    assert (read.early_stopping.choose, now.early_stopping.choose) == ("best_auc", "last")
    assert (read.train.normalisation, now.train.normalisation) == ("plain", "robust")
    assert (read.averaging, now.averaging) == ("raw", "calibrated")


def test_trials_of_a_recorded_sweep_have_the_identities_that_they_were_recorded_with(
    tmp_path: Path,
) -> None:
    values = {"store": "a", "split": "b", "out": "c", "networks": ["ResNet10"], "targets": ["ER"]}
    sweep = parse_config(SweepConfig, values, "now").model_dump(mode="json")
    for dotted in run_config.ADDED_KEYS:
        section, _, key = dotted.partition(".")
        sweep.get(section, {}).pop(key, None) if key else sweep.pop(section, None)
    (tmp_path / "sweep.yaml").write_text(text_with_digest(dump_yaml(sweep)))
    (trial,) = plan_trials(load_sweep(str(tmp_path / "sweep.yaml")))
    identity = flatten(trial.run.identity())
    assert not set(identity) & set(run_config.ADDED_KEYS)
