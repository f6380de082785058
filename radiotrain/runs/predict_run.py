"""Predict patients with a trained run; test-time augmentation.

The predictions table has the columns run, patient_id, target, split (``validation`` or
``test``), fold (empty where none validates), label (0, 1 or -1 for missing) and probability; one row a patient and target.

Axis legend: N patients, T targets, D draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.config.run_config import AugmentConfig, RunConfig
from radiotrain.data import augmentation
from radiotrain.data.batches import batches
from radiotrain.data.patients import Patients, load_patients, part_ids
from radiotrain.distributed import Worker, autocast_dtype
from radiotrain.networks.fusion import call_network
from radiotrain.networks.registry import build_network
from radiotrain.runs.checkpoint import read_weights, weights_digest
from radiotrain.runs.run_folder import REMEDY, RunFolder, RunRecord, open_run
from radiotrain.split.split import Split, check_split
from radiotrain.split.test_set_access import TestAccess

if TYPE_CHECKING:
    import pandas as pd

    from radiotrain.data.covariates import CovariateEncoder

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
        From `radiotrain.split.test_set_access.open_test_set`; needed for the test.
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
    loaded = load_part(run_url, store, split, which, access, device)
    return predictions_table(loaded.run, loaded.config, which, loaded.patients, loaded.logits())


@dataclass(frozen=True)
class LoadedPart:
    """A run's network on its device, and the patients to predict.

    Parameters
    ----------
    dtype
        Of autocast; None for float32 throughout.
    """

    run: str
    config: RunConfig
    patients: Patients
    network: nn.Module
    device: torch.device
    dtype: torch.dtype | None

    def logits(self) -> NDArray[np.float32]:
        """Return logits, float32 (N, T), of the patients as they are."""
        rows, size = np.arange(len(self.patients)), self.config.train.batch_size
        return predict_logits(self.network, self.patients, rows, size, self.device, self.dtype)


def load_part(
    run_url: str,
    store: Store,
    split: Split,
    which: Literal["validation", "test"],
    access: TestAccess | None = None,
    device: str = "auto",
) -> LoadedPart:
    """Load what `predict_run` predicts with and of whom; raises what it raises."""
    folder, config = check_run(run_url, store, split)
    ids = part_ids(split, config.fold, which)
    patients = load_patients(
        store, split, ids, config.targets, rule=config.train.normalisation, access=access
    )
    worker = Worker.single(device)
    trained = load_network(run_url)
    if trained.encoder is not None:
        patients = replace(patients, covariates=trained.encoder.transform(patients.records))
    network = trained.network.to(worker.device)
    dtype = autocast_dtype(config.precision, worker.device)
    return LoadedPart(folder.name, config, patients, network, worker.device, dtype)


def check_run(run_url: str, store: Store, split: Split) -> tuple[RunFolder, RunConfig]:
    """Return a run that was trained on this split, or one with the same folds that it extends.

    Raises
    ------
    InputError
        If it was not.
    """
    folder, config, record = open_run(run_url)
    split = check_split(split, store)
    if not split.is_of_run(record.split_fingerprint, record.patients_fingerprint):
        if split.extended_from(record.split_fingerprint) is not None:
            raise InputError(
                f"run {folder.url} was trained on split {record.split_fingerprint}, which split"
                f" {split.fingerprint} extends: name the split that was extended, or evaluate the run"
            )
        raise InputError(
            f"run {folder.url} was trained on split {record.split_fingerprint} of patients"
            f" {record.patients_fingerprint}, got {split.fingerprint} of"
            f" {split.patients_fingerprint}: name the store and the split in its config.yaml"
        )
    return folder, config


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights, on the CPU and ready to predict.

    Parameters
    ----------
    encoder
        Of the clinical covariates that it reads beside images; None where it reads none.
    """

    network: nn.Module
    encoder: CovariateEncoder | None


def load_network(run_url: str) -> TrainedNetwork:
    """Return the network of a run's best epoch.

    Raises
    ------
    MissingPathError
        If there is none.
    InputError, DamagedFileError
        If its file is damaged, or of another run or epoch than the run's record says.
    """
    folder, config, record = open_run(run_url)
    url = folder.best_weights
    saved = check_best(read_best(folder), url, record)
    found = saved.get("network"), saved.get("targets")
    if found != (config.network.name, list(config.targets)):
        raise InputError(
            f"{url} holds a network of another kind or for other targets than config.yaml in its run:"
            f" {REMEDY}"
        )
    try:
        return _build(saved, url)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{url} is not what radiotrain wrote ({type(error).__name__}): {REMEDY}"
        ) from error


