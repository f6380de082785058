"""Subgroups from a run, and again from its predictions with the store or a table beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preprocessing.store import Store
from radiotrain.config.run_config import dump_config
from radiotrain.split.split import make_split, save_split
from tests.commands import call, the_sentence
from tests.unit.evaluation.scanner_store import write_scanner_store
from tests.unit.training.synthetic import run_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two scanners' patients, half of them tested, and its report."""
    folder = tmp_path_factory.mktemp("subgroups")
    store = write_scanner_store(str(folder / "store"), num_patients=100, tumour_effect=0.4)
    save_split(make_split(store, num_folds=2, test_fraction=0.5), str(folder / "splits.json"))
    training = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 0}
    config = run_config(store, str(folder / "splits.json"), folder / "run", train=training)
    (folder / "run.yaml").write_text(dump_config(config))
    call("train", "--config", folder / "run.yaml")
    evaluate(folder, "report", folder / "run", "--no-baselines")
    return folder


def evaluate(folder: Path, out: str, *words: object) -> dict:
    call("evaluate", *words, "--out", folder / out, "--resamples", 100)
    return json.loads((folder / out / "metrics.json").read_text("utf-8"))["subgroups"]


def of_report(folder: Path) -> dict:
    return json.loads((folder / "report" / "metrics.json").read_text("utf-8"))["subgroups"]


def test_a_run_knows_its_patients_from_the_store(folder: Path) -> None:
    found = of_report(folder)
    by = {r["variable"]: r for r in found["results"]}
    assert set(by) == {"age (years)", "scanner manufacturer"}
    assert found["notes"] == [
        "All test patients are alike, or not known, in: tumour size (longest side)."
    ]
    store = Store.open(str(folder / "store"))
    table = pd.read_parquet(folder / "report" / "predictions.parquet")
    tested = set(table.loc[table["split"] == "test", "patient_id"])
    for group in by["scanner manufacturer"]["groups"]:
        mine = [
            r.patient_id for r in store.records if r.covariates["manufacturer"] == group["name"]
        ]
        labels = [store.labels[store.index_of(i), 0] for i in mine if i in tested]
        assert (group["num_patients"], group["num_positive"]) == (len(labels), int(np.sum(labels)))


def test_predictions_with_the_store_give_the_same(folder: Path) -> None:
    table = folder / "report" / "predictions.parquet"
    found = evaluate(folder, "again", "--predictions", table, "--store", folder / "store")
    assert found == of_report(folder)


def test_predictions_with_a_table_of_patients_give_the_same(folder: Path) -> None:
    records = Store.open(str(folder / "store")).records
    rows = [{"patient_id": r.patient_id, **r.covariates} for r in records]
    pd.DataFrame(rows).to_csv(folder / "patients.csv", index=False)
    table = folder / "report" / "predictions.parquet"
    words = ("--predictions", table, "--patients", folder / "patients.csv")
    found = evaluate(folder, "table", *words)
    assert found["results"] == of_report(folder)["results"]
    assert found["verdicts"] == of_report(folder)["verdicts"]


def test_predictions_alone_have_no_groups_and_say_so(folder: Path) -> None:
    table = folder / "report" / "predictions.parquet"
    assert evaluate(folder, "alone", "--predictions", table) is None
    assert "--patients PATIENTS.csv" in (folder / "alone" / "report.html").read_text("utf-8")


def test_mistakes_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "report")
    _, error = call("evaluate", folder / "run", "--patients", "p.csv", *out, status=2)
    assert "--patients is for --predictions" in the_sentence(error)
    table = folder / "report" / "predictions.parquet"
    _, error = call("evaluate", "--predictions", table, "--patients", "no.csv", *out, status=2)
    assert "no patients' table at no.csv" in the_sentence(error)
    other = write_scanner_store(str(tmp_path / "store"), num_patients=4)
    renamed = pd.read_parquet(table)
    renamed["patient_id"] = "X" + renamed["patient_id"]
    renamed.to_parquet(tmp_path / "t.parquet")
    words = ("--predictions", tmp_path / "t.parquet", "--store", other.url)
    _, error = call("evaluate", *words, *out, status=2)
    assert "holds none of the 50 test patients" in the_sentence(error)
    assert not (tmp_path / "report").exists()
