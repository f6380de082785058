"""A cross-validated test from the split to the report: every patient is tested by models that never saw it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from shutil import copytree

import pandas as pd
import pytest

from preprocessing.store import Store
from radiotrain.config.run_config import dump_config
from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import load_split
from tests.commands import call
from tests.unit.evaluation.scanner_store import write_scanner_store
from tests.unit.training.synthetic import run_config

pytestmark = pytest.mark.slow

NUM_PARTS = 3


def train(folder: Path, store: Store, split: str, name: str, **changes: object) -> Path:
    training = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 0}
    config = run_config(store, split, folder / name, train=training, **changes)
    (folder / "run.yaml").write_text(dump_config(config))
    call("train", "--config", folder / "run.yaml")
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outer")
    store = write_scanner_store(str(folder / "store"), num_patients=60, tumour_effect=0.4)
    call("split", store.url, "--out", folder / "outer.json", "--outer", NUM_PARTS, "--folds", 2)
    call("split", store.url, "--out", folder / "single.json", "--folds", 2)
    for part in range(1, NUM_PARTS + 1):
        split = str(folder / f"outer-{part}-of-{NUM_PARTS}.json")
        for fold in (0, 1):
            train(folder, store, split, f"{part}/fold-{fold}", fold=fold)
    return folder


def runs(folder: Path, *folds: int, parts: tuple[int, ...] = (1, 2, 3)) -> list[Path]:
    return [folder / f"{part}" / f"fold-{fold}" for part in parts for fold in folds]


def logged(folder: Path) -> list[int]:
    urls = [str(folder / f"outer-{part}-of-{NUM_PARTS}.json") for part in range(1, NUM_PARTS + 1)]
    return [len(read_access_log(url).records) for url in urls]


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    before = logged(folder)
    out = folder / "report"
    call("evaluate", *runs(folder, 0, 1), "--out", out, "--resamples", 100)
    assert [now - then for now, then in zip(logged(folder), before, strict=True)] == [1, 1, 1]
    return out


def test_every_patient_is_tested_once_by_networks_that_did_not_see_it(
    folder: Path, report: Path
) -> None:
    table = pd.read_parquet(report / "predictions.parquet")
    network = "ER ResNet10-narrow"
    assert {r for r in table["run"] if not r.startswith("baseline")} == {
        f"{network}, fold 0",
        f"{network}, fold 1",
        f"{network}, mean of 2",
    }
    for run, rows in table.groupby("run"):
        tested = rows[rows["split"] == "test"]
        patients = tested[["patient_id", "outer"]].drop_duplicates()
        assert Counter(patients["patient_id"]) == Counter(
            Store.open(str(folder / "store")).patient_ids
        ), run
    for part in range(1, NUM_PARTS + 1):
        split = load_split(str(folder / f"outer-{part}-of-{NUM_PARTS}.json"))
        mine = table[table["outer"] == part]
        assert {*mine.loc[mine["split"] == "test", "patient_id"]} == {*split.test_ids}
        seen = {*mine.loc[mine["split"] == "validation", "patient_id"]}
        assert seen == {*split.development_ids}


def test_the_numbers_are_those_of_the_parts(report: Path) -> None:
    table = pd.read_parquet(report / "predictions.parquet")
    metrics = json.loads((report / "metrics.json").read_text("utf-8"))
    for run, targets in metrics["runs"].items():
        found = targets["ER"]
        assert found["num_patients"] == 60
        assert [part["number"] for part in found["outer"]] == [1, 2, 3]
        rows = table[(table["run"] == run) & (table["split"] == "test")]
        wins = pairs = 0.0
        for _, part in rows.groupby("outer"):
            means = part.groupby("patient_id").agg({"label": "first", "probability": "mean"})
            for p in means.loc[means["label"] == 1, "probability"]:
                for n in means.loc[means["label"] == 0, "probability"]:
                    wins += (p > n) + 0.5 * (p == n)
                    pairs += 1
        assert found["auc"] == pytest.approx(wins / pairs)
    assert metrics["flow"]["num_test"] == 60
    assert metrics["characteristics"]["partitions"] == [["All patients", 60]]
    page = (report / "report.html").read_text("utf-8")
    assert "Table 1. Characteristics of patients" in page
    assert len(metrics["openings"]) >= NUM_PARTS
    page = (report / "report.html").read_text("utf-8")
    assert "Cross-validated test: results of each outer part" in page


def test_what_does_not_belong_together_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    store = Store.open(str(folder / "store"))
    before = logged(folder)
    single = train(folder, store, str(folder / "single.json"), "single")
    copytree(folder / "1" / "fold-0", tmp_path / "again")

    def refused(*words: object) -> str:
        _, error = call("evaluate", *words, "--out", tmp_path / "report", status=2)
        return error

    error = refused(*runs(folder, 0, parts=(1, 3)))
    assert "no model was given for part 2, expected one of each" in error
    assert "was trained on the single split" in refused(*runs(folder, 0), single)
    error = refused(*runs(folder, 0), folder / "1" / "fold-1")
    assert (
        "'ER ResNet10-narrow, fold 1' was given for outer part 1 but not for outer part 2" in error
    )
    assert "expected one: leave one out" in refused(*runs(folder, 0), tmp_path / "again")
    # The patients of part 2 were in training: no network of part 1 is tested on them.
    error = refused(*runs(folder, 0), "--split", folder / "outer-2-of-3.json")
    assert "was trained on another split than outer part 2 of 3" in error
    assert logged(folder) == before


def test_splits_that_moved_are_found_by_the_file_that_lists_them(
    folder: Path, report: Path, tmp_path: Path
) -> None:
    for name in ("outer.json", *(f"outer-{k}-of-{NUM_PARTS}.json" for k in (1, 2, 3))):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    options = ("--split", tmp_path / "outer.json", "--no-baselines", "--resamples", 100)
    options += ("--saliency", 0, "--purpose", "moved")
    call("evaluate", *runs(folder, 0), "--out", tmp_path / "report", *options)
    for part in range(1, NUM_PARTS + 1):
        log = read_access_log(str(tmp_path / f"outer-{part}-of-{NUM_PARTS}.json"))
        assert log.records[-1].purpose == "moved"


def test_the_table_says_the_same_without_the_runs(report: Path, tmp_path: Path) -> None:
    table = report / "predictions.parquet"
    options = ("--resamples", 100, "--sampling", "within-classes")
    call("evaluate", "--predictions", table, "--out", tmp_path / "report", *options)
    first, again = (
        json.loads((path / "metrics.json").read_text("utf-8"))["runs"]
        for path in (report, tmp_path / "report")
    )
    assert first == again
    call(
        "compare", report, tmp_path / "report", "--out", tmp_path / "comparison", "--resamples", 100
    )
    call("verify", tmp_path)
