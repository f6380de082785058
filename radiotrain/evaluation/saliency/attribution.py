"""Integrated gradients, occlusion and randomised networks.

Axis legend: P phases, R rows, C columns, S slices, N boxes, B images, K encoded covariates.

References
----------
Sundararajan, Taly, Yan: Axiomatic attribution for deep networks. ICML 2017.
Zeiler, Fergus: Visualizing and understanding convolutional networks. ECCV 2014 (occlusion).
Adebayo et al.: Sanity checks for saliency maps. NeurIPS 2018.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from radiotrain.networks.fusion import call_network
from radiotrain.statistics.member_scale import MemberScale


@dataclass(frozen=True)
class Explained:
    """A model's networks, asked about one patient.

    Parameters
    ----------
    networks
        In eval mode; those of an ensemble count equally, after `scales`.
    covariates
        float32 (1, K) of the patient for each network; K is 0 for none. They are not explained.
    target
        Which logit.
    scales
        Of the target for each network, by which its logits are calibrated first; empty: as they are.
    """

    networks: tuple[nn.Module, ...]
    covariates: tuple[Tensor, ...]
    target: int
    scales: tuple[MemberScale, ...] = ()

    def logits(self, images: Tensor) -> Tensor:
        """Return the mean logit of each image: (B, P, R, C, S) to (B,)."""
        total = images.new_zeros(len(images))
        for n, (network, covariates) in enumerate(zip(self.networks, self.covariates, strict=True)):
            each = covariates.expand(len(images), -1)
            logits = call_network(network, images, each).float()[:, self.target]
            if self.scales:
                logits = self.scales[n].slope * logits + self.scales[n].intercept
            total = total + logits
        return total / len(self.networks)

    def logits_without_gradient(self, images: Sequence[Tensor], batch: int) -> Tensor:
        """Return the mean logits of images (P, R, C, S) each, a few at a time: (B,)."""
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                parts.append(self.logits(torch.stack(list(images[start : start + batch]))))
        return torch.cat(parts).cpu() if parts else torch.empty(0)


# What an image is compared with: normalised, 0 is the mean of the pre-contrast.
_BASELINE = 0.0
_MOST_AT_A_TIME = 4
_BOXES = (4, 4, 3)


@dataclass(frozen=True)
class Attribution:
    """Integrated gradients of a patient.

    Parameters
    ----------
    values
        float32 (P, R, C, S); they sum to `logit` less `baseline_logit`, but for the steps' error.
    """

    values: NDArray[np.float32]
    logit: float
    baseline_logit: float

    @property
    def saliency(self) -> NDArray[np.float32]:
        """How much each voxel counts, whatever its sign and phase: (R, C, S)."""
        total: NDArray[np.float32] = np.abs(self.values).sum(axis=0)
        return total

    @property
    def completeness_error(self) -> float:
        """How far the sum is off from what there was to explain, in logits."""
        wanted = self.logit - self.baseline_logit
        return abs(float(self.values.astype(np.float64).sum()) - wanted)


def integrated_gradients(
    explained: Explained, images: Tensor, steps: int, logit: float | None = None
) -> Attribution:
    """Attribute the logit to voxels, along the straight line from the baseline; midpoint rule.

    Parameters
    ----------
    images
        float32 (P, R, C, S), normalised.
    logit
        Of the images, where it is known; None: it is computed.
    """
    baseline = torch.full_like(images, _BASELINE)
    total = torch.zeros_like(images)
    alphas = (torch.arange(steps, dtype=torch.float32) + 0.5) / steps
    for part in torch.split(alphas, _MOST_AT_A_TIME):
        weights = part.to(images.device).view(-1, 1, 1, 1, 1)
        points = (baseline + weights * (images - baseline)).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(explained.logits(points).sum(), points)
        total += gradient.sum(dim=0)
    values = (images - baseline) * total / steps
    unknown = [baseline] if logit is not None else [baseline, images]
    ends = explained.logits_without_gradient(unknown, _MOST_AT_A_TIME)
    own = float(ends[1]) if logit is None else logit
    return Attribution(values.cpu().numpy(), own, float(ends[0]))


def replaced(images: Tensor, voxels: NDArray[np.bool_]) -> Tensor:
    """Return images (P, R, C, S) with some voxels (R, C, S) as the baseline has them."""
    mask = torch.from_numpy(voxels).to(images.device)
    return images.masked_fill(mask, _BASELINE)


def boxes_of(shape: Sequence[int]) -> tuple[tuple[slice, slice, slice], ...]:
    """Divide a crop (R, C, S) into boxes, at most 4 × 4 × 3."""
    edges = [
        np.linspace(0, n, min(n, most) + 1).round().astype(int)
        for n, most in zip(shape, _BOXES, strict=True)
    ]
    parts = [[slice(int(a), int(b)) for a, b in itertools.pairwise(e)] for e in edges]
    return tuple((r, c, s) for r, c, s in itertools.product(*parts))


def occlusion(explained: Explained, images: Tensor) -> NDArray[np.float64]:
    """Return how much the logit falls when each box is as the baseline has it: (N,)."""
    shape = tuple(images.shape[1:])
    changed = [images]
    for box in boxes_of(shape):
        voxels = np.zeros(shape, dtype=np.bool_)
        voxels[box] = True
        changed.append(replaced(images, voxels))
    logits = explained.logits_without_gradient(changed, _MOST_AT_A_TIME).double().numpy()
    fall: NDArray[np.float64] = logits[0] - logits[1:]
    return fall


def pooled(attribution: Attribution) -> NDArray[np.float64]:
    """Return the attribution of each box, as occlusion has them: (N,)."""
    values = attribution.values.astype(np.float64).sum(axis=0)
    return np.array([values[box].sum() for box in boxes_of(values.shape)])


def with_random_weights(explained: Explained, *, last_layer_only: bool, seed: int) -> Explained:
    """Return the same networks with the last layer's, or all layers', weights drawn anew."""
    networks = tuple(
        _randomised(network, last_layer_only, seed + n)
        for n, network in enumerate(explained.networks)
    )
    return replace(explained, networks=networks)


def _randomised(network: nn.Module, last_layer_only: bool, seed: int) -> nn.Module:
    found = copy.deepcopy(network).eval()
    layers = _drawable(found)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers[-1:] if last_layer_only else layers:
            layer.reset_parameters()
    return found


def _drawable(network: nn.Module) -> Sequence[Any]:
    """Return layers whose weights are drawn, in their order; norms keep what they have seen."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return [module for module in network.modules() if isinstance(module, kinds)]
