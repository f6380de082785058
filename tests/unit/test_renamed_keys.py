"""Settings with another name than before: the old name is taken for one release, and warned about."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.sweep.config import SweepConfig, load_sweep, plan_trials
from preprocessing.common.errors import InputError
from preprocessing.storage.digests import text_with_digest
from radiotrain.config.reproduction import ReproduceConfig
from radiotrain.config.run_config import (
    RunConfig,
    digest,
    load_config,
    parse_config,
    parse_recorded,
)
from radiotrain.config.yaml_text import dump_yaml
from radiotrain.evaluation.compare.report_folder import Report, differing_run_settings

RUN = {"store": "/a", "split": "/b", "out": "/c"}
OLD_RUN = RUN | {
    "network": {"name": "ResNet34", "weights": "/w.pt"},
    "show": {"tensorboard": False},
}
NEW_RUN = RUN | {
    "network": {"name": "ResNet34", "pretrained": "/w.pt"},
    "logging": {"tensorboard": False},
}
SWEEP = RUN | {"networks": ["ResNet10"], "targets": ["ER"]}
FILES = ["/v.pt", "/w.pt", None]
OLD_SWEEP = SWEEP | {
    "samples": 3,
    "searcher": "random",
    "search": {"network.weights": {"choice": FILES}},
    "show": {"image_epochs": 0},
}
NEW_SWEEP = SWEEP | {
    "num_samples": 3,
    "search_algorithm": "random",
    "search": {"network.pretrained": {"choice": FILES}},
    "logging": {"image_epochs": 0},
}


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """Return the warnings about old names, as they come."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    log = logging.getLogger("radiotrain.config.deprecation")
    log.addHandler(handler)
    yield records
    log.removeHandler(handler)


def test_old_names_are_read_with_one_warning(
    tmp_path: Path, logged: list[logging.LogRecord]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(OLD_RUN))
    assert load_config(str(path)) == parse_config(RunConfig, NEW_RUN, "new")
    (record,) = logged
    assert record.levelname == "WARNING"
    assert str(path) in record.getMessage()
    assert "show is now logging" in record.getMessage()
    assert "network.weights is now network.pretrained" in record.getMessage()


@pytest.mark.parametrize(
    ("override", "new"),
    [
        ("show.image_epochs=3", {"logging": {"image_epochs": 3}}),
        ("network.weights=/w.pt", {"network": {"pretrained": "/w.pt"}}),
    ],
)
def test_an_override_by_the_old_name_wins_over_the_file(
    tmp_path: Path, logged: list[logging.LogRecord], override: str, new: dict[str, Any]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump_yaml(RUN | {"logging": {"image_epochs": 9}} | {"network": {}}))
    read = load_config(str(path), [override])
    (section, values), *_ = new.items()
    assert getattr(read, section).model_dump().items() >= values.items()
    assert ["--set" in record.getMessage() for record in logged] == [True]


@pytest.mark.parametrize(
    ("model", "values", "names"),
    [
        (RunConfig, OLD_RUN | {"logging": {}}, "both show and logging"),
        (
            RunConfig,
            RUN | {"network": {"weights": None, "pretrained": "/w.pt"}},
            "both network.weights and network.pretrained",
        ),
        (SweepConfig, NEW_SWEEP | {"samples": 2}, "both samples and num_samples"),
        (ReproduceConfig, {"sweep": {"samples": 2, "num_samples": 2}}, "both sweep.samples and"),
    ],
)
def test_both_names_of_one_setting_are_refused(model: Any, values: Any, names: str) -> None:
    with pytest.raises(InputError, match=names):
        parse_config(model, values, "file.yaml")


def test_a_recorded_run_is_read_in_silence_and_keeps_its_digests(
    logged: list[logging.LogRecord],
) -> None:
    """The digests are those that the release before the new names computed."""
    for values in (OLD_RUN, NEW_RUN):
        read = parse_recorded(RunConfig, values, "recorded")
        assert digest(read.identity()) == "b94315579c67253c"
        assert digest(read.lineage()) == "2f1bb34661276dc6"
    assert not logged


def test_a_recorded_sweep_has_the_same_trials(
    tmp_path: Path, logged: list[logging.LogRecord]
) -> None:
    """Draws depend on the name of the field: they go by the one that it had first."""
    path = tmp_path / "sweep.yaml"
    path.write_text(text_with_digest(dump_yaml(OLD_SWEEP)))
    trials = plan_trials(load_sweep(str(path)))
    assert not logged
    recorded = parse_recorded(SweepConfig, NEW_SWEEP, "recorded")
    assert trials == plan_trials(recorded)
    drawn = [(trial.name, trial.run.network.pretrained) for trial in trials]
    # As the release before the new names drew them.
    assert drawn == [("ER_ResNet10_000", "/w.pt"), ("ER_ResNet10_002", None)]


def test_settings_of_a_reproduction_have_the_new_names_when_they_are_written(
    logged: list[logging.LogRecord],
) -> None:
    settings = parse_config(
        ReproduceConfig, {"sweep": {"samples": 2, "show": {}}}, "reproduce.yaml"
    )
    assert settings.sweep == {"num_samples": 2, "logging": {}}
    assert len(logged) == 1


def test_reports_of_two_releases_differ_by_no_name() -> None:
    import pandas as pd

    reports = [Report("r", pd.DataFrame(), {"run a": values}) for values in (OLD_RUN, NEW_RUN)]
    assert differing_run_settings(reports[0], "a", reports[1], "a") == ()
