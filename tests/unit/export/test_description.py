from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from pydantic import BaseModel
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_curve

from preprocessing.store import REGION_PADDING, REGION_TUMOUR
from radiotrain.export import description as description_module
from radiotrain.export.describe import (
    common_phase_names,
    describe_covariates,
    measure_range,
    measure_voxels,
)
from radiotrain.export.description import (
    ModelDescription,
    Platt,
    dump_description,
    read_description,
)
from radiotrain.inference.operating_point import make_rule
from radiotrain.runs.promoted import read_promoted, write_promoted
from radiotrain.runs.provenance import describe_inputs
from radiotrain.runs.run_folder import PredictedBy, RunFolder, open_run
from tests.unit.export.exporting import export
from tests.unit.export.trained import SETTINGS
from tests.unit.training.test_covariates import records

pytestmark = pytest.mark.slow

FORMATS = ("safetensors", "onnx", "bundle")


@pytest.fixture(scope="module")
def told(models, tmp_path_factory) -> ModelDescription:
    return export(models["ensemble"], "safetensors", tmp_path_factory.mktemp("told") / "out")


def test_what_is_written_reads_back(models, tmp_path) -> None:
    for kind in ("single", "ensemble-covariates", "nobody"):
        out = tmp_path / kind
        written = export(models[kind], "safetensors", out)
        assert read_description(str(out)) == written
        assert dump_description(written) == (out / "model.json").read_text()


@pytest.mark.parametrize("form", FORMATS)
def test_files_have_their_digests(models, tmp_path, form) -> None:
    export(models["single"], form, tmp_path / "out")
    values = json.loads((tmp_path / "out/model.json").read_text())
    found = {
        path.relative_to(tmp_path / "out").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path.name != "model.json"
    }
    assert values["files"] == found


def test_the_input_is_the_stores(told, store, split) -> None:
    assert told.input.crop_shape == store.spec.crop_shape
    assert told.input.num_phases == 4
    assert told.input.preprocessing == SETTINGS
    assert told.input.phase_names == ("pre", "post 1", "post 2", "post 3")
    assert told.input.layout == "manifest"
    assert told.origin.store_fingerprint == split.patients_fingerprint


def test_calibration_and_thresholds_come_from_the_runs_own_validation_patients(
    told, models
) -> None:
    table = RunFolder(models["ensemble"]).read_predictions()
    for target in told.targets:
        rows = table[(table["target"] == target) & (table["label"] >= 0)]
        labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
        found = told.calibration[target]
        assert (found.num_patients, found.num_positive) == (len(labels), labels.sum())
        # The very curve that `radiotrain predict` uses of this model.
        curve = make_rule(table.assign(run="model"), "model", target).calibration
        assert found.platt == (curve and Platt(slope=curve.slope, intercept=curve.intercept))
        assert (found.platt is None) == ("platt" in found.reasons)
        assert found.isotonic is not None
        sklearn = IsotonicRegression(out_of_bounds="clip").fit(probabilities, labels)
        asked = np.linspace(0, 1, 101)
        np.testing.assert_allclose(
            np.interp(asked, found.isotonic.x, found.isotonic.y), sklearn.predict(asked), atol=1e-12
        )
        false_alarms, hits, thresholds = roc_curve(labels, probabilities, drop_intermediate=False)
        youden, sensitive = told.operating_points[target]
        assert youden.threshold in thresholds
        assert youden.sensitivity - (1 - youden.specificity) == pytest.approx(
            (hits - false_alarms).max()
        )
        assert sensitive.threshold == pytest.approx(thresholds[hits >= 0.9].max())
        assert sensitive.sensitivity == pytest.approx(hits[hits >= 0.9].min())


def test_the_temperature_makes_the_log_loss_least(told, models) -> None:
    table = RunFolder(models["ensemble"]).read_predictions()
    found = {t: c.temperature for t, c in told.calibration.items() if c.temperature is not None}
    for target, temperature in found.items():
        rows = table[(table["target"] == target) & (table["label"] >= 0)]

        def loss(t: float, rows: pd.DataFrame = rows) -> float:
            return log_loss(rows["label"], expit(logit(rows["probability"]) / t))

        assert loss(temperature) <= min(loss(temperature * 1.01), loss(temperature / 1.01))
    for target, calibration in told.calibration.items():
        assert (target in found) != ("temperature" in calibration.reasons)


