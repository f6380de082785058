"""What the report says of a run, its store and its split, against the files themselves."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from preprocessing.store import Store
from radiotrain.config.run_config import digest, dump_config, load_config
from radiotrain.evaluation.model import open_models
from radiotrain.evaluation.predicting import describe_flow, describe_runs
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import load_split, make_split, save_split
from tests.commands import attempt, call
from tests.unit.evaluation.scanner_store import write_scanner_store
from tests.unit.training.synthetic import run_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("described")
    store = write_scanner_store(str(folder / "store"), num_patients=60, tumour_effect=0.4)
    save_split(make_split(store, num_folds=2, test_fraction=0.4), str(folder / "splits.json"))
    training = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 0}
    config = run_config(store, str(folder / "splits.json"), folder / "run", train=training)
    (folder / "run.yaml").write_text(dump_config(config))
    call("train", "--config", folder / "run.yaml")
    call("evaluate", folder / "run", "--out", folder / "report", "--resamples", 100)
    return folder


def test_the_flow_counts_what_store_and_split_hold(folder: Path) -> None:
    store = Store.open(str(folder / "store"))
    split = load_split(str(folder / "splits.json"), store)
    flow = describe_flow(store, split, open_models([str(folder / "run")]))
    assert flow.mismatches == ()
    assert flow.num_patients == 60
    assert flow.num_test == len(split.test_ids)
    assert [fold.num_validation for fold in flow.folds] == [len(fold) for fold in split.folds]
    for counts in flow.labels:
        ids = split.test_ids if counts.part == "test" else split.development_ids
        column = store.spec.targets.index(counts.target)
        labels = [int(store.labels[store.index_of(i), column]) for i in ids]
        found = (counts.num_positive, counts.num_negative, counts.num_missing)
        assert found == (labels.count(1), labels.count(0), labels.count(-1))


def test_the_network_is_described_as_it_lies_in_its_folder(folder: Path) -> None:
    store = Store.open(str(folder / "store"))
    split = load_split(str(folder / "splits.json"), store)
    facts = describe_runs(store, split, open_models([str(folder / "run")]))
    (model,) = facts.models
    saved = torch.load(RunFolder(str(folder / "run")).best_weights, weights_only=True)
    record = json.loads((folder / "run" / "run.json").read_text("utf-8"))
    learnt = [
        name
        for name in saved["weights"]
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert model.num_parameters == sum(saved["weights"][name].numel() for name in learnt)
    assert model.epochs == record["num_epochs"] == 2
    assert model.best_epoch == record["best_epoch"] + 1
    assert facts.versions == record["versions"]
    assert facts.data.crop_shape == store.spec.crop_shape
    makers = [count for name, _, count in facts.data.acquisition if name == "manufacturer"]
    assert sum(makers) == len(split.development_ids)


def test_the_log_of_openings_names_the_baselines_that_were_tested(folder: Path) -> None:
    (opening,) = read_access_log(str(folder / "splits.json")).records
    runs = json.loads((folder / "report" / "metrics.json").read_text("utf-8"))["runs"]
    assert set(opening.runs) == set(runs)
    assert len(opening.runs) > 1


def test_the_log_of_openings_says_how_each_network_was_made(folder: Path) -> None:
    opening = read_access_log(str(folder / "splits.json")).records[0]
    config = load_config(str(folder / "run" / "config.yaml"))
    named = f"ER ResNet10-narrow, seed 0, fold 0, configuration {digest(config.identity())}"
    assert opening.configurations == {"run": named}
    assert named in (folder / "report" / "report.html").read_text("utf-8")
    other = load_config(str(folder / "run" / "config.yaml"), ["train.lr=1e-5"])
    assert digest(other.identity()) not in named


def test_what_baseline_models_read_is_written_down(folder: Path) -> None:
    kept = json.loads((folder / "report" / "metrics.json").read_text("utf-8"))["provenance"]
    features = kept["baseline models"]
    assert features["clinical"] == ["age_years"]
    assert set(features["size"]) < set(features["size and kinetics"])
    assert "rise_1_mean" in features["size and kinetics"]


def test_card_and_checklists_are_filled_from_the_run(folder: Path) -> None:
    card = (folder / "report" / "model-card.md").read_text("utf-8")
    assert "parameters, for ER" in card
    lines = (folder / "report" / "checklists.csv").read_text("utf-8").splitlines()
    by_run = [line for line in lines if line.startswith("CLAIM") and ",run," in line]
    assert len(by_run) >= 16


def test_the_report_shows_where_the_network_looks(folder: Path) -> None:
    kept = json.loads((folder / "report" / "metrics.json").read_text("utf-8"))
    (found,) = kept["saliency"]["runs"]
    assert found["target"] == "ER"
    assert found["num_patients"] == 6
    split = load_split(str(folder / "splits.json"))
    patients = pd.read_csv(folder / "report" / "saliency.csv").to_dict("records")
    assert len(patients) == 6
    assert {p["patient_id"] for p in patients} <= set(split.test_ids)
    store = Store.open(str(folder / "store"))
    for patient in patients:
        region = store.read_region(store.index_of(patient["patient_id"]))
        assert patient["chance"] == pytest.approx((region & 1).sum() / (region & 2 == 0).sum())
        assert patient["completeness_error"] < 0.2
    document = Path(__file__).parents[2].joinpath("docs", "metrics-json.md").read_text("utf-8")
    rows = [kept["saliency"], found, patients[0]]
    assert {key for row in rows for key in row if f"`{key}`" not in document} == set()
    page = (folder / "report" / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 4
    assert 'id="saliency"' in page
    lines = (folder / "report" / "checklists.csv").read_text("utf-8").splitlines()
    assert any("Explainability" in line and ",run," in line for line in lines)


def _keys(values: Any, names_of: tuple[str, ...]) -> Iterator[str]:
    """Yield all keys of JSON values, but not the names that are keys of `names_of`."""
    if isinstance(values, list):
        for value in values:
            yield from _keys(value, names_of)
    elif isinstance(values, dict):
        for key, value in values.items():
            yield key
            if key in names_of:
                value = list(value.values())
            yield from _keys(value, names_of)


def test_every_key_of_the_json_is_documented(folder: Path) -> None:
    kept = json.loads((folder / "report" / "metrics.json").read_text("utf-8"))
    kept["runs"] = [result for of_run in kept["runs"].values() for result in of_run.values()]
    for opening in kept["openings"]:
        opening["configurations"] = None
    assert kept.pop("provenance")  # free text: whatever is needed to repeat it
    assert kept["shortcuts"]["left_out"]
    assert kept["shortcuts"]["probes"]
    assert kept["subgroups"]["results"]
    assert kept["flow"]["labels"]
    document = Path(__file__).parents[2].joinpath("docs", "metrics-json.md").read_text("utf-8")
    named = {
        word for code in re.findall(r"`([^`]+)`", document) for word in re.findall(r"\w+", code)
    }
    assert set(_keys(kept, ("reasons",))) - named - _shortened(document) == set()


def _shortened(document: str) -> set[str]:
    """Return names that the document gives as a value `and …_ci95`."""
    found = set()
    for row in document.splitlines():
        if "`…_ci95`" in row:
            found |= {f"{name}_ci95" for name in re.findall(r"`(\w+)`", row)}
    return found


def test_looking_can_be_left_out(folder: Path) -> None:
    out = folder / "unseen"
    call("evaluate", folder / "run", "--out", out, "--no-baselines", "--saliency", 0)
    assert json.loads((out / "metrics.json").read_text("utf-8"))["saliency"] is None
    assert 'id="saliency"' not in (out / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    "wrong", [("--out", "FILE"), ("--resamples", "10"), ("--tta", "-1"), ("--saliency", "-1")]
)
def test_what_is_wrong_is_said_before_the_test_set_is_opened(
    folder: Path, wrong: tuple[str, str]
) -> None:
    before = len(read_access_log(str(folder / "splits.json")).records)
    words = [w.replace("FILE", str(folder / "run.yaml")) for w in wrong]
    out = () if "--out" in wrong else ("--out", folder / "never")
    call("evaluate", folder / "run", "--no-baselines", *out, *words, status=2)
    assert len(read_access_log(str(folder / "splits.json")).records) == before
    assert not (folder / "never").exists()


def test_a_lost_access_is_said_and_put_back(folder: Path) -> None:
    """The run that was tested keeps a copy."""
    log = folder / "splits.json.openings"
    before = sorted(path.name for path in log.iterdir())
    shutil.rmtree(log)
    (folder / "splits.json.openings.head").unlink()
    out, _ = call(
        "evaluate", folder / "run", "--out", folder / "lost", "--no-baselines", "--saliency", 0,
        "--resamples", 100,
    )  # fmt: skip
    assert out.count("was missing from the log of the test set") == len(before)
    assert set(before) < {path.name for path in log.iterdir()}
    page = (folder / "lost" / "report.html").read_text("utf-8")
    assert page.count("The access log is not certain") == len(before)
    assert f"The access log holds {len(before) + 1} test-set access" in page


def test_a_copy_of_a_run_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "run", tmp_path / "copy")
    out, _ = call(
        "evaluate", folder / "run", tmp_path / "copy", "--out", tmp_path / "report",
        "--no-baselines", "--saliency", 0, "--resamples", 100,
    )  # fmt: skip
    assert "note: Runs run, copy are one: their weights are the same to the bit." in out


def test_a_primary_result_is_on_record_before_the_test_and_cannot_be_named_after_it(
    folder: Path, tmp_path: Path
) -> None:
    """The fixture's evaluation looked at these test patients before, without a primary result."""
    url = str(folder / "splits.json")
    num = len(read_access_log(url).records)
    for odd in ("PR", "run:PR", "baseline size:ER", ""):
        found = attempt("evaluate", folder / "run", "--out", tmp_path / "odd", "--primary", odd)
        assert found.status == 2
        assert "names no result that gets a headline" in found.error
    # Refused before the test set was opened.
    assert len(read_access_log(url).records) == num
    options = ("--out", tmp_path / "late", "--resamples", 100, "--saliency", 0)
    call("evaluate", folder / "run", *options, "--primary", "run:ER")
    assert read_access_log(url).records[-1].primary == ("run:ER",)
    kept = json.loads((tmp_path / "late" / "metrics.json").read_text("utf-8"))
    assert kept["family"]["on_record"] is True
    assert "named no primary result" in kept["family"]["too_late"]
    assert kept["runs"]["run"]["ER"]["claim"] == "exploratory"
    assert (kept["cohort"], kept["published"]) == ("", [])
    page = (tmp_path / "late" / "report.html").read_text("utf-8")
    assert "was named as primary too late" in page
    assert "<td>run:ER</td>" in page


def test_a_primary_result_of_the_first_access_is_confirmatory_and_stays_so(
    folder: Path, tmp_path: Path
) -> None:
    fresh = tmp_path / "fresh"
    shutil.copytree(folder, fresh)
    for name in ("splits.json.openings", "run/test-accesses"):
        shutil.rmtree(fresh / name)
    (fresh / "splits.json.openings.head").unlink()
    words = (
        "evaluate",
        fresh / "run",
        "--store",
        fresh / "store",
        "--split",
        fresh / "splits.json",
    )
    options = ("--resamples", 100, "--saliency", 0, "--primary", "ER")
    # The same test again is no second look.
    for name in ("first", "again"):
        call(*words, "--out", tmp_path / name, *options)
        kept = json.loads((tmp_path / name / "metrics.json").read_text("utf-8"))
        assert (kept["family"]["too_late"], kept["family"]["num_earlier"]) == ("", 0)
        assert kept["family"]["members"] == kept["family"]["primary"] == [["run", "ER"]]
        assert kept["runs"]["run"]["ER"]["claim"] == "primary"
