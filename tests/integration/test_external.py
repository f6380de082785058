"""``radiotrain evaluate MODEL --external STORE``: what is tested, what is refused, what is logged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radiotrain.config.run_config import dump_config
from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import make_split, save_split
from radiotrain.statistics.member_scale import MemberPatients, fit_member_scales
from tests.commands import call, the_sentence
from tests.unit.evaluation.cohort_store import SETTINGS, write_cohort
from tests.unit.training.synthetic import run_config

pytestmark = pytest.mark.slow

QUICK = ("--no-baselines", "--resamples", 100)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of one configuration, a run with a covariate, and another cohort."""
    folder = tmp_path_factory.mktemp("external")
    store = write_cohort(str(folder / "training"), prefix="A", num_patients=48)
    assert store is not None
    save_split(make_split(store, num_folds=2, test_fraction=0.2), str(folder / "splits.json"))
    training = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 0}
    changes: dict[str, dict[str, Any]] = {
        "fold0": {"fold": 0},
        "fold1": {"fold": 1},
        "age": {"network": {"name": "ResNet10-narrow", "covariates": ["age_years"]}},
    }
    for name, more in changes.items():
        config = run_config(
            store, str(folder / "splits.json"), folder / name, train=training, **more
        )
        config = config.model_copy(update={"targets": ("ER", "PR")})
        (folder / "run.yaml").write_text(dump_config(config))
        call("train", "--config", folder / "run.yaml")
    write_cohort(str(folder / "other"), prefix="B", seed=5)
    return folder


def external(world: Path, store: Path | str, out: Path, *words: object, status: int = 0) -> str:
    """Test fold 0, and return what is printed, or the error."""
    done = call(
        "evaluate", world / "fold0", "--external", store, "--out", out, *QUICK, *words,
        status=status,
    )  # fmt: skip
    return the_sentence(done[1]) if status else done[0]


def metrics(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "metrics.json").read_text("utf-8"))
    return values


def other(folder: Path, **changes: Any) -> Path:
    write_cohort(str(folder / "cohort"), **{"prefix": "B", "seed": 5, **changes})
    return folder / "cohort"