def test_a_run_that_nobody_validated_says_so(models, tmp_path) -> None:
    told = export(models["nobody"], "safetensors", tmp_path / "out")
    assert told.calibration["ER"].temperature is None
    assert told.calibration["ER"].platt is None
    assert told.calibration["ER"].isotonic is None
    assert "no fold validated" in told.calibration["ER"].reasons["isotonic"]
    assert [p.threshold for p in told.operating_points["ER"]] == [None, None]
    assert "no fold validated" in (tmp_path / "out/model-card.md").read_text()


def test_a_retrained_models_thresholds_are_its_trials(models, split, tmp_path) -> None:
    """Its own network saw all development patients; the trial's predictions lie in its folder."""
    shutil.copytree(models["nobody"], tmp_path / "model")
    table = RunFolder(models["single"]).read_predictions()
    folder = RunFolder(str(tmp_path / "model"))
    folder.write_predictions(table, PredictedBy(weights="of the trial"))
    weights = (folder.read_record().weights_digest,)
    of_fold_0 = replace(read_promoted(models["ensemble"]), kind="retrain", folds=(0,), epochs=2)
    own = {"members": (), "weights": weights, "predicted_by": ("of the trial",), "scales": ()}
    write_promoted(str(tmp_path / "model"), replace(of_fold_0, **own))
    told = export(str(tmp_path / "model"), "safetensors", tmp_path / "out")
    assert told.calibration["ER"].num_patients == len(split.validation_ids(0))
    assert told.operating_points["ER"][0].threshold in table["probability"].tolist()
    assert told.cohort.num_patients == len(split.development_ids)
    assert "trained on all" in told.origin.made
    assert "/home/somebody" not in told.origin.made


def test_the_cohort_is_that_of_the_training_patients(told, store, split) -> None:
    ids = split.development_ids
    group = zarr.open_group(store.url, mode="r", zarr_format=3)
    rows = [store.spec.patient_ids.index(i) for i in ids]
    assert told.cohort.num_patients == len(ids)
    for target in told.targets:
        column = np.array(store.spec.labels)[rows, store.spec.targets.index(target)]
        counts = told.cohort.labels[target]
        assert (counts.positive, counts.negative, counts.missing) == tuple(
            int((column == value).sum()) for value in (1, 0, -1)
        )
    found = {"pre_contrast_mean": [], "phase_2_over_pre_in_tumour": [], "padding_share": []}
    for row in rows:
        region, images = group["region"][row], np.float64(group["images"][row])
        inside, tumour = (region & REGION_PADDING) == 0, (region & REGION_TUMOUR) != 0
        pre = images[0][inside]
        found["pre_contrast_mean"].append(pre.mean() * group["scale"][row])
        gain = (images[2][tumour] - images[0][tumour]).mean() / pre.std()
        found["phase_2_over_pre_in_tumour"].append(gain)
        found["padding_share"].append(1 - inside.mean())
    for name, values in found.items():
        said = told.cohort.voxels[name]
        wanted = np.quantile(values, [0.01, 0.5, 0.99])
        np.testing.assert_allclose([said.low, said.median, said.high], wanted, rtol=1e-6)
    assert told.cohort.numbers.keys() == {"field_strength_t"}
    spacing = [store.records[store.index_of(i)].spacing_mm[0] for i in ids]
    assert told.cohort.spacing_mm["row"].median == pytest.approx(np.median(spacing))
    assert told.cohort.phase_times_s[3] is None


def test_how_patients_were_imaged_is_told_by_quantiles_and_counts(told, store, split) -> None:
    """The very numbers that a run keeps with their extremes, without the extremes."""
    inputs = describe_inputs(store, split, None)
    assert told.cohort.images.numbers.keys() == inputs.spans.keys()
    spacing = [store.records[store.index_of(i)].spacing_mm[0] for i in split.development_ids]
    said = told.cohort.images.numbers["spacing_row_mm"]
    assert (said.low, said.median, said.high) == pytest.approx(
        np.quantile(spacing, [0.01, 0.5, 0.99])
    )
    for name, span in inputs.spans.items():
        said = told.cohort.images.numbers[name]
        assert (said.num_patients, said.median) == (span.num_known, span.median)
        if span.low < span.high:
            assert span.low < said.low < said.high < span.high
    assert told.cohort.images.properties == inputs.counts
    assert set(inputs.counts["manufacturer"]) == {"ge", "siemens"}


