"""An export of format safetensors as `radiotrain predict` opens it, held against the run itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from preprocessing.common.errors import InputError, MissingPathError, SchemaError
from preprocessing.store import Store
from radiotrain.inference.open_model import open_models
from radiotrain.inference.probability import ask
from radiotrain.runs.promoted import read_promoted, write_promoted
from radiotrain.runs.run_folder import PredictedBy, RunFolder
from tests.checked_files import change_config, change_values
from tests.unit.export.exporting import export
from tests.unit.training.synthetic import CROP_SHAPE

KINDS = (
    "single", "several", "covariates", "ensemble", "ensemble-raw", "ensemble-covariates", "nobody",
)  # fmt: skip


@pytest.fixture
def images() -> Tensor:
    return torch.randn((1, 4, *CROP_SHAPE), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_the_model_that_its_run_is(
    kind, models, store: Store, images, tmp_path
) -> None:
    export(models[kind], "safetensors", tmp_path / "out")
    run, exported = (open_models([str(url)], "cpu")[0] for url in (models[kind], tmp_path / "out"))
    for name in (
        "name", "rules", "preprocessing", "store_fingerprint", "about", "digest", "device", "covariates",
    ):  # fmt: skip
        assert getattr(exported, name) == getattr(run, name), name
    alone = len(run.members) == 1
    assert (exported.images.num_patients == run.images.num_patients) == alone
    assert (run.images.ranges, exported.images.ranges) == ("extremes", "quantiles")
    assert run.examinations is not None
    assert exported.examinations is None
    # To the bit: views, networks and covariates are the same.
    given = [ask(model, images, store.records[1], 2) for model in (run, exported)]
    np.testing.assert_array_equal(given[0], given[1])
    assert np.ptp(given[0]) > 0


def test_views_are_those_of_the_runs_own_settings(models, store, images, tmp_path) -> None:
    shutil.copytree(models["single"], tmp_path / "single")
    folder = RunFolder(str(tmp_path / "single"))
    config = folder.read_config()
    changes = config.augment.model_copy(update={"noise": 0.5, "flip": 1.0})
    changed = config.model_copy(update={"seed": 7, "precision": "float32", "augment": changes})
    change_config(tmp_path / "single", changed)
    export(folder.url, "safetensors", tmp_path / "out")
    (member,) = open_models([str(tmp_path / "out")], "cpu")[0].members
    assert (member.seed, member.precision, member.augment) == (7, "float32", changes)
    before, run, exported = (
        ask(open_models([url], "cpu")[0], images, store.records[1], 2)
        for url in (models["single"], folder.url, str(tmp_path / "out"))
    )
    np.testing.assert_array_equal(exported, run)
    np.testing.assert_array_equal(exported[:, 0], before[:, 0])
    assert (exported[:, 1:] != before[:, 1:]).all()


def test_a_retrained_model_too(models, tmp_path) -> None:
    """Calibration and threshold are of its trial's networks, whose predictions lie in its folder."""
    url = tmp_path / "model"
    shutil.copytree(models["nobody"], url)
    single, model = RunFolder(models["single"]), RunFolder(str(url))
    weights = str(single.read_record().weights_digest)
    table = single.read_predictions().assign(run="model")
    model.write_predictions(table, PredictedBy(weights=weights))
    made = replace(
        read_promoted(models["ensemble"]),
        kind="retrain",
        folds=(0,),
        epochs=2,
        members=(),
        weights=(str(model.read_record().weights_digest),),
        predicted_by=(weights,),
        scales=(),
    )
    write_promoted(str(url), made)
    export(str(url), "safetensors", tmp_path / "out")
    run, exported = (open_models([str(place)], "cpu")[0] for place in (url, tmp_path / "out"))
    assert "as its sweep found best" in exported.about
    assert (exported.about, exported.rules, exported.digest) == (run.about, run.rules, run.digest)
    assert run.rules[0].threshold is not None


def test_of_one_class_both_give_the_same_reason(models, tmp_path) -> None:
    shutil.copytree(models["single"], tmp_path / "single")
    folder = RunFolder(str(tmp_path / "single"))
    made_by = PredictedBy.of(folder.read_record())
    folder.write_predictions(folder.read_predictions().assign(label=1), made_by)
    export(folder.url, "safetensors", tmp_path / "out")
    run, exported = (open_models([str(url)], "cpu")[0] for url in (folder.url, tmp_path / "out"))
    assert exported.rules == run.rules
    assert "only one class among" in run.rules[0].no_threshold


def test_another_model_has_another_digest(models) -> None:
    digests = {open_models([models[kind]], "cpu")[0].digest for kind in KINDS}
    assert len(digests) == len(KINDS)


def test_values_of_few_patients_are_no_values_that_training_had(exported) -> None:
    def change(values: dict[str, Any]) -> None:
        values["cohort"]["images"]["properties"]["manufacturer"] = {"ge": 9, "other": 7}

    change_values(exported / "model.json", change)
    assert open_models([str(exported)])[0].images.counts["manufacturer"] == {"ge": 9}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda v: v | {"schema_version": 2}, SchemaError, "schema 2, expected 3: export the run"),
        (
            lambda v: v | {"format": "onnx"},
            InputError,
            "of format onnx, .* export the run again with",
        ),
        (
            lambda v: v | {"format": "bundle"},
            InputError,
            "of format bundle, .* export the run again with",
        ),
        (lambda v: v["input"].update(preprocessing={}), InputError, "train on one that it made"),
        (
            lambda v: v["input"]["preprocessing"].update(crop_shape=[9, 9, 9]),
            InputError,
            "networks read",
        ),
        (
            lambda v: v["input"]["preprocessing"].update(surprise=1),
            InputError,
            "unknown key 'surprise'",
        ),
        (
            lambda v: v["operating_points"].update(ER=[]),
            InputError,
            "no operating point of rule Youden",
        ),
        (
            lambda v: v["members"][0]["training"]["augment"].update(flip=2),
            InputError,
            "augment.flip",
        ),
    ],
)
def test_what_cannot_predict_says_so_in_one_sentence(exported, change, error, words) -> None:
    change_values(exported / "model.json", change)
    with pytest.raises(error, match=words):
        open_models([str(exported)])[0]


def test_weights_that_changed_or_are_gone_are_refused(exported) -> None:
    weights = exported / "network-0.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="not the file that was exported: copy the folder again"):
        open_models([str(exported)])[0]
    weights.unlink()
    with pytest.raises(MissingPathError, match="copy the whole exported folder"):
        open_models([str(exported)])[0]


def test_a_bundle_is_an_export_of_another_format(models, tmp_path) -> None:
    export(models["single"], "bundle", tmp_path / "out")
    with pytest.raises(InputError, match="of format bundle, expected safetensors"):
        open_models([str(tmp_path / "out")])[0]