def read_best(folder: RunFolder) -> bytes:
    """Return the content of a run's ``best.pt``."""
    url = folder.best_weights
    try:
        return files.read_bytes(url)
    except FileNotFoundError:
        record = folder.read_record()
        if record is not None and record.has_ended:
            raise MissingPathError(
                f"no weights at {url}, of a run that has ended (a sweep keeps those of its best trials):"
                f" {REMEDY}"
            ) from None
        raise MissingPathError(
            f"no weights at {url}: the run has not finished an epoch, train it"
        ) from None


def check_best(content: bytes, url: str, record: RunRecord) -> dict[str, Any]:
    """Return what a ``best.pt`` holds if it is whole, and that of a run's record.

    Parameters
    ----------
    content, url
        Of the file.

    Raises
    ------
    InputError, DamagedFileError
        If it is not.
    """
    saved = read_weights(content, url, REMEDY)
    if saved.get("run") != record.run_digest:
        raise InputError(f"{url} holds the weights of another run than the one around it: {REMEDY}")
    if (weights_digest(content), saved.get("epoch")) == (record.weights_digest, record.best_epoch):
        return saved
    if record.has_ended:
        raise InputError(
            f"{url} holds other weights than those that run.json in its run was written for: {REMEDY}"
        )
    raise InputError(
        f"{url} is newer than run.json in its run, which is {record.status}: train it again first, to"
        " resume"
    )


def _build(saved: Mapping[str, Any], url: str) -> TrainedNetwork:
    rows, columns, slices = saved["crop_shape"]
    num_targets = len(saved["targets"])
    network = build_network(
        saved["network"], saved["num_phases"], num_targets, (rows, columns, slices)
    )
    encoder = None
    if saved.get("covariates") is not None:
        from radiotrain.data.covariates import CovariateEncoder
        from radiotrain.networks.fusion import LateFusion

        encoder = CovariateEncoder.from_json(saved["covariates"])
        network = LateFusion(network, encoder.num_columns, num_targets)
    _check_weights(network, saved["weights"], url)
    network.load_state_dict(saved["weights"])
    return TrainedNetwork(network.eval(), encoder)


def _check_weights(network: nn.Module, weights: Mapping[str, Any], url: str) -> None:
    """Refuse weights that a network would take and predict nonsense with."""
    for name, wanted in network.state_dict().items():
        found = weights[name]
        if found.dtype != wanted.dtype:
            raise TypeError(f"{name} is {found.dtype}, expected {wanted.dtype}")
        if not bool(torch.isfinite(found).all()):
            raise InputError(f"weights {name} in {url} are not finite: {REMEDY}")


def predict_logits(
    network: nn.Module,
    patients: Patients,
    rows: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None,
    before_batch: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """Return logits, float32 (len(rows), T), of some patients; leaves the network in eval mode.

    Parameters
    ----------
    dtype
        Of autocast; None for float32 throughout.
    before_batch
        Called before each batch; what it raises ends the work.
    """
    network.eval()
    groups = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    parts = []
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        for batch in batches(patients, groups, device):
            before_batch()
            parts.append(call_network(network, batch.images, batch.covariates).float())
    if not parts:
        return np.empty((0, patients.labels.shape[1]), dtype=np.float32)
    return np.asarray(torch.cat(parts).cpu().numpy(), dtype=np.float32)


def predictions_table(
    run: str,
    config: RunConfig,
    part: Literal["validation", "test"],
    patients: Patients,
    logits: NDArray[np.float32],
) -> pd.DataFrame:
    """Put logits (N, T) into a predictions table."""
    import pandas as pd

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
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"fold": "Int64"})


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
        From `radiotrain.split.test_set_access.open_test_set`; needed for the test.

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
) -> list[augmentation.Draw]:
    """Draw what changes the patients, `num_draws` times; for all patients at once."""
    if not num_draws:
        return []
    if not config.enabled:
        same = augmentation.draw(_UNCHANGED, num_patients, seed=0, epoch=0, step=0)
        # Crops are stored as (to the back, to the left, to the head).
        return [replace(same, flip=torch.tensor([1.0, -1.0, 1.0]).repeat(num_patients, 1))]
    return [
        augmentation.draw(config, num_patients, seed=seed, epoch=n, step=0)
        for n in range(num_draws)
    ]


def _changed_logits(loaded: LoadedPart, drawn: augmentation.Draw) -> NDArray[np.float32]:
    """Return logits, float32 (N, T), of changed images."""
    patients, device, dtype = loaded.patients, loaded.device, loaded.dtype
    rows, size = np.arange(len(patients)), loaded.config.train.batch_size
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    parts = []
    with torch.inference_mode():
        for batch in batches(patients, groups, device):
            first, last = int(batch.rows[0]), int(batch.rows[-1])
            spacing_mm = patients.spacing_mm[first : last + 1]
            images = augmentation.apply(batch.images, drawn.rows(first, last + 1), spacing_mm)
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
