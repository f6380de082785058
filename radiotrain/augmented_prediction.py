"""Test-time augmentation: the mean over a patient's image and random changes of it.

Axis legend: D draws, N patients, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from preprocessing.store import Store
from radiotrain import augment
from radiotrain.config import AugmentConfig, RunConfig
from radiotrain.data.batches import batches
from radiotrain.networks.fusion import call_network
from radiotrain.predict import LoadedPart, load_part, predictions_table
from radiotrain.seal import TestAccess
from radiotrain.split import Split

if TYPE_CHECKING:
    import pandas as pd

_UNCHANGED = AugmentConfig(
    flip=0, rotate_degrees=0, tilt_degrees=0, zoom=0, shift_mm=0, intensity_gain=0,
    intensity_shift=0, gamma=0, enhancement=0, noise=0,
)  # fmt: skip


@dataclass(frozen=True)
class AugmentedPrediction:
    """Predictions of one run's patients over changed images.

    Parameters
    ----------
    table
        Predictions table of the means.
    draws
        Columns run, patient_id, target, split, draw and probability; draw 0 is the image as it is.
    """

    table: pd.DataFrame
    draws: pd.DataFrame


def describe_draws(config: RunConfig, num_draws: int) -> str:
    """Say what a run's images are changed by."""
    if not config.augment.enabled:
        return (
            "mean over the image and its left-right mirror, since the run was trained without"
            " augmentation"
        )
    return f"mean over the image and {num_draws} random draws of the run's own augmentation"


def predict_augmented(
    run_url: str,
    store: Store,
    split: Split,
    which: Literal["validation", "test"],
    num_draws: int,
    access: TestAccess | None = None,
    device: str = "auto",
) -> AugmentedPrediction:
    """Predict with a run's best weights, averaging probabilities over changed images.

    The draws depend on the run's seed alone, whatever the batch size.

    Parameters
    ----------
    num_draws
        Beside the image as it is. A run that was trained without augmentation gets the left-right
        mirror instead, once.
    access
        From `radiotrain.seal.open_test_set`; needed for the test.

    Raises
    ------
    SealedTestSetError
        If the test set was not opened.
    InputError
        If the run was trained on another store or split.
    """
    loaded = load_part(run_url, store, split, which, access, device)
    changes = draw_changes(
        loaded.config.augment, loaded.config.seed, len(loaded.patients), num_draws
    )
    logits = [loaded.logits(), *(_changed_logits(loaded, drawn) for drawn in changes)]
    return _tables(loaded, which, np.stack(logits))


def draw_changes(
    config: AugmentConfig, seed: int, num_patients: int, num_draws: int
) -> list[augment.Draw]:
    """Draw what changes the patients, `num_draws` times; for all patients at once."""
    if not num_draws:
        return []
    if not config.enabled:
        same = augment.draw(_UNCHANGED, num_patients, seed=0, epoch=0, step=0)
        # Crops are stored as (to the back, to the left, to the head).
        return [replace(same, flip=torch.tensor([1.0, -1.0, 1.0]).repeat(num_patients, 1))]
    return [
        augment.draw(config, num_patients, seed=seed, epoch=n, step=0) for n in range(num_draws)
    ]


def _changed_logits(loaded: LoadedPart, drawn: augment.Draw) -> NDArray[np.float32]:
    """Return logits, float32 (N, T), of changed images."""
    patients, device, dtype = loaded.patients, loaded.device, loaded.dtype
    rows, size = np.arange(len(patients)), loaded.config.train.batch_size
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    parts = []
    with torch.inference_mode():
        for batch in batches(patients, groups, device):
            first, last = int(batch.rows[0]), int(batch.rows[-1])
            spacing_mm = patients.spacing_mm[first : last + 1]
            images = augment.apply(batch.images, drawn.rows(first, last + 1), spacing_mm)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                logits = call_network(loaded.network, images, batch.covariates)
            parts.append(logits.float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, patients.labels.shape[1]), np.float32)


def _tables(
    loaded: LoadedPart, which: Literal["validation", "test"], logits: NDArray[np.float32]
) -> AugmentedPrediction:
    """Put logits (1 + D, N, T) into tables."""
    import pandas as pd

    tables = [
        predictions_table(loaded.run, loaded.config, which, loaded.patients, one) for one in logits
    ]
    mean = np.mean([table["probability"].to_numpy() for table in tables], axis=0)
    columns = ["run", "patient_id", "target", "split", "draw", "probability"]
    draws = pd.concat([table.assign(draw=n) for n, table in enumerate(tables)], ignore_index=True)
    return AugmentedPrediction(tables[0].assign(probability=mean), draws[columns])