def test_what_predicting_takes_of_a_members_training_is_its_runs(models, split, tmp_path) -> None:
    told = export(models["ensemble"], "safetensors", tmp_path / "out")
    for member, url in zip(
        told.members, sorted(Path(models["ensemble"], "members").iterdir()), strict=True
    ):
        _, config, record = open_run(str(url))
        assert member.training.num_patients == len(split.train_ids(member.fold))
        assert member.training.num_epochs == record.num_epochs == 2
        assert member.training.augment == config.augment
        assert member.training.precision == config.precision


def test_a_run_of_one_fold_tells_of_those_who_trained_it(models, split, tmp_path) -> None:
    told = export(models["covariates"], "safetensors", tmp_path / "out")
    assert told.cohort.num_patients == len(split.train_ids(0))
    assert told.cohort.numbers.keys() == {"field_strength_t", "age_years"}


def test_what_few_patients_have_is_not_told() -> None:
    few = records(*({"n": 1.0 * i, "t": "rare"} for i in range(4)))
    many = records(*({"n": 1.0 * i, "t": f"{'common' if i < 5 else i}"} for i in range(9)))
    assert describe_covariates(few, ["n", "t"]) == ({}, {"t": {}})
    numbers, categories = describe_covariates(many, ["n", "t"])
    assert numbers["n"].num_patients == 9
    assert categories == {"t": {"common": 5}}
    more = records(*({"t": f"{'common' if i < 5 else f'x{i}'}"} for i in range(10)))
    assert describe_covariates(more, ["t"])[1] == {"t": {"common": 5, "other": 5}}
    assert measure_range([1.0, 2.0, 3.0, 4.0, np.nan]) is None
    assert common_phase_names(few) == ()


def test_measures_of_voxels_are_those_of_a_plain_case() -> None:
    images = np.zeros((2, 2, 2, 2), dtype=np.int16)
    images[0].flat = [100, 100, 0, 2, 4, 6, 8, 10]
    images[1] = images[0] + 10
    region = np.zeros((2, 2, 2), dtype=np.uint8)
    region.flat[:2] = REGION_PADDING
    region.flat[7] = REGION_TUMOUR
    images[1].flat[7] += 10
    found = measure_voxels(images, region, 0.5)
    deviation = np.sqrt(70 / 6)
    assert found["padding_share"] == 0.25
    assert found["pre_contrast_mean"] == 2.5
    assert found["pre_contrast_sd"] == pytest.approx(deviation / 2)
    assert found["phase_1_over_pre"] == pytest.approx((10 + 10 / 6) / deviation)
    assert found["phase_1_over_pre_in_tumour"] == pytest.approx(20 / deviation)


@pytest.mark.parametrize("value", [0, 7])
def test_voxels_that_tell_nothing_are_no_numbers(value) -> None:
    images = np.full((2, 2, 2, 2), value, dtype=np.int16)
    nothing = np.full((2, 2, 2), REGION_PADDING, dtype=np.uint8)
    assert np.isnan(measure_voxels(images, nothing, 1.0)["pre_contrast_mean"])
    flat = measure_voxels(images, np.zeros_like(nothing), 1.0)
    assert np.isnan(flat["phase_1_over_pre"])
    assert flat["pre_contrast_mean"] == value


@pytest.mark.parametrize("form", FORMATS)
def test_nobody_and_no_place_is_in_an_export(models, folder, tmp_path, form) -> None:
    export(models["ensemble"], form, tmp_path / "out")
    for path in (p for p in (tmp_path / "out").rglob("*") if p.is_file()):
        content = path.read_bytes()
        for secret in (b"SECRET", b"/home/somebody", str(folder).encode(), b"rare"):
            assert secret not in content, path
        # Source files, which the exporter of ONNX would name.
        assert b"site-packages" not in content, path
        assert str(Path(__file__).parents[3]).encode() not in content, path


def test_the_docs_name_every_key() -> None:
    text = (Path(__file__).parents[3] / "docs/export.md").read_text().split("## model.json")[1]
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    named = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", text))))
    models = [
        value
        for value in vars(description_module).values()
        if isinstance(value, type) and issubclass(value, BaseModel)
        # A run's settings have a page of their own.
        if value.__module__ == description_module.__name__
    ]
    keys = {key for model in models for key in model.model_fields}
    # Of what is said in words there.
    in_words = {"reason", "positive", "negative", "missing", "rule", "reference_phase"}
    in_words |= {"degrees_of_freedom", "padding", "logits", "probability", "sensitivity"}
    assert keys - named - in_words == set()
