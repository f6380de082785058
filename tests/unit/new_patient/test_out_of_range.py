"""What is unlike the training patients, and what is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from radiotrain.inference.out_of_range import (
    Comparison,
    RangeCheck,
    TrainingImages,
    compare,
    warnings_of,
)
from radiotrain.runs.provenance import Span

IMAGES = TrainingImages(
    num_patients=40,
    spans={
        "spacing_row_mm": Span(0.5, 0.7, 0.9, 40),
        "phase_1_time_s": Span(100.0, 130.0, 170.0, 12),
    },
    counts={"manufacturer": {"ge": 30, "siemens": 10}, "field_strength": {"1.5 T": 25, "3 T": 15}},
    ranges="extremes",
)
QUANTILES = replace(IMAGES, ranges="quantiles")
ALIKE = {"spacing_row_mm": 0.6, "phase_1_time_s": 120.0}
SCANNER = {"manufacturer": "ge", "field_strength": "3 T"}


def found(
    numbers: dict[str, float] | None = None,
    scanner: dict[str, str] | None = None,
    images: TrainingImages = IMAGES,
) -> dict[str, Comparison]:
    changed = compare(ALIKE | (numbers or {}), SCANNER | (scanner or {}), images, 5, 4)
    return {comparison.name: comparison for comparison in changed}


def test_images_like_the_training_patients_have_no_warning() -> None:
    comparisons = compare(ALIKE, SCANNER, IMAGES, 5, 4)
    assert warnings_of(comparisons) == ()
    assert {c.name for c in comparisons if c.verdict is RangeCheck.inside} == {
        "manufacturer", "field_strength", "phases", "spacing_row_mm", "phase_1_time_s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.5, "inside"), (0.9, "inside"), (0.901, "inside"), (0.93, "outside"), (0.3, "outside")],
)
def test_the_extremes_are_inside_and_rounding_is_no_other_protocol(
    value: float, verdict: str
) -> None:
    assert found({"spacing_row_mm": value})["spacing_row_mm"].verdict == verdict


def test_a_warning_says_what_it_is_and_what_training_had() -> None:
    sentence = found({"spacing_row_mm": 1.2})["spacing_row_mm"].sentence
    assert sentence == (
        "The voxel size, front to back is 1.20 mm, above all training patients (0.50 to 0.90 mm)."
    )


def test_few_known_values_are_said_to_be_few() -> None:
    assert "of 12 patients only" in found()["phase_1_time_s"].training
    assert "only" not in found()["spacing_row_mm"].training


def test_an_unseen_scanner_is_named_by_what_it_is_not() -> None:
    comparison = found(scanner={"manufacturer": "grumbleknot"})["manufacturer"]
    assert comparison.verdict is RangeCheck.unseen
    assert "grumbleknot" not in comparison.sentence + comparison.value
    assert "ge (30), siemens (10)" in comparison.sentence


def test_an_unseen_field_strength_is_told() -> None:
    assert "0.5 T" in found(scanner={"field_strength": "0.5 T"})["field_strength"].sentence


def test_what_is_not_known_is_not_judged() -> None:
    comparisons = {c.name: c for c in compare({}, {}, IMAGES, 4, 4)}
    assert comparisons["spacing_row_mm"].verdict is RangeCheck.unknown
    assert comparisons["manufacturer"].verdict is RangeCheck.unknown
    assert comparisons["model"].training == "not known"
    assert warnings_of(tuple(comparisons.values())) == ()


def test_quantiles_are_said_to_be_what_they_are() -> None:
    """Two in a hundred training patients lie beyond them, so nobody is beyond all."""
    comparison = found({"spacing_row_mm": 1.2}, images=QUANTILES)["spacing_row_mm"]
    assert comparison.verdict is RangeCheck.outside
    assert comparison.sentence == (
        "The voxel size, front to back is 1.20 mm, above the middle 98 % of the training patients"
        " (0.50 to 0.90 mm)."
    )
    assert comparison.training == "middle 98 %: 0.50 to 0.90 mm, median 0.70"
    assert warnings_of((comparison,)) == (comparison.sentence,)


def test_where_few_are_left_out_nobody_says_that_there_were_none() -> None:
    for name, value, what in (
        ("manufacturer", "grumbleknot", "had the maker of the scanner of these images"),
        ("field_strength", "7 T", "were imaged at 7 T"),
    ):
        comparison = found(scanner={name: value}, images=QUANTILES)[name]
        assert comparison.verdict is RangeCheck.rare
        assert (
            f"Fewer than 5 training patients, if any, {what}: 5 or more had" in comparison.sentence
        )
        assert "grumbleknot" not in comparison.sentence + comparison.value
    assert found(images=QUANTILES)["manufacturer"].verdict is RangeCheck.inside
