"""The whole chain, by the commands a person types, on a phantom whose truth is known.

ER shows strongly in its images, PR not at all (a coin flip).
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from preprocessing.store import Store
from radiotrain.split.access_log import read_access_log
from tests.commands import end, start, the_sentence

pytestmark = pytest.mark.slow

NUM_PATIENTS = 150


def command(*words: object, status: int = 0) -> tuple[str, str]:
    """Run a command in a process of its own and check its exit status; return its output and errors."""
    return end(start(*words), status, timeout_s=280)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(scope="module")
def cohort(folder):
    """A cohort with two patients spoilt: one file cut short, one without images."""
    path = folder / "cohort"
    command("phantom", path, "--patients", NUM_PATIENTS, "--effect", "ER=4,PR=0,HER2=1.5")
    patients = path / "Duke-Breast-Cancer-MRI"
    series = [f for f in patients.glob("Breast_MRI_003/*/*") if len(list(f.iterdir())) == 32]
    for folder_of_series in series:  # the dynamic ones, one slice of each
        file = sorted(folder_of_series.iterdir())[20]
        file.write_bytes(file.read_bytes()[:-500])
    shutil.rmtree(patients / "Breast_MRI_007")
    return path


@pytest.fixture(scope="module")
def store(folder, cohort):
    out, _ = command("preprocess", cohort, folder / "store", "--crop-shape", 24, 24, 12)
    assert re.search(r"148 patients stored, 2 excluded \(1 .*, 1 no-images\)", out)
    return Store.open(str(folder / "store"))


@pytest.fixture(scope="module")
def split(folder, store):
    command("split", store.url, "--out", folder / "splits.json")
    return folder / "splits.json"


@pytest.fixture(scope="module")
def runs(folder, store, split):
    """Two runs, of the target that shows and of the coin flip."""
    for target in ("ER", "PR"):
        values = {
            "store": store.url,
            "split": str(split),
            "out": str(folder / f"{target}_run"),
            "targets": [target],
            "network": {"name": "ResNet10-narrow"},
            "train": {"epochs": 25, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1},
            "device": "cpu",
        }
        (folder / f"{target}.yaml").write_text(yaml.safe_dump(values))
        command("train", "--config", folder / f"{target}.yaml")
    return [folder / "ER_run", folder / "PR_run"]


@pytest.fixture(scope="module")
def report(folder, store, split, runs):
    out = folder / "report"
    said, _ = command("evaluate", *runs, "--out", out, "--purpose", "test of the chain")
    assert f"report: {out}/report.html" in said
    return out


def test_check_names_what_is_wrong_with_each_patient(folder, cohort):
    command("cohort", "check", cohort, "--json", folder / "check.json")
    entries = {
        p["patient_id"]: p for p in json.loads((folder / "check.json").read_text())["patients"]
    }
    assert len(entries) == NUM_PATIENTS
    unusable = {k for k, p in entries.items() if not p["usable"]}
    assert unusable == {"Breast_MRI_003", "Breast_MRI_007"}
    assert [f["code"] for f in entries["Breast_MRI_007"]["findings"]] == ["no-images"]
    damaged = entries["Breast_MRI_003"]["findings"][-1]
    assert damaged["code"] == "dicom-damaged"
    assert "cut short by 500 bytes" in damaged["message"]
    truth = json.loads((cohort / "truth.json").read_text())["patients"]
    for patient_id, entry in entries.items():
        assert entry["labels"] == truth[patient_id]["labels"]
        box = truth[patient_id]["box"]
        assert entry["box"] == [
            box["Start Row"] - 1, box["End Row"], box["Start Column"] - 1, box["End Column"],
            box["Start Slice"] - 1, box["End Slice"],
        ]  # fmt: skip


def test_every_patient_is_in_the_store_or_named_with_a_reason(cohort, store):
    assert len(store.patient_ids) + len(store.excluded) == NUM_PATIENTS
    assert {r.patient_id for r in store.excluded} == {"Breast_MRI_003", "Breast_MRI_007"}
    assert all(r.findings for r in store.excluded)
    truth = json.loads((cohort / "truth.json").read_text())["patients"]
    for patient_id, labels in zip(store.patient_ids, store.labels, strict=True):
        assert dict(zip(store.targets, labels.tolist(), strict=True)) == truth[patient_id]["labels"]


def test_preprocessing_again_does_nothing(folder, cohort, store):
    out, _ = command("preprocess", cohort, store.url, "--crop-shape", 24, 24, 12)
    assert "150 were done before, 0 now" in out
    assert Store.open(store.url).fingerprint == store.fingerprint


def test_another_setting_is_refused_by_the_same_store(cohort, store):
    _, error = command("preprocess", cohort, store.url, "--crop-shape", 24, 24, 16, status=2)
    assert "was made with other input" in the_sentence(error)


def test_signal_is_found_and_a_coin_flip_is_not(report, split):
    metrics = json.loads((report / "metrics.json").read_text())["runs"]
    er, pr = metrics["ER_run"]["ER"], metrics["PR_run"]["PR"]
    assert er["auc_validation"] > 0.9
    assert er["auc"] > 0.9
    low, high = pr["auc_ci95_bootstrap"]
    assert low < 0.5 < high
    for values in (er, pr):
        assert values["num_patients"] == len(json.loads(split.read_text())["test_ids"])
        assert 0 <= values["sensitivity"] <= 1
        assert 0 <= values["specificity"] <= 1


def test_the_report_is_whole(report):
    page = (report / "report.html").read_text()
    # Excluded patients are named in a table of their own, and in no page.
    assert "Breast_MRI_003" in set(pd.read_csv(report / "excluded.csv")["patient_id"])
    assert "Breast_MRI_" not in page
    assert "no-images" in page
    assert "test of the chain" in page  # why the test set was opened
    assert not re.search(r'(src|href)="(https?:)?//', page)
    table = pd.read_parquet(report / "predictions.parquet")
    assert set(table["split"]) == {"validation", "test"}
    assert not set(table[table["split"] == "test"].patient_id) & set(
        table[table["split"] == "validation"].patient_id
    )
    assert {p.suffix for p in (report / "plots").iterdir()} == {".svg"}
    assert {run for run in table["run"] if not run.startswith("baseline ")} == {"ER_run", "PR_run"}
    assert "baseline size and kinetics (logistic)" in set(table["run"])
    assert 'id="shortcuts"' in page


def test_each_opening_of_the_test_set_is_logged(folder, split, report, runs):
    before = len(read_access_log(str(split)).records)
    assert before >= 1
    words = ("--out", folder / "again", "--purpose", "second look", "--no-baselines")
    command("evaluate", runs[0], *words)
    openings = read_access_log(str(split)).records
    assert len(openings) == before + 1
    assert openings[-1].purpose == "second look"
    assert "second look" in (folder / "again" / "report.html").read_text()


def test_a_table_alone_gives_the_same_numbers(folder, report):
    table = pd.read_parquet(report / "predictions.parquet")
    table.to_csv(folder / "table.csv", index=False)
    words = ("--sampling", "within-classes")
    command(
        "evaluate", "--predictions", folder / "table.csv", "--out", folder / "from-table", *words
    )
    ours = json.loads((report / "metrics.json").read_text())["runs"]
    theirs = json.loads((folder / "from-table" / "metrics.json").read_text())["runs"]
    assert ours == theirs


@pytest.mark.parametrize("spoilt", ["Breast_MRI_003", "Breast_MRI_007"])
def test_no_excluded_patient_is_predicted(report, spoilt):
    assert spoilt not in set(pd.read_parquet(report / "predictions.parquet").patient_id)


def test_nothing_that_could_name_a_patient_is_in_the_store(store):
    paths = [*Path(store.url).rglob("*.json")]
    assert {"zarr.json", "patients.json"} < {path.name for path in paths}
    for path in paths:
        text = path.read_text()
        for word in ("19900101", "1.2.826", "BirthDate", "PatientName"):
            assert word not in text
