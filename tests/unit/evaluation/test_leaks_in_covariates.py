"""What reports say of covariates that tell a target, and what baselines read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from preprocessing.common.errors import InputError
from preprocessing.store import PatientRecord, PatientTensor, Store
from radiotrain.config.run_config import NetworkConfig, RunConfig, parse_config, parse_recorded
from radiotrain.evaluation.baselines.models import LOGISTIC
from radiotrain.evaluation.baselines.predict import fit_baselines, read_sets
from radiotrain.evaluation.leak_checks import notes_on_covariates
from radiotrain.split.split import Split, make_split
from radiotrain.training.setup import build_trained_network
from tests.growing import labels_of, names, write_cohort


def _with_covariates(
    record: PatientRecord, tensor: PatientTensor
) -> tuple[PatientRecord, PatientTensor]:
    er = labels_of(record.patient_id)[0]
    number = int(record.patient_id[1:])
    values = {
        "marker": float(er),
        "age": float(40 + (number * 7) % 30),
        "PRstatus": float(number % 3),
    }
    return replace(record, covariates=values), tensor


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Split]:
    ids = names(0, 48)
    url = str(tmp_path_factory.mktemp("told") / "store")
    store = write_cohort(url, ids, change=dict.fromkeys(ids, _with_covariates))
    return store, make_split(store, seed=1, num_folds=3)


def _config(store: Store, **network: object) -> RunConfig:
    values = {
        "store": store.url,
        "split": "s.json",
        "out": "o",
        "network": {"name": "ResNet18", **network},
    }
    return parse_config(RunConfig, values, "a test")


@pytest.mark.parametrize(
    ("name", "why"), [("marker", "AUC 1.00 for ER"), ("PRstatus", "receptors")]
)
def test_training_refuses_it_until_it_is_allowed(
    cohort: tuple[Store, Split], name: str, why: str
) -> None:
    store, split = cohort
    with pytest.raises(InputError, match=why) as caught:
        build_trained_network(_config(store, covariates=["age", name]), store, split)
    assert f"set network.allow_covariates to [{name}]" in str(caught.value)
    config = _config(store, covariates=["age", name], allow_covariates=[name])
    encoder = build_trained_network(config, store, split).encoder
    assert encoder is not None
    assert encoder.column_names == ("age", name)


def test_baselines_leave_it_out_with_a_note_until_it_is_allowed(
    cohort: tuple[Store, Split],
) -> None:
    store, split = cohort
    ids = split.development_ids
    found = fit_baselines(store, split, ["ER"], models=[LOGISTIC])
    assert found.features["clinical"] == ("age",)
    by_name, by_values = (n for n in found.notes if n.startswith("Clinical baselines leave out"))
    assert "PRstatus" in by_name
    assert "marker: it alone reaches AUC 1.00 for ER of 3" in by_values
    sets = read_sets(store, split, ids, allowed=["marker"])
    assert sets["clinical"].names == ("age", "marker")
    allowed = fit_baselines(store, split, ["ER"], models=[LOGISTIC], allowed=["marker"])
    assert allowed.features["clinical"] == ("age", "marker")
    assert not any("marker" in note for note in allowed.notes)


def test_reports_name_what_was_allowed_and_what_older_versions_took(
    cohort: tuple[Store, Split],
) -> None:
    store, split = cohort
    networks = {
        "a": NetworkConfig(covariates=("age", "marker"), allow_covariates=("marker",)),
        "b": NetworkConfig(covariates=("marker", "PRstatus")),
        "c": NetworkConfig(covariates=("age",), allow_covariates=("age",)),
        "d": NetworkConfig(covariates=("age",)),
    }
    notes = notes_on_covariates(networks, store, split)
    assert len(notes) == 4
    allowed, taken, by_name, harmless = sorted(notes, key=lambda n: (n[4], n))[:4]
    assert allowed.startswith(
        "Run a reads marker, which network.allow_covariates allows by name, although"
    )
    assert taken.startswith(
        "Run b reads PRstatus, which is refused now, as it is derived from the rec"
    )
    assert by_name.startswith(
        "Run b reads marker, which is refused now, as it alone reaches AUC 1.00"
    )
    assert harmless == "Run c reads age, which network.allow_covariates allows by name."
    # Without a store, names are judged alone.
    assert len(notes_on_covariates(networks, None, None)) == 3


def test_the_key_changes_nothing_that_runs_are_known_by(
    cohort: tuple[Store, Split], tmp_path: Path
) -> None:
    store, _ = cohort
    plain = _config(store, covariates=["age"])
    allowing = _config(store, covariates=["age"], allow_covariates=["age"])
    assert plain.identity() == allowing.identity()
    assert "allow_covariates" not in plain.identity()["network"]
    recorded = plain.model_dump(mode="json")
    del recorded["network"]["allow_covariates"]
    assert parse_recorded(RunConfig, recorded, "recorded") == plain
    assert np.array(allowing.network.allow_covariates).tolist() == ["age"]