def test_two_folds_and_their_mean_are_tested_on_every_patient(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    cohort = other(tmp_path)
    folds = (world / "fold0", world / "fold1")
    said, _ = call(
        "evaluate", *folds, "--external", cohort, "--out", out, "--resamples", 100,
        "--purpose", "a first look",
    )  # fmt: skip
    table = pd.read_parquet(out / "predictions.parquet")
    test = table[(table["split"] == "test") & (table["target"] == "ER")]
    assert set(test["patient_id"]) == {f"B{i:03d}" for i in range(40)}
    assert (test["label"] == test["patient_id"].str[1:].astype(int) % 2).all()
    mean = "ER+PR ResNet10-narrow, mean of 2"
    by_run = test.groupby(["run", "patient_id"])["probability"].mean().unstack(0)
    # Each is calibrated on the validation patients of its own fold, in the training's cohort.
    known = table[(table["split"] == "validation") & (table["target"] == "ER")]
    own = [known[known["run"] == run] for run in ("fold0", "fold1")]
    scales = fit_member_scales(
        [
            MemberPatients(
                tuple(rows["patient_id"]),
                rows["label"].to_numpy(np.float64),
                rows["probability"].to_numpy(np.float64),
            )
            for rows in own
        ]
    )
    assert all(scale.slope > 0 for scale in scales)
    expected = sum(
        scale.apply(by_run[run]) for scale, run in zip(scales, ("fold0", "fold1"), strict=True)
    )
    assert np.allclose(by_run[mean], expected / 2, atol=1e-12)
    kept = metrics(out)
    # The cohort's patients are in no validation row, the training's in no test row.
    assert set(table.loc[table["split"] == "validation", "patient_id"].str[0]) == {"A"}
    labels = test[test["run"] == mean].set_index("patient_id")["label"]
    area = roc_auc_score(labels, by_run[mean].reindex(labels.index))
    assert kept["runs"][mean]["ER"]["auc"] == pytest.approx(area)
    found = kept["external"]
    (moved,) = [t for t in found["transports"] if (t["run"], t["target"]) == (mean, "ER")]
    assert moved["auc_external"] == pytest.approx(area)
    assert moved["points"][0]["threshold"] == kept["runs"][mean]["ER"]["threshold"]
    assert found["num_patients"] == 40
    assert [s["variable"] for s in found["sites"]] == ["site"]
    assert {c["source"] for c in found["cohort_models"]} >= {"site", "size and kinetics"}
    assert any(run.startswith("baseline size and kinetics") for run in kept["runs"])
    assert {r["variable"] for r in found["case_mix"]} >= {"ER", "age (years)", "site"}
    (record,) = read_access_log(f"{cohort}.external").records
    assert record.purpose == "a first look"
    assert {"fold0", "fold1"} < set(record.runs)
    assert record.cohort["target ER"] == "20 positive, 20 negative, 0 missing"
    assert record.cohort["patients"] == "40"
    page = (out / "report.html").read_text("utf-8")
    assert "This cohort was tested <b>1 time</b>" in page
    assert "random part of the same cohort" not in page
    assert "All 40 usable patients of" in page
    assert "predictions table;" not in page
    assert str(tmp_path) not in page
    assert "Research use only" in page
    assert mean in said


def test_each_test_is_counted_and_a_lost_log_is_noticed(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path, seed=9)
    external(world, cohort, tmp_path / "first")
    external(world, cohort, tmp_path / "second")
    assert metrics(tmp_path / "second")["external"]["num_accesses"] == 2
    # The training cohort's own test set was not touched.
    assert read_access_log(str(world / "splits.json")).records == ()
    shutil.rmtree(f"{cohort}.external.openings")
    Path(f"{cohort}.external.openings.head").unlink()
    said = external(world, cohort, tmp_path / "third")
    assert "known from a run that was tested" in said
    assert metrics(tmp_path / "third")["external"]["num_accesses"] >= 3


def test_another_label_is_tested_and_said(world: Path, tmp_path: Path) -> None:
    labels = {"HR": [1, 1, 0, 0] * 10, "ER": [-1] * 40}
    cohort = other(tmp_path, labels=labels)
    said = external(world, cohort, tmp_path / "out", "--targets", "ER=HR")
    assert "ER was tested on the label HR of this cohort" in said
    assert "PR is not tested: the cohort has no label of that name" in said
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    test = table[table["split"] == "test"].sort_values("patient_id")
    assert test["label"].tolist() == labels["HR"]
    assert set(table["target"]) == {"ER"}
    error = external(world, cohort, tmp_path / "none", status=2)
    assert "can test none of the models' targets" in error
    assert "missing in all 40" in error


def test_phases_are_refused_or_mapped(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path, num_phases=5)
    error = external(world, cohort, tmp_path / "out", status=2)
    assert "reads 3 phases" in error
    assert "--phases 0,1,2" in error
    external(world, cohort, tmp_path / "out", "--phases", "0,2,4")
    assert metrics(tmp_path / "out")["external"]["phases"] == [0, 2, 4]
    # A store of these phases alone gives the same probabilities.
    from preprocessing.store import Store
    from tests.unit.evaluation.same_phases import write_phases_of

    write_phases_of(Store.open(str(cohort)), (0, 2, 4), str(tmp_path / "less"))
    external(world, tmp_path / "less", tmp_path / "same")
    two = [pd.read_parquet(tmp_path / n / "predictions.parquet") for n in ("out", "same")]
    assert np.allclose(two[0]["probability"], two[1]["probability"], atol=1e-4)
    assert "has 5 phases, 0 to 4" in external(
        world, cohort, tmp_path / "high", "--phases", "0,1,5", status=2
    )
    assert "reads 3 phases" in external(
        world, cohort, tmp_path / "few", "--phases", "0,1", status=2
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop_shape": (32, 24, 12)}, "--crop-shape 24 24 12"),
        ({"num_phases": 2}, "--num-phases 3"),
        ({"settings": {**SETTINGS, "resample_mm": [1.0, 1.0, 1.0]}}, "resample_mm"),
        ({"prefix": "A"}, "40 of 40 patients"),
        ({"seed": 0}, "have the very voxels"),
        ({"exclude_all": True}, "no usable patient"),
        ({"finish": False}, "is not finished"),
        ({"labels": {"ER": [1] * 40, "PR": [-1] * 40}}, "positive in all 40"),
        ({"labels": {"Ki67": [0, 1] * 20}}, "can test none"),
    ],
)
def test_what_cannot_be_tested_is_refused_before_it_is_read(
    world: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    cohort = other(tmp_path, **changes)
    assert words in external(world, cohort, tmp_path / "out", status=2)
    assert read_access_log(f"{cohort}.external").records == ()
    assert not (tmp_path / "out" / "report.html").exists()


def test_the_training_store_is_no_external_cohort_nor_a_copy_of_it(
    world: Path, tmp_path: Path
) -> None:
    error = external(world, world / "training", tmp_path / "out", status=2)
    assert "no external cohort" in error
    shutil.copytree(world / "training", tmp_path / "copy")
    assert "no external cohort" in external(world, tmp_path / "copy", tmp_path / "out", status=2)


def test_ids_that_are_spelt_alike_are_a_loud_finding(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path, prefix="a-0")
    said = external(world, cohort, tmp_path / "out")
    assert "Leak: 40 patients of the external cohort may be in the training cohort" in said


def test_a_covariate_that_the_cohort_does_not_have_is_refused(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path, leave_out=["age_years"])
    words = ["evaluate", world / "age", "--external", cohort, "--out", tmp_path / "out", *QUICK]
    _, error = call(*words, status=2)
    assert "reads the covariate 'age_years'" in the_sentence(error)
    some = [50.0 if i % 2 else None for i in range(40)]
    write_cohort(str(tmp_path / "some"), prefix="B", seed=5, extra={"age_years": some})
    words[3] = tmp_path / "some"
    said, _ = call(*words)
    assert "age_years, which is missing in 20 of 40 patients" in said


def test_settings_that_differ_are_said(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path, settings={**SETTINGS, "region": "box"})
    said = external(world, cohort, tmp_path / "out")
    assert 'region "box", the training cohort with "mask"' in said


def test_results_by_a_named_site(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path)
    external(world, cohort, tmp_path / "out", "--group-by", "manufacturer")
    (found,) = metrics(tmp_path / "out")["external"]["sites"]
    assert found["variable"] == "manufacturer"
    groups = found["results"][0]["groups"]
    assert {g["name"] for g in groups} == {"GE", "SIEMENS"}
    error = external(world, cohort, tmp_path / "no", "--group-by", "manufacture", status=2)
    assert "did you mean 'manufacturer'" in error


def test_without_the_training_store_what_is_missing_is_said(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path / "moved", ignore=shutil.ignore_patterns("training"))
    config = tmp_path / "moved" / "fold0" / "config.yaml"
    assert str(world) in config.read_text("utf-8")
    hidden = world / "hidden"
    (world / "training").rename(hidden)
    try:
        cohort = other(tmp_path)
        said = external(world, cohort, tmp_path / "out")
        assert "The training store training is not where the runs found it" in said
        assert "Name it with --store" in said
        assert metrics(tmp_path / "out")["external"]["case_mix"] == []
        error = external(world, cohort, tmp_path / "out2", "--store", "/none", status=2)
        assert "no store at /none" in error
    finally:
        hidden.rename(world / "training")


def test_an_export_is_tested_at_its_own_threshold(world: Path, tmp_path: Path) -> None:
    call("export", world / "fold0", "--out", tmp_path / "exported", "--format", "safetensors")
    cohort = other(tmp_path)
    out = tmp_path / "both"
    call("evaluate", tmp_path / "exported", "--external", cohort, "--out", out, *QUICK)
    external(world, cohort, tmp_path / "run")
    (theirs,), (ours,) = (
        [t for t in metrics(o)["external"]["transports"] if t["target"] == "ER"]
        for o in (out, tmp_path / "run")
    )
    assert theirs["auc_external"] == pytest.approx(ours["auc_external"], abs=1e-9)
    point, same = theirs["points"][0], ours["points"][0]
    assert point["threshold"] == pytest.approx(same["threshold"])
    for name in ("validation", "external", "difference"):
        assert point["sensitivity"][name] == pytest.approx(same["sensitivity"][name])
    for warning in metrics(out)["warnings"]:
        if "is an export" in warning:
            return
    raise AssertionError("it is not said that an export keeps no patient")


def test_a_place_that_cannot_be_written_has_its_log_beside_the_report(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from preprocessing.storage import files

    cohort = other(tmp_path)
    write = files.write_bytes

    def refuse(url: str, *args: Any, **kwargs: Any) -> None:
        # Root may write anywhere, so that a read-only folder refuses nothing here.
        if url.startswith(f"{cohort}.external"):
            raise PermissionError(13, "Permission denied", url)
        write(url, *args, **kwargs)

    monkeypatch.setattr(files, "write_bytes", refuse)
    said = external(world, cohort, tmp_path / "out")
    assert "was logged beside the report" in said
    assert len(list(tmp_path.glob("out.external-*.openings"))) == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--targets", "ER=HR"], "--targets is for --external STORE"),
        (["--group-by", "site"], "--group-by is for --external STORE"),
        (["--phases", "0,1"], "--phases is for --external STORE"),
    ],
)
def test_options_of_an_external_test_need_one(
    world: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    _, error = call("evaluate", world / "fold0", "--out", tmp_path / "o", *words, status=2)
    assert sentence in the_sentence(error)


def test_a_primary_result_is_on_record_and_alone_confirmatory(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path, seed=17)
    error = external(world, cohort, tmp_path / "none", "--primary", "HER2", status=2)
    assert "--primary 'HER2' names no result that gets a headline" in error
    assert read_access_log(f"{cohort}.external").records == ()

    external(world, cohort, tmp_path / "first", "--primary", "ER")
    (record,) = read_access_log(f"{cohort}.external").records
    assert record.primary == ("fold0:ER",)
    family = metrics(tmp_path / "first")["family"]
    assert family["primary"] == family["members"] == [["fold0", "ER"]]
    assert (family["on_record"], family["too_late"], family["num_earlier"]) == (True, "", 0)
    runs = metrics(tmp_path / "first")["runs"]["fold0"]
    assert (runs["ER"]["claim"], runs["PR"]["claim"]) == ("primary", "exploratory")

    # The same test again is no second look; another primary result is one.
    external(world, cohort, tmp_path / "again", "--primary", "ER")
    assert metrics(tmp_path / "again")["family"]["too_late"] == ""
    external(world, cohort, tmp_path / "late", "--primary", "PR")
    assert (
        "named another primary result, fold0:ER" in metrics(tmp_path / "late")["family"]["too_late"]
    )
    assert metrics(tmp_path / "late")["runs"]["fold0"]["PR"]["claim"] == "exploratory"


def test_other_phases_or_labels_are_another_test(world: Path, tmp_path: Path) -> None:
    cohort = other(tmp_path, seed=19, labels={"ER": [0, 1] * 20, "HR": [1, 1, 0, 0] * 10})
    external(world, cohort, tmp_path / "first", "--primary", "ER", "--targets", "ER=HR")
    external(world, cohort, tmp_path / "second", "--primary", "ER")
    family = metrics(tmp_path / "second")["family"]
    assert family["num_earlier"] == 1
    assert family["too_late"]
