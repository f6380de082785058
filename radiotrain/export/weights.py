"""Read and write weights as safetensors."""

from __future__ import annotations

import importlib
from pathlib import Path

from torch import nn

from preprocessing.common.errors import InputError
from radiotrain.export.describe import TrainedModel
from radiotrain.export.description import ModelDescription


def write_weights(
    trained: TrainedModel, description: ModelDescription, folder: Path, under: str = ""
) -> ModelDescription:
    """Write each member's weights, tensors named as MONAI does; return a description that says where."""
    save = importlib.import_module("safetensors.torch").save
    members = []
    (folder / under).mkdir(parents=True, exist_ok=True)
    for n, (member, network) in enumerate(zip(description.members, trained.trained, strict=True)):
        name = f"{under}network-{n}.safetensors"
        tensors = {k: v.contiguous() for k, v in network.network.state_dict().items()}
        (folder / name).write_bytes(save(tensors, metadata={"format": "pt"}))
        members.append(member.model_copy(update={"weights": name}))
    return description.model_copy(update={"members": tuple(members)})


def read_weights(network: nn.Module, content: bytes, where: str) -> None:
    """Give a network the weights of a file.

    Raises
    ------
    InputError
        If the file is not of this network.
    """
    safetensors = importlib.import_module("safetensors")
    load = importlib.import_module("safetensors.torch").load
    try:
        network.load_state_dict(load(content))
    except (safetensors.SafetensorError, RuntimeError):
        raise InputError(
            f"{where} does not hold the weights of this network: export the run again"
        ) from None
