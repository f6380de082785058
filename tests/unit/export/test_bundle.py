"""Bundles as MONAI runs them: by its own workflow, and by its command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.bundle import load as monai_load
from monai.bundle.scripts import verify_net_in_out
from monai.bundle.utils import DEFAULT_METADATA

from preprocessing.common.errors import InputError
from radiotrain.evaluation.model import open_models
from tests.unit.export.compare import OWN_IMAGES, SAME_IMAGES, ask, sigmoid
from tests.unit.export.exporting import export, file_names

# MONAI says that a bundle is code, which it is.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings('ignore:.*any `"_target_"` value:UserWarning'),
]


def run_monai(folder: Path, *words: str) -> None:
    """Run MONAI's command where radiotrain cannot be imported from."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "monai.bundle",
            *words,
            "--config_file",
            "configs/inference.json",
        ],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )


def workflow(folder: Path, **changes: str) -> ConfigWorkflow:
    config = str(folder / "configs/inference.json")
    made = ConfigWorkflow(
        config, workflow_type="inference", bundle_root=str(folder), logging_file=False, **changes
    )
    made.initialize()
    return made


@pytest.mark.parametrize("kind", ["single", "several", "ensemble"])
def test_monais_workflow_has_the_models_logits(kind, models, store, split, tmp_path) -> None:
    export(models[kind], "bundle", tmp_path / "out")
    made = workflow(tmp_path / "out", dataset_dir=str(tmp_path))
    assert made.check_properties() == []
    said = ask(models[kind], store, split)
    with torch.inference_mode():
        logits = made.network_def(torch.from_numpy(said.same_images)).numpy()
    np.testing.assert_allclose(sigmoid(logits), said.probabilities, rtol=0, atol=SAME_IMAGES)


@pytest.mark.parametrize("kind", ["several", "ensemble"])
def test_monais_command_predicts_crops(kind, models, store, split, tmp_path) -> None:
    folder = tmp_path / "out"
    export(models[kind], "bundle", folder)
    said = ask(models[kind], store, split)
    (folder / "crops").mkdir()
    for n, crop in enumerate(said.crops):
        np.save(folder / f"crops/crop{n}.npy", crop)
    run_monai(folder, "run")
    found = pd.read_csv(folder / "eval/predictions.csv")
    assert found.columns.tolist() == ["crop", *open_models([models[kind]])[0].config.targets]
    assert found["crop"].tolist() == [f"crop{n}.npy" for n in range(len(said.crops))]
    np.testing.assert_allclose(found.iloc[:, 1:], said.probabilities, rtol=0, atol=OWN_IMAGES)


def test_a_crops_unit_does_not_matter(models, store, split, tmp_path) -> None:
    export(models["single"], "bundle", tmp_path / "out")
    said = ask(models["single"], store, split)
    for unit in (1.0, 0.001):
        (tmp_path / str(unit)).mkdir()
        np.save(tmp_path / str(unit) / "x.npy", said.crops[0] * np.float32(unit) + 3)
        workflow(
            tmp_path / "out",
            dataset_dir=str(tmp_path / str(unit)),
            output_dir=str(tmp_path / f"o{unit}"),
        ).run()
    first, second = (
        pd.read_csv(tmp_path / f"o{unit}/predictions.csv")["ER"][0] for unit in (1.0, 0.001)
    )
    assert first == pytest.approx(second, abs=1e-5)
    assert first == pytest.approx(said.probabilities[0, 0], abs=OWN_IMAGES)


def test_the_metadata_is_what_monai_asks_for(models, tmp_path) -> None:
    folder = tmp_path / "out"
    export(models["several"], "bundle", folder)
    values = json.loads((folder / "configs/metadata.json").read_text())
    assert {*DEFAULT_METADATA} <= {*values}
    made = values["network_data_format"]
    assert made["outputs"]["pred"]["channel_def"] == {"0": "ER", "1": "PR", "2": "HER2"}
    # Runs the network on what the metadata says it reads.
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(folder / "configs/metadata.json"),
        config_file=str(folder / "configs/inference.json"),
        device="cpu",
    )


def test_the_bundle_has_these_files(models, tmp_path) -> None:
    export(models["single"], "bundle", tmp_path / "one")
    one = {
        "model.json", "configs/inference.json", "configs/metadata.json", "docs/README.md",
        "models/network-0.safetensors", "scripts/evaluator.py", "scripts/intensities.py",
    }  # fmt: skip
    assert file_names(tmp_path / "one") == one
    export(models["ensemble"], "bundle", tmp_path / "two")
    two = one | {"models/network-1.safetensors", "scripts/mean.py"}
    assert file_names(tmp_path / "two") == two


def test_monais_load_works_once_its_owner_has_made_a_model_pt(
    models, store, split, tmp_path, monkeypatch
) -> None:
    folder = tmp_path / "out"
    export(models["single"], "bundle", folder)
    run_monai(folder, "run", "write_model_pt")
    monkeypatch.chdir(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = monai_load("out", bundle_dir=tmp_path, workflow_type="inference", device="cpu")
    said = ask(models["single"], store, split)
    with torch.inference_mode():
        logits = network.eval()(torch.from_numpy(said.same_images)).numpy()
    np.testing.assert_allclose(sigmoid(logits), said.probabilities, rtol=0, atol=SAME_IMAGES)


def test_a_network_that_reads_covariates_is_no_bundle(models, tmp_path) -> None:
    with pytest.raises(InputError, match="use --format safetensors or onnx"):
        export(models["covariates"], "bundle", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
