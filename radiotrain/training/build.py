"""The network that is trained, made from the configuration, and its optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from preprocessing.store import PatientRecord, Store
from radiotrain.config import RunConfig
from radiotrain.data.patients import part_ids, target_columns
from radiotrain.distributed import Worker
from radiotrain.networks.fusion import LateFusion
from radiotrain.networks.registry import build_network
from radiotrain.split import Split
from radiotrain.training.losses import LossWeights, draws_of
from radiotrain.training.sync_batch_norm import synchronise_batch_norm

if TYPE_CHECKING:
    from radiotrain.data.covariates import CovariateEncoder
    from radiotrain.networks.weights import WeightsReport

_Tensors = tuple[Tensor, ...] | list[Tensor]


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
    report = encoder = loaded = None
    if config.network.pretrained is not None:
        from radiotrain.networks.weights import load_published_weights

        loaded = load_published_weights(network, config.network.pretrained)
        report = loaded.describe()
    if config.network.covariates:
        from radiotrain.data.covariates import CovariateEncoder, check_covariate_values

        ids = part_ids(split, config.fold, "train")
        rows = [store.index_of(patient_id) for patient_id in ids]
        records = [store.records[row] for row in rows]
        names, allowed = config.network.covariates, config.network.allow_covariates
        encoder = CovariateEncoder.fit(records, names, allowed)
        labels = dict(zip(store.targets, store.labels[rows].T, strict=True))
        check_covariate_values(records, labels, names, allowed)
        fused = LateFusion(network, encoder.num_columns, len(config.targets))
        network = fused
        if config.network.covariate_start == "logistic":
            _begin_with_covariates(fused, encoder, config, store, records, loaded)
    return Built(network, encoder, report)


def _begin_with_covariates(
    network: LateFusion,
    encoder: CovariateEncoder,
    config: RunConfig,
    store: Store,
    records: Sequence[PatientRecord],
    loaded: WeightsReport | None,
) -> None:
    """Begin late fusion with a logistic regression of its training patients."""
    from radiotrain.training.covariate_start import fit_start

    indices = [store.index_of(record.patient_id) for record in records]
    labels = store.labels[np.ix_(indices, target_columns(store, config.targets))]
    weights = LossWeights.of(labels, config.train)
    draws = draws_of(labels, config.train)
    start = fit_start(encoder.transform(records), labels, draws, weights.training)
    network.begin_at(
        torch.from_numpy(start.weights),
        torch.from_numpy(start.intercept),
        keep_head=loaded is not None and not loaded.skipped,
    )


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
    plain = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    average = corrected_average(decay) if config.train.ema_bias_correction else plain
    return AveragedModel(network, multi_avg_fn=average)


def corrected_average(decay: float) -> Callable[[_Tensors, _Tensors, Tensor | int], None]:
    """Return an update of a moving average in which the first weights count like all others.

    After n steps the weights of k steps ago have the share decay^k (1 - decay) / (1 - decay^n),
    whereas those of the first step would otherwise have decay^(n - 1).

    References
    ----------
    Kingma & Ba, Adam, ICLR 2015, section 3: the same correction of its moments.
    """

    @torch.no_grad()
    def update(averaged: _Tensors, current: _Tensors, num_before: Tensor | int) -> None:
        num = torch.as_tensor(num_before, dtype=torch.float64) + 1
        share = (1 - decay) / (1 - decay**num)
        for kept, value in zip(averaged, current, strict=True):
            kept.lerp_(value, share.to(kept.dtype))

    return update


def make_optimizer(
    network: nn.Module, config: RunConfig, device: torch.device
) -> torch.optim.AdamW:
    """Return AdamW, which decays weights but neither biases nor norms.

    Nor what covariates weigh: their start has its own penalty.
    """
    fitted = []
    if isinstance(network, LateFusion) and config.network.covariate_start == "logistic":
        fitted = list(network.linear.parameters())
    known = {id(p) for p in fitted}
    decayed = [p for p in network.parameters() if p.ndim > 1 and id(p) not in known]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.train.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if fitted:
        groups.append({"params": fitted, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=config.train.lr, fused=device.type == "cuda")
