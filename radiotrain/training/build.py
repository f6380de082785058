"""The network that is trained, made from the configuration, and its optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.data.patients import part_ids
from radiotrain.distributed import Worker
from radiotrain.networks.registry import build_network
from radiotrain.split import Split
from radiotrain.training.sync_batch_norm import synchronise_batch_norm

if TYPE_CHECKING:
    from radiotrain.data.covariates import CovariateEncoder


@dataclass(frozen=True)
class Built:
    """A network with fresh or published weights, on the CPU.

    Parameters
    ----------
    encoder
        Of the clinical covariates, fitted on the training patients; None without any.
    weights_report
        What became of a file of published weights, in words; None without one.
    """

    network: nn.Module
    encoder: CovariateEncoder | None
    weights_report: str | None


def build_trained_network(config: RunConfig, store: Store, split: Split) -> Built:
    """Build the network of a run; its weights are drawn from torch's global generator."""
    network = build_network(
        config.network.name, store.spec.num_phases, len(config.targets), store.spec.crop_shape
    )
    report = encoder = None
    if config.network.weights is not None:
        from radiotrain.networks.weights import load_published_weights

        report = load_published_weights(network, config.network.weights).describe()
    if config.network.covariates:
        from radiotrain.data.covariates import CovariateEncoder
        from radiotrain.networks.fusion import LateFusion

        ids = part_ids(split, config.fold, "train")
        records = [store.records[store.index_of(patient_id)] for patient_id in ids]
        encoder = CovariateEncoder.fit(records, config.network.covariates)
        network = LateFusion(network, encoder.num_columns, len(config.targets))
    return Built(network, encoder, report)


def quicken(network: nn.Module, config: RunConfig, worker: Worker) -> nn.Module:
    """Return the network on its device, as the configuration wants it computed."""
    if config.train.sync_batch_norm and worker.world_size > 1:
        network = synchronise_batch_norm(network, worker.device)
    if config.speed.activation_checkpointing:
        from radiotrain.networks.memory import checkpoint_activations

        checkpoint_activations(network)
    network = network.to(worker.device)
    if config.speed.channels_last:
        # Tensors of five axes only; the others keep their order.
        network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def average_weights(network: nn.Module, config: RunConfig) -> AveragedModel | None:
    """Return the moving average of a network's weights, if the configuration wants one."""
    decay = config.train.ema_decay
    if decay is None:
        return None
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average)


def make_optimizer(
    network: nn.Module, config: RunConfig, device: torch.device
) -> torch.optim.AdamW:
    """Return AdamW, which decays weights but neither biases nor norms."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.train.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.train.lr, fused=device.type == "cuda")
