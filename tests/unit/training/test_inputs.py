"""What a run keeps of how its images were made, against the store itself."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from preprocessing.common.errors import DamagedFileError, InputError, MissingPathError, SchemaError
from preprocessing.store import PatientRecord, Store
from radiotrain.runs.provenance import (
    describe_inputs,
    numbers_of,
    properties_of,
    read_inputs,
    write_inputs,
)
from radiotrain.runs.run_folder import RunRecord
from radiotrain.split.split import Split, make_split
from tests.unit.evaluation.scanner_store import write_scanner_store

RUN = RunRecord(
    status="finished",
    patients_fingerprint="",
    split_fingerprint="",
    seed=0,
    fold=None,
    targets=("ER",),
)
RECORD = PatientRecord(
    index=0,
    patient_id="P",
    status="stored",
    spacing_mm=(1.0, 1.0, 2.0),
    box_in_crop=((4, 5, 6), (14, 25, 10)),
    phase_times_s=(0.0, 90.0, None),
    scale=0.02,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_scanner_store(str(tmp_path_factory.mktemp("inputs") / "store"), num_patients=40)


@pytest.fixture(scope="module")
def split(store: Store) -> Split:
    return make_split(store, num_folds=2, test_fraction=0.25)


def test_numbers_are_those_of_the_record() -> None:
    field = np.array([[[0.0, 0.5], [-0.25, 0.1]]], dtype=np.float32)
    assert numbers_of(RECORD, field, {}) == pytest.approx(
        {
            "spacing_row_mm": 1.0, "spacing_column_mm": 1.0, "spacing_slice_mm": 2.0,
            "tumour_row_mm": 10.0, "tumour_column_mm": 20.0, "tumour_slice_mm": 8.0,
            "tumour_longest_mm": 20.0, "phase_1_time_s": 90.0, "brightest": 0.02 * 32767,
            "bias_ratio": math.exp(0.75),
        }
    )  # fmt: skip


def test_resampled_images_tell_their_own_spacing_or_none() -> None:
    settings = {"resample_mm": [1, 1, 2]}
    assert "spacing_row_mm" not in numbers_of(RECORD, None, settings)
    told = replace(RECORD, details={"own_spacing_mm": [0.5, 0.6, 1.1]})
    assert numbers_of(told, None, settings)["spacing_slice_mm"] == 1.1


@pytest.mark.parametrize(
    ("covariates", "found"),
    [
        (
            {"manufacturer": "GE MEDICAL SYSTEMS", "field_strength_t": 1.494, "model": "Signa  HDx"},
            {"manufacturer": "ge", "field_strength": "1.5 T", "model": "signa hdx"},
        ),
        ({"manufacturer": "SIEMENS", "field_strength_t": "2.8936"}, {"manufacturer": "siemens", "field_strength": "3 T"}),
        ({"field_strength_t": 2.2}, {"field_strength": "2.2 T"}),
        ({"manufacturer": None, "field_strength_t": None, "model": " "}, {}),
    ],
)  # fmt: skip
def test_scanners_are_told_alike_by_tables_and_images(
    covariates: dict[str, str | float | None], found: dict[str, str]
) -> None:
    assert properties_of(covariates) == found


def test_spans_and_counts_are_those_of_training_patients_alone(store: Store, split: Split) -> None:
    inputs = describe_inputs(store, split, 0)
    ids = split.train_ids(0)
    records = [store.records[store.index_of(i)] for i in ids]
    scanners = [str(r.covariates["manufacturer"]).lower() for r in records]
    assert inputs.num_patients == len(ids) < len(split.development_ids)
    assert inputs.counts["manufacturer"] == {s: scanners.count(s) for s in set(scanners)}
    brightest = [np.abs(store.read_images(store.index_of(i))[0]).max() * r.scale for i, r in zip(ids, records, strict=True)]  # type: ignore[operator]  # fmt: skip
    span = inputs.spans["brightest"]
    assert (span.low, span.high) == pytest.approx((min(brightest), max(brightest)), rel=1e-4)
    assert span.median == pytest.approx(np.median(brightest), rel=1e-4)
    assert span.num_known == len(ids)


def test_what_is_written_is_read_again(store: Store, split: Split, tmp_path: Path) -> None:
    inputs = describe_inputs(store, split, None)
    write_inputs(str(tmp_path), inputs)
    record = replace(RUN, split_fingerprint=split.fingerprint)
    assert read_inputs(str(tmp_path), record) == inputs
    for other in (replace(record, fold=1), replace(record, split_fingerprint="other")):
        with pytest.raises(InputError, match="for another run"):
            read_inputs(str(tmp_path), other)
    assert inputs.num_patients == len(split.development_ids)


def test_an_older_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="older version: run 'radiotrain train --config"):
        read_inputs(str(tmp_path), RUN)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 9}', '{"schema_version": 1}'])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text(text)
    with pytest.raises((SchemaError, DamagedFileError), match=r"inputs\.json"):
        read_inputs(str(tmp_path), RUN)


def test_no_patient_is_named_in_it(store: Store, split: Split, tmp_path: Path) -> None:
    write_inputs(str(tmp_path), describe_inputs(store, split, 0))
    text = (tmp_path / "inputs.json").read_text()
    assert not any(patient_id in text for patient_id in store.patient_ids)
    assert json.loads(text)["num_patients"] > 0
