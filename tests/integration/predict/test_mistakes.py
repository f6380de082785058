"""What is wrong with a command is told in one sentence, and nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.commands import call, the_sentence
from tests.integration.predict.world import NewPatient, World


@pytest.mark.parametrize(
    ("model", "words", "sentence"),
    [
        ("ER_run", [], "no tumour location given"),
        ("ER_run", ["--box", 90, 95, 1, 5, 1, 5], "the tumour box lies outside the images"),
        ("ER_run", ["--box", 9, 5, 1, 5, 1, 5], "each end above its start"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--segmentation", "x"], "expected one of them"),
        ("ER_run", ["--segmentation", "nothing.nii"], "no segmentation at"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--boxes", "x"], "--boxes is for --batch"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--report", "x"], "no metrics.json in"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--covariate", "age"], "expected name=value"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--covariate", "PatientName=x"], "identify a person"),
        ("store", ["--box", 1, 5, 1, 5, 1, 5], "no model at"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(
    world: World, patient: NewPatient, tmp_path: Path, model: str, words: list[Any], sentence: str
) -> None:
    out = tmp_path / "out"
    _, error = call("predict", world.folder / model, patient.folder, *words, "--out", out, status=2)
    assert sentence in the_sentence(error)
    assert not out.exists()


def test_other_places_are_refused(world: World, patient: NewPatient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    er = world.models[0]
    for place, out, words in (
        ("empty", "out", "is empty"),
        ("nowhere", "out", "nothing at"),
        (patient.folder, "full", "holds other files"),
    ):
        _, error = call(
            "predict", er, tmp_path / place, *patient.words, "--out", tmp_path / out, status=2
        )
        assert words in the_sentence(error)
    _, error = call("predict", er, er, patient.folder, *patient.words, "--out", tmp_path / "out", status=2)  # fmt: skip
    assert "name each once" in the_sentence(error)
