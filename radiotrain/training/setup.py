"""Network and optimiser from the configuration.

Axis legend: N patients, K encoded covariates, T targets, B patients, C channels; any number of
axes follows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.store import PatientRecord, Store
from radiotrain.config.run_config import RunConfig
from radiotrain.data.patients import part_ids, target_columns
from radiotrain.distributed import Worker
from radiotrain.networks.fusion import LateFusion
from radiotrain.networks.registry import build_network
from radiotrain.split.split import Split
from radiotrain.training.losses import LossWeights, draws_of

if TYPE_CHECKING:
    from radiotrain.data.covariates import CovariateEncoder
    from radiotrain.networks.pretrained import WeightsReport

# Inverse strengths of the penalty. The smallest leaves next to nothing of a useless column, the
# largest bounds the weights of a column that separates the classes.
_INVERSE_PENALTIES = np.logspace(-4, 2, 13)
_NUM_FOLDS = 5
# Of the order in which patients go to inner folds: the same for every run and worker.
_SEED = 0


@dataclass(frozen=True)
class CovariateStart:
    """The logistic regression of each target.

    Parameters
    ----------
    weights
        float32 (T, K).
    intercept
        float32 (T,).
    """

    weights: NDArray[np.float32]
    intercept: NDArray[np.float32]


def fit_start(
    covariates: NDArray[np.float32],
    labels: NDArray[np.int8],
    draws: NDArray[np.float64],
    class_weights: NDArray[np.float32],
) -> CovariateStart:
    """Fit a logistic regression to each target by the weights that the network's loss will have.

    The L2 penalty has the least cross-validated loss among the training patients. A target of which
    a class is missing, or is in one patient only, starts at weights of 0.

    Parameters
    ----------
    covariates
        (N, K) of the training patients.
    labels
        int8 (N, T) of 0, 1 or -1 (missing).
    draws
        (N,), how often an epoch draws each patient.
    class_weights
        (2, T), of a negative and of a positive label that is drawn.
    """
    fits = []
    for target, column in enumerate(labels.T):
        known = column != MISSING_LABEL
        y = column[known].astype(np.int64)
        weight = draws[known] * class_weights[y, target]
        fits.append(_fit(covariates[known].astype(np.float64), y, weight))
    return CovariateStart(
        np.array([weights for weights, _ in fits], dtype=np.float32).reshape(len(fits), -1),
        np.array([intercept for _, intercept in fits], dtype=np.float32),
    )


def _fit(
    x: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    nothing = np.zeros(x.shape[1])
    counts = np.bincount(y, minlength=2)
    if counts.min() == 0:
        return nothing, 0.0
    if counts.min() == 1:
        return nothing, _log_odds(y, weight)
    losses = _cross_validated_losses(x, y, weight, min(_NUM_FOLDS, int(counts.min())))
    # Of equal ones the strongest penalty; nothing at all is the strongest of all.
    best = int(np.argmin(losses))
    if best == 0:
        return nothing, _log_odds(y, weight)
    return _regression(x, y, weight, _INVERSE_PENALTIES[best - 1])


def _cross_validated_losses(
    x: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64], num_folds: int
) -> NDArray[np.float64]:
    """Return the weighted loss without covariates, then that of each penalty."""
    from sklearn.model_selection import StratifiedKFold

    losses = np.zeros(1 + len(_INVERSE_PENALTIES))
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=_SEED)
    for train, test in folds.split(x, y):
        known = x[train], y[train], weight[train]
        fits = [
            (np.zeros(x.shape[1]), _log_odds(*known[1:])),
            *(_regression(*known, inverse) for inverse in _INVERSE_PENALTIES),
        ]
        sign = 1 - 2 * y[test]
        for number, (weights, intercept) in enumerate(fits):
            logits = x[test] @ weights + intercept
            losses[number] += weight[test] @ np.logaddexp(0, sign * logits)
    return losses


def _log_odds(y: NDArray[np.int64], weight: NDArray[np.float64]) -> float:
    return float(np.log(weight[y == 1].sum()) - np.log(weight[y == 0].sum()))


def _regression(
    x: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64], inverse: float
) -> tuple[NDArray[np.float64], float]:
    # Slow to load, and no run without covariates needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=inverse, tol=1e-6, max_iter=1000)
    with warnings.catch_warnings():
        # A fit that was cut off is a start all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y, sample_weight=weight)
    return model.coef_[0], float(model.intercept_[0])


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with every batch norm taking its statistics over all workers.

    torch's own does so on GPUs only. Parameters, buffers and their names stay.
    """
    if device.type != "cpu":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            # A class of its own, not another module: hooks, state and names stay as they are.
            module.__class__ = _class_over_workers(type(module))  # type: ignore[assignment]
    return network


def _class_over_workers(kind: type[nn.Module]) -> type[nn.Module]:
    return kind if issubclass(kind, _OverWorkers) else type(kind.__name__, (_OverWorkers, kind), {})


class _Sum(torch.autograd.Function):
    """A tensor summed over all workers; so are its gradients."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _sum(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total


class _OverWorkers(nn.Module):
    """In training, batch norm over the patients of all workers (two passes, as accurate as one)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    eps: float
    momentum: float

    def forward(self, values: Tensor) -> Tensor:
        """Normalise floating (B, C, …)."""
        if not self.training or distributed.get_world_size() == 1:
            normalised: Tensor = super().forward(values)
            return normalised
        axes = [0, *range(2, values.ndim)]
        shape = (1, -1, *(1 for _ in axes[1:]))
        count = torch.tensor(float(values.numel() // values.shape[1]))
        distributed.all_reduce(count)
        mean = _sum(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _sum((centred * centred).sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        factor = self.weight * torch.rsqrt(variance + self.eps)
        return centred * factor.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)


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
        from radiotrain.networks.pretrained import load_published_weights

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


def optimize_network(network: nn.Module, config: RunConfig, worker: Worker) -> nn.Module:
    """Return the network on its device, as the configuration wants it computed."""
    if config.train.sync_batch_norm and worker.world_size > 1:
        network = synchronise_batch_norm(network, worker.device)
    if config.speed.activation_checkpointing:
        from radiotrain.networks.cost import checkpoint_activations

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
