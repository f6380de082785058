"""Probabilities of patients from a trained run, in the table that evaluation reads.

Axis legend: N patients, T targets.

The predictions table has the columns run, patient_id, target, split (``validation`` or
``test``), fold, label (0, 1 or -1 for missing) and probability; one row a patient and target.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from preprocessing.errors import InputError, MissingPathError
from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.data.patients import Patients, load_patients, part_ids
from radiotrain.distributed import Worker, autocast_dtype
from radiotrain.networks.registry import build_network
from radiotrain.runs import open_run
from radiotrain.seal import TestAccess
from radiotrain.split import Split, check_split
from radiotrain.training.checkpoint import load_weights

_COLUMNS = ["run", "patient_id", "target", "split", "fold", "label", "probability"]


def predict_run(
    run_url: str,
    store: Store,
    split: Split,
    which: Literal["validation", "test"],
    access: TestAccess | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """Predict the validation or test patients with a run's best weights.

    Parameters
    ----------
    access
        From `radiotrain.seal.open_test_set`; needed for the test.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    Predictions table, patients in the order of the split.

    Raises
    ------
    SealedTestSetError
        If the test set was not opened.
    InputError
        If the run was trained on another store or split.
    """
    folder, config, record = open_run(run_url)
    check_split(split, store)
    if (record.store_fingerprint, record.split_fingerprint) != (
        store.fingerprint,
        split.fingerprint,
    ):
        raise InputError(
            f"run {folder.url} was trained on store {record.store_fingerprint} and split"
            f" {record.split_fingerprint}, got {store.fingerprint} and {split.fingerprint}:"
            " name the ones in its config.yaml"
        )
    patients = load_patients(
        store, split, part_ids(split, config.fold, which), config.targets, access
    )
    worker = Worker.single(device)
    network = load_network(folder.best_weights).to(worker.device)
    dtype = autocast_dtype(config.precision, worker.device)
    rows = np.arange(len(patients))
    logits = predict_logits(network, patients, rows, config.train.batch_size, worker.device, dtype)
    return predictions_table(folder.name, config, which, patients, logits)


def load_network(weights_url: str) -> nn.Module:
    """Return the network of a ``best.pt``, on the CPU and ready to predict."""
    try:
        saved = load_weights(weights_url)
    except FileNotFoundError:
        raise MissingPathError(
            f"no weights at {weights_url}: the run has not finished an epoch, train it"
        ) from None
    rows, columns, slices = saved["crop_shape"]
    network = build_network(
        saved["network"], saved["num_phases"], len(saved["targets"]), (rows, columns, slices)
    )
    network.load_state_dict(saved["weights"])
    return network.eval()


def predict_logits(
    network: nn.Module,
    patients: Patients,
    rows: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None,
) -> NDArray[np.float32]:
    """Return logits, float32 (len(rows), T), of some patients; leaves the network in eval mode.

    Parameters
    ----------
    dtype
        Of autocast; None for float32 throughout.
    """
    network.eval()
    parts = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for start in range(0, len(rows), batch_size):
            images, _ = patients.batch(rows[start : start + batch_size], device)
            parts.append(network(images).float().cpu().numpy())
    if not parts:
        return np.empty((0, patients.labels.shape[1]), dtype=np.float32)
    return np.concatenate(parts)


def predictions_table(
    run: str,
    config: RunConfig,
    part: Literal["validation", "test"],
    patients: Patients,
    logits: NDArray[np.float32],
) -> pd.DataFrame:
    """Put logits (N, T) into a predictions table."""
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    rows: list[dict[str, Any]] = [
        {
            "run": run,
            "patient_id": patient_id,
            "target": target,
            "split": part,
            "fold": config.fold,
            "label": int(patients.labels[n, t]),
            "probability": float(probabilities[n, t]),
        }
        for t, target in enumerate(config.targets)
        for n, patient_id in enumerate(patients.ids)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)
