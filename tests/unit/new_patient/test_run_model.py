"""An ensemble has seen what any of its networks has seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from preprocessing.common.errors import InputError
from radiotrain.inference.run_model import merge_inputs
from radiotrain.runs.provenance import Span, TrainingInputs

ONE = TrainingInputs(
    settings={"num_phases": 4},
    cohort={},
    store_fingerprint="f",
    split_fingerprint="s",
    fold=0,
    num_patients=30,
    spans={"brightest": Span(1.0, 3.0, 5.0, 30), "tumour_row_mm": Span(1.0, 2.0, 3.0, 20)},
    counts={"manufacturer": {"ge": 20, "siemens": 10}},
    development=("a", "b"),
    test=("t",),
)
OTHER = replace(
    ONE,
    num_patients=31,
    spans={"brightest": Span(0.5, 2.5, 4.0, 31)},
    counts={"manufacturer": {"ge": 25, "philips": 6}, "model": {"x": 31}},
    development=("b", "c"),
)


def test_extremes_counts_and_digests_are_put_together() -> None:
    found = merge_inputs([ONE, OTHER])
    assert found.num_patients == 31
    assert found.spans["brightest"] == Span(0.5, 2.5, 5.0, 31)
    assert found.spans["tumour_row_mm"] == ONE.spans["tumour_row_mm"]
    assert found.counts == {
        "manufacturer": {"ge": 25, "siemens": 10, "philips": 6}, "model": {"x": 31},
    }  # fmt: skip
    assert found.development == ("a", "b", "c")
    assert found.test == ("t",)


def test_one_network_is_what_it_is() -> None:
    assert merge_inputs([ONE]) == ONE


def test_images_made_in_different_ways_are_refused() -> None:
    with pytest.raises(InputError, match="made in different ways"):
        merge_inputs([ONE, replace(OTHER, settings={"num_phases": 3})])
