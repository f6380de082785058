"""Load an exported safetensors folder.

Axis legend: N patients, B patients of a batch, M members, T targets, K encoded covariates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from preprocessing.store import PatientRecord
from radiotrain.data.covariates import CovariateEncoder
from radiotrain.export.description import FILE_NAME, Member, ModelDescription, read_description
from radiotrain.export.packages import check_packages
from radiotrain.export.weights import read_weights
from radiotrain.networks.ensemble import MeanOfNetworks
from radiotrain.networks.fusion import LateFusion
from radiotrain.networks.registry import build_network
from radiotrain.runs.predict_run import TrainedNetwork


@dataclass(frozen=True)
class LoadedExport:
    """An exported model, on the CPU and ready to predict.

    Parameters
    ----------
    members
        Its networks; `network` averages them.
    network
        From images (B, P, R, C, S) as `radiotrain.data.patients.Batch` has them, and `encode`'s
        covariates where K is not 0, to logits (B, T).
    """

    description: ModelDescription
    members: tuple[TrainedNetwork, ...]
    network: MeanOfNetworks

    def encode(self, records: Sequence[PatientRecord]) -> NDArray[np.float32]:
        """Return the covariates that the members read, float32 (N, K), one after the other."""
        parts = [m.encoder.transform(records) for m in self.members if m.encoder is not None]
        empty = np.empty((len(records), 0), dtype=np.float32)
        return np.concatenate([empty, *parts], axis=1)


def load_export(url: str) -> LoadedExport:
    """Load what ``radiotrain export --format safetensors`` wrote; nothing in it can run.

    Parameters
    ----------
    url
        Folder, on this machine or an object store.

    Raises
    ------
    MissingPathError
        If there is no exported model, or one of its files is missing.
    SchemaError
        If another version wrote it.
    InputError
        If it is of another format, damaged, or the package safetensors is not installed.
    """
    description = read_description(url)
    if description.format != "safetensors":
        raise InputError(
            f"{url} is an export of format {description.format}, expected safetensors: export the"
            " run again with --format safetensors"
        )
    check_packages("safetensors")
    members = tuple(_load_member(url, description, member) for member in description.members)
    num_covariates = [0 if m.encoder is None else m.encoder.num_columns for m in members]
    scales = [
        [(m.scales[t].slope, m.scales[t].intercept) for t in description.targets]
        for m in description.members
        if m.scales is not None
    ]
    network = MeanOfNetworks([m.network for m in members], num_covariates, scales)
    return LoadedExport(description, members, network.eval())


def _load_member(url: str, description: ModelDescription, member: Member) -> TrainedNetwork:
    try:
        trained = _build(description, member)
    # Of torch, MONAI and the encoder, of a model.json that somebody wrote.
    except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{files.join(files.absolute(url), FILE_NAME)} is not what radiotrain wrote (no network can be"
            f" built of it, {type(error).__name__}): export the run again"
        ) from None
    content = _read_checked(url, member.weights, description)
    read_weights(trained.network, content, files.join(files.absolute(url), str(member.weights)))
    return trained


def _build(description: ModelDescription, member: Member) -> TrainedNetwork:
    """Return a member with fresh weights."""
    num_targets = len(description.targets)
    network = build_network(
        description.network.name,
        description.input.num_phases,
        num_targets,
        description.input.crop_shape,
    )
    encoder = None
    if member.covariates is not None:
        encoder = CovariateEncoder.from_json(member.covariates)
        network = LateFusion(network, encoder.num_columns, num_targets)
    return TrainedNetwork(network.eval(), encoder)


def _read_checked(url: str, name: str | None, description: ModelDescription) -> bytes:
    """Return a file's content if it is what was exported; no name leads out of the folder."""
    wanted = None if name is None else description.files.get(name)
    if name is None or wanted is None or name.startswith("/") or ".." in name.split("/"):
        raise InputError(f"{url} names weights {name!r} that are none of its files: export again")
    where = files.join(files.absolute(url), name)
    try:
        content = files.read_bytes(where)
    except FileNotFoundError:
        raise MissingPathError(f"{where} is missing: copy the whole exported folder") from None
    if hashlib.sha256(content).hexdigest() != wanted:
        raise InputError(f"{where} is not the file that was exported: copy the folder again")
    return content
