"""Linear probe of a network's last features.

Axis legend: N patients, K features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.store import Store
from radiotrain.data.batches import batches
from radiotrain.data.patients import Patients, load_patients, part_ids
from radiotrain.distributed import Worker, autocast_dtype
from radiotrain.evaluation.baselines.models import LOGISTIC, nested_cv
from radiotrain.networks.fusion import LateFusion, call_network
from radiotrain.runs.predict_run import check_run, load_network
from radiotrain.split.split import Split
from radiotrain.statistics.stratified_auc import FEWEST_OF_A_CLASS, Area, stratified_area

_NUM_PARTS = 5
# Features are many and patients few: strong penalties only, and few of them to choose from.
_PROBE = replace(LOGISTIC, grid=({"C": 0.001}, {"C": 0.03}))


@dataclass(frozen=True)
class NetworkFeatures:
    """What goes into a network's last linear layer, of patients it was not trained on.

    Parameters
    ----------
    values
        float64 (N, K).
    """

    patient_ids: tuple[str, ...]
    values: NDArray[np.float64]


def read_network_features(run_url: str, store: Store, split: Split) -> NetworkFeatures | None:
    """Return a run's features of its validation patients, None where it has none.

    Raises
    ------
    InputError
        If the run was trained on another store or split.
    """
    _, config = check_run(run_url, store, split)
    ids = part_ids(split, config.fold, "validation")
    if not ids:
        return None
    patients = load_patients(store, split, ids, config.targets, rule=config.train.normalisation)
    trained = load_network(run_url)
    if trained.encoder is not None:
        patients = replace(patients, covariates=trained.encoder.transform(patients.records))
    worker = Worker.single(config.device)
    network = trained.network.to(worker.device)
    dtype = autocast_dtype(config.precision, worker.device)
    values = last_features(network, patients, config.train.batch_size, worker.device, dtype)
    return None if values is None else NetworkFeatures(ids, values)


def last_features(
    network: nn.Module,
    patients: Patients,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> NDArray[np.float64] | None:
    """Return float64 (N, K), the input of the linear layer that is called last.

    Of late fusion, that of the image network. None where a network has no linear layer.
    """
    images_only = network.network if isinstance(network, LateFusion) else network
    seen: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Layers inside the network are overwritten by the one that comes last.
        seen[:] = [inputs[0].detach()]

    linear = [module for module in images_only.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_hook(note) for module in linear]
    rows = np.arange(len(patients))
    groups = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    parts = []
    network.eval()
    try:
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
            for batch in batches(patients, groups, device):
                call_network(network, batch.images, batch.covariates)
                parts += [part.flatten(1).float().cpu() for part in seen]
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(parts).numpy().astype(np.float64) if parts else None


def probe(features: Sequence[NDArray[np.float64]], answers: Sequence[NDArray[np.int64]]) -> Area:
    """Return how well yes and no can be read from features by a linear function.

    Cross-validated within each network's patients; patients are compared with those of the same
    network and part only.

    Parameters
    ----------
    features
        float64 (N, K) of each network.
    answers
        int64 (N,) of each network, 0, 1 or -1 (missing, left out).
    """
    labels, scores, strata = [], [], []
    for number, (x, y) in enumerate(zip(features, answers, strict=True)):
        known = y != MISSING_LABEL
        x, y = x[known], y[known]
        if min(np.sum(y == 1), np.sum(y == 0)) < FEWEST_OF_A_CLASS:
            continue
        parts = deal_parts(y)
        scores.append(nested_cv(_PROBE, x, y, parts).probabilities)
        labels.append(y)
        strata += [(number, int(part)) for part in parts]
    if not labels:
        known_answers = np.concatenate([y[y != MISSING_LABEL] for y in answers])
        num, yes = len(known_answers), int(known_answers.sum())
        reason = f"too few validation patients, {yes} with yes and {num - yes} with no"
        return Area(None, None, num, yes, reason)
    return stratified_area(np.concatenate(labels), np.concatenate(scores), strata)


def deal_parts(labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """Return one of five parts (N,) for each patient, dealt out within each class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    parts = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        rows = order[labels[order] == label]
        parts[rows] = np.arange(len(rows)) % _NUM_PARTS
    return parts
