from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.networks import nets
from safetensors.torch import load_file

from preprocessing.common.errors import DamagedFileError, InputError, MissingPathError, SchemaError
from radiotrain.export.load import load_export
from tests.checked_files import change_values, read_values
from tests.unit.export.compare import OWN_IMAGES, SAME_IMAGES, ask, sigmoid
from tests.unit.export.exporting import export, file_names

KINDS = (
    "single",
    "several",
    "covariates",
    "ensemble",
    "ensemble-raw",
    "ensemble-covariates",
    "nobody",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_says_what_the_model_says(kind, models, store, split, tmp_path) -> None:
    export(models[kind], "safetensors", tmp_path / "out")
    loaded = load_export(str(tmp_path / "out"))
    said = ask(models[kind], store, split)
    covariates = torch.from_numpy(loaded.encode(said.records))
    for images, tolerance in ((said.same_images, SAME_IMAGES), (said.own_images, OWN_IMAGES)):
        with torch.inference_mode():
            logits = loaded.network(torch.from_numpy(images), covariates).numpy()
        np.testing.assert_allclose(sigmoid(logits), said.probabilities, rtol=0, atol=tolerance)
    # The patients differ, so that equal outputs mean something.
    assert np.ptp(said.probabilities, axis=0).min() > 20 * OWN_IMAGES


def test_monai_alone_runs_each_member(models, store, split, tmp_path) -> None:
    export(models["ensemble"], "safetensors", tmp_path / "out")
    values = json.loads((tmp_path / "out/model.json").read_text())
    said = ask(models["ensemble"], store, split)
    probabilities = []
    for member in values["members"]:
        call = values["network"]["monai"]
        network = getattr(nets, call["function"])(**call["arguments"])
        network.load_state_dict(load_file(tmp_path / "out" / member["weights"]))
        with torch.inference_mode():
            logits = network.eval()(torch.from_numpy(said.same_images)).numpy()
        scales = [member["scales"][target] for target in values["targets"]]
        slopes, intercepts = ([s[name] for s in scales] for name in ("slope", "intercept"))
        probabilities.append(sigmoid(np.array(slopes) * logits + np.array(intercepts)))
    np.testing.assert_allclose(
        np.mean(probabilities, axis=0), said.probabilities, rtol=0, atol=SAME_IMAGES
    )


def test_the_folder_has_these_files(models, tmp_path) -> None:
    export(models["ensemble"], "safetensors", tmp_path / "out")
    assert file_names(tmp_path / "out") == {
        "model.json", "model-card.md", "network-0.safetensors", "network-1.safetensors",
    }  # fmt: skip


def test_weights_that_changed_are_refused(exported) -> None:
    path = exported / "network-0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="not the file that was exported"):
        load_export(str(exported))
    path.unlink()
    with pytest.raises(MissingPathError, match="copy the whole exported folder"):
        load_export(str(exported))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"schema_version": 99}, SchemaError, "schema 99, expected 3"),
        ({"format": "onnx"}, InputError, "expected safetensors"),
        ({"targets": 3}, InputError, "targets"),
        ({"surprise": 3}, InputError, "surprise"),
        ({"members": []}, InputError, "no members"),
        ({"calibration": {}}, InputError, "calibration lacks ER"),
        ({"operating_points": {}}, InputError, "operating_points lacks ER"),
    ],
)
def test_a_model_json_that_is_not_ours_is_one_sentence(exported, change, error, words) -> None:
    change_values(exported / "model.json", lambda values: values | change)
    with pytest.raises(error, match=words):
        load_export(str(exported))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("members", 0, "weights"), None, "names weights None"),
        (("members", 0, "covariates"), {}, "no network can be built"),
        (("members", 0, "covariates"), {"columns": [{"name": "age"}]}, "no network can be built"),
        (("members", 0, "covariates"), {"columns": 3}, "no network can be built"),
        (("input", "num_phases"), -1, "no network can be built"),
        (("calibration", "ER", "num_positive"), 1000, "more positive patients than patients"),
        (("operating_points", "ER", 0, "sensitivity"), None, "go together"),
        (("operating_points", "ER", 0, "threshold"), 2, "threshold"),
    ],
)
def test_values_that_no_export_has_are_one_sentence(exported, place, value, words) -> None:
    values = read_values(exported / "model.json")
    *parents, last = place
    part = values
    for key in parents:
        part = part[key]
    part[last] = value
    change_values(exported / "model.json", lambda _: values)
    with pytest.raises(InputError, match=words):
        load_export(str(exported))


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_model_json_that_is_no_json_is_one_sentence(exported, text) -> None:
    (exported / "model.json").write_text(text)
    with pytest.raises((DamagedFileError, SchemaError), match="export the run again"):
        load_export(str(exported))


@pytest.mark.parametrize("name", ["../network-0.safetensors", "/etc/passwd", "none"])
def test_no_name_leads_out_of_the_folder(exported, name) -> None:
    change_values(exported / "model.json", lambda values: values["members"][0].update(weights=name))
    with pytest.raises(InputError, match="none of its files"):
        load_export(str(exported))


def test_another_network_than_that_of_the_weights_is_refused(exported) -> None:
    change_values(exported / "model.json", lambda values: values["network"].update(name="ResNet10"))
    with pytest.raises(InputError, match="does not hold the weights of this network"):
        load_export(str(exported))


def test_no_export_is_no_export(tmp_path) -> None:
    with pytest.raises(MissingPathError, match="no exported model at"):
        load_export(str(tmp_path))
