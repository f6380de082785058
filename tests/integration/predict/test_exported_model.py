"""A model that has left the house: exported, copied elsewhere, and its run and store not there."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest

from preprocessing.cohort.read_cohort import read_cohort
from radiotrain.split.split import load_split
from tests.commands import call, the_sentence
from tests.integration.predict.world import (
    FILES,
    NewPatient,
    World,
    check_dicom,
    newcomer,
    read_json,
    spoil,
)

pytestmark = pytest.mark.slow

NOT_CHECKED = "Not checked: whether model {} was trained or validated on this very examination"


@contextmanager
def gone(world: World) -> Iterator[None]:
    """Take runs, sweep, store, split and cohort away."""
    elsewhere = world.folder.with_name("nobody-knows-where")
    world.folder.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(world.folder)


@dataclass(frozen=True)
class Answers:
    """What runs, and what their exports say of one patient."""

    exports: tuple[Path, Path]
    by_runs: Path
    by_exports: Path
    said: str


@pytest.fixture(scope="module")
def answers(
    world: World, ensemble: Path, patient: NewPatient, tmp_path_factory: pytest.TempPathFactory
) -> Answers:
    """Of an ensemble of two networks, and a run of two targets."""
    folder = tmp_path_factory.mktemp("exported")
    models = (ensemble, world.models[1])
    exports = (folder / "carried" / "a", folder / "carried" / "b")
    for model, copied in zip(models, exports, strict=True):
        made = folder / f"made-{copied.name}"
        call("export", model, "--format", "safetensors", "--out", made)
        shutil.copytree(made, copied)
        shutil.rmtree(made)
    words = [patient.folder, *patient.words, "--draws", 2, "--steps", 2, "--out"]
    call("predict", *models, *words, folder / "by-runs")
    with gone(world):
        said, _ = call("predict", *exports, *words, folder / "by-exports")
    return Answers(exports, folder / "by-runs", folder / "by-exports", said)


def without_what_differs(values: dict[str, Any]) -> dict[str, Any]:
    """Return a prediction.json without what has to be, or may be, another of an export."""
    found = copy.deepcopy(values)
    for key in ("generated_at", "request", "warnings", "sha256"):
        del found[key]
    for model in found["models"]:
        for key in ("ranges", "num_training_patients", "was_in_development", "no_recognition"):
            del model[key]
        for comparison in model["comparisons"]:
            for key in ("training", "verdict", "sentence"):
                del comparison[key]
            if comparison["name"] in ("manufacturer", "model", "field_strength"):
                # Quoted only if it is known that training patients shared it.
                del comparison["value"]
    return found


def test_the_answers_are_those_of_the_runs_to_the_bit(answers: Answers) -> None:
    """Probability, calibration, threshold, call, spread, map, digests: the networks are the same modules."""
    ours, theirs = read_json(answers.by_exports), read_json(answers.by_runs)
    assert without_what_differs(ours) == without_what_differs(theirs)
    assert [t["target"] for t in ours["targets"]] == ["ER", "PR", "HER2"]
    assert ours["targets"][0]["spread"]["num_predictions"] == 2 * 3
    assert all(t["attention"] is not None for t in ours["targets"])
    assert {p.name for p in answers.by_exports.iterdir()} == FILES


def test_the_sr_says_what_the_images_were_compared_with(answers: Answers) -> None:
    for out, words in ((answers.by_runs, "their range"), (answers.by_exports, "the middle 98 %")):
        sr = hd.sr.srread(out / "report-sr.dcm")
        for group in sr.content.get_image_measurement_groups():
            meant = {e.name.meaning: e.value.meaning for e in group.get_qualitative_evaluations()}
            assert words in meant["Images compared with those of training patients"].lower()
    check_dicom(answers.by_exports / "report-sr.dcm")


def test_that_nobody_could_be_recognised_is_said_wherever_answers_are(answers: Answers) -> None:
    ours, theirs = read_json(answers.by_exports), read_json(answers.by_runs)
    page = (answers.by_exports / "report.html").read_text("utf-8")
    for model, of_run in zip(ours["models"], theirs["models"], strict=True):
        assert (model["was_in_development"], of_run["was_in_development"]) == (None, False)
        assert "keeps nothing by which a patient could be recognised" in model["no_recognition"]
        assert of_run["no_recognition"] == ""
        sentence = NOT_CHECKED.format(model["name"])
        assert any(warning.startswith(sentence) for warning in ours["warnings"])
        assert sentence in page
        assert f"note: {sentence}" in answers.said
    assert not any("Not checked" in warning for warning in theirs["warnings"])


def test_images_are_compared_with_quantiles_and_it_says_so(answers: Answers) -> None:
    ours, theirs = read_json(answers.by_exports), read_json(answers.by_runs)
    for model, of_run in zip(ours["models"], theirs["models"], strict=True):
        assert (model["ranges"], of_run["ranges"]) == ("quantiles", "extremes")
        assert model["num_training_patients"] >= of_run["num_training_patients"]
        by_name = {c["name"]: c for c in model["comparisons"]}
        for name in (
            "spacing_row_mm",
            "tumour_row_mm",
            "phase_1_time_s",
            "brightest",
            "bias_ratio",
        ):
            assert by_name[name]["training"].startswith("middle 98 %: ")
            assert by_name[name]["verdict"] in ("inside", "outside")
    assert "all training patients (" not in " ".join(ours["warnings"])
    assert "middle 98 %" in (answers.by_exports / "report.html").read_text("utf-8")


def test_what_was_asked_of_a_run_is_asked_anew_of_its_export(
    world: World, answers: Answers, newcomers: Path, tmp_path: Path
) -> None:
    """The answers differ in what was checked."""
    words = (newcomers, "--draws", 0, "--steps", 0, "--out", tmp_path / "out")
    call("predict", world.models[1], *words)
    said, _ = call("predict", answers.exports[1], *words)
    assert "3 patients predicted (0 before)" in said
    said, _ = call("predict", answers.exports[1], *words)
    assert "3 patients predicted (3 before)" in said


def test_a_test_patient_is_not_recognised_and_that_is_said(
    world: World, answers: Answers, tmp_path: Path
) -> None:
    sealed = load_split(str(world.folder / "splits.json")).test_ids[0]
    known = next(p for p in read_cohort(world.cohort).patients if p.patient_id == sealed)
    assert known.examination is not None
    assert known.box is not None
    one = NewPatient(known.examination.folder, known.box)
    words = (one.folder, *one.words, "--out", tmp_path / "out")
    _, error = call("predict", world.models[1], *words, status=2)
    assert "sealed test set" in the_sentence(error)
    said, _ = call("predict", answers.exports[1], *words)
    assert f"{NOT_CHECKED.format('PR_run')}, or is to be tested on it" in said


def test_another_scanner_is_told_without_telling_who_had_what(
    answers: Answers, newcomers: Path, tmp_path: Path
) -> None:
    one = newcomer(newcomers, 0)
    shutil.copytree(one.folder, tmp_path / "other")
    for file in (tmp_path / "other").rglob("*.dcm"):
        spoil(file, MagneticFieldStrength="7", PixelSpacing=[1.0, 1.0], Manufacturer="Philips")
    said, _ = call(
        "predict", answers.exports[1], tmp_path / "other", *one.words, "--out", tmp_path / "out"
    )
    assert "Fewer than 5 training patients, if any, were imaged at 7 T: 5 or more had" in said
    assert "Fewer than 5 training patients, if any, had the maker of the scanner" in said
    assert "front to back is 1.00 mm, below the middle 98 % of the training patients" in said
    verdicts = {
        c["name"]: c["verdict"] for c in read_json(tmp_path / "out")["models"][0]["comparisons"]
    }
    assert (verdicts["field_strength"], verdicts["manufacturer"]) == ("rare", "rare")


def test_clinical_columns_are_read_by_what_is_exported(
    world: World, patient: NewPatient, tmp_path: Path
) -> None:
    model = tmp_path / "age_run"
    call(
        "train", "--config", world.folder / "ER_run.yaml", "--set", f"out={model}",
        "--set", "network.covariates=[age_years]", "--set", "train.epochs=1",
    )  # fmt: skip
    call("export", model, "--format", "safetensors", "--out", tmp_path / "export")
    found = {}
    for years in (20, 95, None):
        given = [] if years is None else ["--covariate", f"age_years={years}"]
        for place in (model, tmp_path / "export"):
            out = tmp_path / f"{place.name}-{years}"
            said, _ = call("predict", place, patient.folder, *patient.words, *given, "--out", out)
            assert ("reads age_years beside the images" in said) == (years is None)
            found[place.name, years] = read_json(out)["targets"]
        assert found["export", years] == found["age_run", years]
    assert len({targets[0]["probability"] for targets in found.values()}) == 3


def test_what_is_no_export_to_predict_by_is_one_sentence(
    world: World, answers: Answers, patient: NewPatient, tmp_path: Path
) -> None:
    call("export", world.models[0], "--format", "bundle", "--out", tmp_path / "bundle")
    changed, cut = tmp_path / "changed", tmp_path / "cut"
    for folder in (changed, cut):
        shutil.copytree(answers.exports[0], folder)
    with (changed / "network-1.safetensors").open("ab") as file:
        file.write(b"x")
    (cut / "network-1.safetensors").unlink()
    for folder, words in (
        (
            "bundle",
            "is an export of format bundle, expected safetensors: export the run again with",
        ),
        ("changed", "network-1.safetensors is not the file that was exported"),
        ("cut", "network-1.safetensors is missing: copy the whole exported folder"),
    ):
        _, error = call(
            "predict", tmp_path / folder, patient.folder, *patient.words, "--out", tmp_path / "out",
            status=2,
        )  # fmt: skip
        assert words in the_sentence(error)
        assert not (tmp_path / "out").exists()
