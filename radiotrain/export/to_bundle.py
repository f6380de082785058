"""Write a MONAI bundle.

The weights are safetensors, read by an expression of the configuration: ``models/model.pt`` would be a
pickle (decision 13). Only MONAI reads these files; radiotrain reads no bundle.
"""

from __future__ import annotations

import json
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from preprocessing.common.errors import InputError
from radiotrain.export.describe import TrainedModel
from radiotrain.export.description import ModelDescription
from radiotrain.export.weights import write_weights
from radiotrain.version import __version__

_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
# Files of radiotrain that a bundle carries with it, by their names there.
_EVALUATOR = "scripts/evaluator.py"
_MEAN = "scripts/mean.py"
_INTENSITIES = "scripts/intensities.py"
# Crops to numbers as `radiotrain.data.storage` makes them, but for padding, which becomes 0 itself.
_READ = "$lambda path: numpy.load(path, allow_pickle=False).astype('float64')"
_NORMALISE = "$lambda x: numpy.nan_to_num((x - numpy.nanmean(x[0])) / numpy.nanstd(x[0]), nan=0.0)"
# MONAI hands on a tensor of its own.
_NORMALISE_ROBUSTLY = (
    "$(lambda normalise: lambda x: normalise(x.numpy() if hasattr(x, 'numpy') else x))"
    f"(runpy.run_path(@bundle_root + '/{_INTENSITIES}')['normalise'])"
)


def check_bundle(trained: TrainedModel) -> None:
    """Refuse a model that a bundle cannot hold.

    Raises
    ------
    InputError
        If it reads clinical covariates, for which MONAI's inference has no place.
    """
    if sum(trained.num_covariates):
        names = ", ".join(trained.model.config.network.covariates)
        raise InputError(
            f"{trained.model.name} reads {names} beside the images, which a MONAI bundle has no place"
            " for: use --format safetensors or onnx"
        )


def write_bundle(
    trained: TrainedModel, description: ModelDescription, folder: Path
) -> ModelDescription:
    """Write the bundle's configuration, weights and script; return what it is."""
    description = write_weights(trained, description, folder, "models/")
    (folder / "configs").mkdir()
    _write_json(folder / "configs/metadata.json", _metadata(description))
    _write_json(folder / "configs/inference.json", _inference(description))
    (folder / "scripts").mkdir()
    _carry("radiotrain.export", "crop_evaluator.py", folder / _EVALUATOR)
    if description.input.normalisation.kind == "robust":
        _carry("radiotrain.export", "robust_intensities.py", folder / _INTENSITIES)
    if len(description.members) > 1:
        _carry("radiotrain.networks", "ensemble.py", folder / _MEAN)
    return description


def _carry(package: str, name: str, path: Path) -> None:
    path.write_text(resources.files(package).joinpath(name).read_text("utf-8"), "utf-8")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _metadata(description: ModelDescription) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("torch", "monai", "numpy")}
    found = description.input
    phases = ["pre-contrast", *(f"post-contrast {k}" for k in range(1, found.num_phases))]
    targets = ", ".join(description.targets)
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by radiotrain {__version__}"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"].partition("+")[0],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"safetensors": metadata.version("safetensors")},
        "name": description.name,
        "task": f"{targets} status from breast DCE-MRI",
        "description": f"{description.notice} Everything else about it: model.json, docs/README.md.",
        "authors": "to be written by the author",
        "copyright": "to be written by the author",
        "intended_use": description.notice,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "MR",
                    "num_channels": found.num_phases,
                    "spatial_shape": list(found.crop_shape),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(k): name for k, name in enumerate(phases)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "classes",
                    "num_channels": len(description.targets),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {str(k): name for k, name in enumerate(description.targets)},
                }
            },
        },
    }


def _inference(description: ModelDescription) -> dict[str, Any]:
    monai = description.network.monai
    network = {"_target_": f"monai.networks.nets.{monai.function}", **monai.arguments}
    num = len(description.members)
    is_robust = description.input.normalisation.kind == "robust"
    normalise = _NORMALISE_ROBUSTLY if is_robust else _NORMALISE
    if num == 1:
        members: dict[str, Any] = {"network_def": network, "members": ["@network_def"]}
    else:
        scales = [
            [[m.scales[t].slope, m.scales[t].intercept] for t in description.targets]
            for m in description.members
            if m.scales is not None
        ]
        beside = f", scales={scales}" if scales else ""
        mean = f"$runpy.run_path(@bundle_root + '/{_MEAN}')['MeanOfNetworks'](@members{beside})"
        members = {"members": [network] * num, "network_def": mean}
    # One by one: names of the configuration are not seen inside a comprehension.
    load = [
        f"$@members#{n}.load_state_dict(load_file(@bundle_root + '/{member.weights}'))"
        for n, member in enumerate(description.members)
    ]
    return {
        "imports": [
            "$import glob",
            "$import runpy",
            "$import numpy",
            "$from safetensors.torch import load_file",
            "$import torch",
        ],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "dataset_dir": "$@bundle_root + '/crops'",
        "output_dir": "$@bundle_root + '/eval'",
        **members,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Lambdad", "keys": "image", "func": _READ},
                {"_target_": "Lambdad", "keys": "image", "func": normalise},
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': p, 'path': p} for p in sorted(glob.glob(@dataset_dir + '/*.npy'))]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
        },
        "targets": list(description.targets),
        "evaluator": (
            f"$runpy.run_path(@bundle_root + '/{_EVALUATOR}')['CropEvaluator'](@dataloader,"
            " @network, @inferer, @postprocessing, @device, @targets, @output_dir)"
        ),
        "initialize": [*load, "$@network_def.eval()"],
        "run": ["$@evaluator.run()"],
        # For programs that want models/model.pt, a pickle, which MONAI's `load` reads as weights only.
        "write_model_pt": [
            "$torch.save(@network_def.state_dict(), @bundle_root + '/models/model.pt')"
        ],
    }
