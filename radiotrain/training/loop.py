"""The training loop: plain PyTorch, for one process or for one worker of a process group."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.logs.tensorboard import TensorBoardLog
from radiotrain.runs import RunFolder, RunRecord, Status
from radiotrain.split import Split, load_split
from radiotrain.training.early_stopping import Action, Verdict
from radiotrain.training.metrics import EpochMetrics, nan_for_null
from radiotrain.training.training import OnStep, Training
from radiotrain.versions import software_versions

OnEpoch = Callable[[EpochMetrics], bool]
Reporter = Callable[[str], None]

_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Parameters
    ----------
    status
        ``finished`` (all epochs, or early stopping) or ``stopped`` (by `on_epoch`).
    best_epoch
        Counted from 0.
    validation_auc
        Of the best epoch, mean over targets; NaN if undefined.
    history
        Every epoch, those before a resume included.
    """

    run_url: str
    status: Status
    best_epoch: int
    validation_auc: float
    validation_auc_per_target: dict[str, float]
    history: tuple[EpochMetrics, ...]


def print_line(text: str) -> None:
    """Say one line of progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def train(
    config: RunConfig,
    *,
    worker: Worker | None = None,
    on_epoch: OnEpoch | None = None,
    reporter: Reporter = print_line,
) -> RunResult:
    """Train one network, or go on where the run folder's last checkpoint is.

    Parameters
    ----------
    worker
        This process's place among the workers, whose process group is already running. By
        default the only one, on the configured device.
    on_epoch
        Called on every worker after each epoch's checkpoint is written. Where it returns True
        on any of them, all stop.
    reporter
        Takes lines of progress; called on rank 0 only.

    Returns
    -------
    The result; of a run that was finished or stopped before, the recorded one.

    Raises
    ------
    InputError
        If the folder holds another run, or the configuration does not fit the store.
    """
    worker = worker or Worker.single(config.device)
    store = Store.open(config.store)
    split = load_split(config.split, store)
    folder = RunFolder(config.out)
    folder.check_same_run(config, store.fingerprint, split.fingerprint)
    record = folder.read_record()
    if record is not None and record.status in ("finished", "stopped"):
        return recorded_result(folder, record)
    # Before anything is written: a configuration that does not fit leaves no folder behind.
    training = Training(config, worker, store, split)
    record = _new_record(config, worker, store, split)
    if worker.is_writer:
        folder.write_config(config)
        folder.write_record(record)
    try:
        status = _run(training, folder, record, on_epoch, reporter)
    except BaseException as error:
        if worker.is_writer:
            _record_failure(folder, record, error)
        raise
    return _result(folder, status, training.history, training.verdict())


def recorded_result(folder: RunFolder, record: RunRecord) -> RunResult:
    """Return the result of a run from its folder alone."""
    assert record.best_epoch is not None
    per_target = {k: nan_for_null(v) for k, v in record.validation_auc_per_target.items()}
    return RunResult(
        run_url=folder.url,
        status=record.status,
        best_epoch=record.best_epoch,
        validation_auc=nan_for_null(record.validation_auc),
        validation_auc_per_target=per_target,
        history=folder.read_metrics(),
    )


def _run(
    training: Training,
    folder: RunFolder,
    record: RunRecord,
    on_epoch: OnEpoch | None,
    reporter: Reporter,
) -> Status:
    """Train until an end is reached; only rank 0 writes."""
    worker, num_epochs = training.worker, training.config.train.epochs
    _announce(training, worker, reporter)
    if training.resume(folder):
        _restore_folder(training, folder, reporter)
    status: Status = "finished"
    log = TensorBoardLog(folder.url, len(training.history)) if worker.is_writer else None
    with contextlib.closing(log) if log else contextlib.nullcontext():
        while not _is_over(training):
            logits = training.run_epoch(
                _heartbeat(len(training.history), reporter) if log else None
            )
            metrics = training.history[-1]
            if log:
                training.save(folder)
                _write_epoch(training, folder, record, log, logits)
                reporter(metrics.describe())
            wants_stop = on_epoch is not None and on_epoch(metrics)
            if worker.any(wants_stop) and len(training.history) < num_epochs:
                status = "stopped"
                break
    if worker.is_writer:
        folder.write_record(_with_epochs(record, training, status))
    return status


def _heartbeat(epoch: int, reporter: Reporter) -> OnStep:
    """Return what says now and then where a long epoch is."""
    last = time.monotonic()

    def on_step(done: int, num_steps: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES and done < num_steps:
            last = time.monotonic()
            reporter(f"epoch {epoch + 1}: step {done}/{num_steps}")

    return on_step


def _is_over(training: Training) -> bool:
    if not training.history:
        return False
    done = len(training.history) >= training.config.train.epochs
    return done or training.verdict().action is Action.STOP


def _write_epoch(
    training: Training,
    folder: RunFolder,
    record: RunRecord,
    log: TensorBoardLog,
    logits: NDArray[np.float32],
) -> None:
    """Write what an epoch leaves, after its checkpoint: a resume can make all of it again."""
    if training.history[-1].is_best:
        training.save_best(folder, logits)
    folder.write_metrics(training.history)
    folder.write_record(_with_epochs(record, training, "running"))
    log.write(training.history[-1])


def _restore_folder(training: Training, folder: RunFolder, reporter: Reporter) -> None:
    """Make the folder agree with the checkpoint that training goes on from."""
    num_done = len(training.history)
    # The run may have died after the checkpoint and before best.pt.
    logits = training.validate() if training.history[-1].is_best else None
    if training.worker.is_writer:
        reporter(f"resuming after epoch {num_done} from {folder.checkpoints}")
        folder.write_metrics(training.history)
        if logits is not None:
            training.save_best(folder, logits)


def _announce(training: Training, worker: Worker, reporter: Reporter) -> None:
    if not worker.is_writer:
        return
    config, images = training.config, training.patients.images
    precision = str(training.dtype or torch.float32).removeprefix("torch.")
    num_bytes = images.nbytes + training.validation.images.nbytes
    reporter(
        f"{config.network.name} on {', '.join(config.targets)}: {len(training.patients)} patients"
        f" train and {len(training.validation)} validate (fold {config.fold}),"
        f" {num_bytes / 1e6:.0f} MB as int16 in {images.device.type} memory;"
        f" {worker.world_size} × {worker.device.type}, {precision}"
    )


def _new_record(config: RunConfig, worker: Worker, store: Store, split: Split) -> RunRecord:
    device = worker.device
    return RunRecord(
        status="running",
        store_fingerprint=store.fingerprint,
        split_fingerprint=split.fingerprint,
        seed=config.seed,
        fold=config.fold,
        targets=config.targets,
        world_size=worker.world_size,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        versions=software_versions(),
    )


def _with_epochs(record: RunRecord, training: Training, status: Status) -> RunRecord:
    best = training.verdict().best_epoch
    metrics = training.history[best]
    return replace(
        record,
        status=status,
        best_epoch=best,
        num_epochs=len(training.history),
        validation_auc=metrics.validation_auc,
        validation_auc_per_target=dict(metrics.validation_auc_per_target),
    )


def _record_failure(folder: RunFolder, record: RunRecord, error: BaseException) -> None:
    """Say in the folder why the run ended; where even that fails, the error itself matters more."""
    interrupted = isinstance(error, KeyboardInterrupt)
    reason = "interrupted by Ctrl-C" if interrupted else str(error) or type(error).__name__
    with contextlib.suppress(Exception):
        before = folder.read_record() or record
        folder.write_record(replace(before, status="failed", error=reason))


def _result(
    folder: RunFolder, status: Status, history: list[EpochMetrics], verdict: Verdict
) -> RunResult:
    best = history[verdict.best_epoch]
    return RunResult(
        run_url=folder.url,
        status=status,
        best_epoch=verdict.best_epoch,
        validation_auc=best.validation_auc,
        validation_auc_per_target=dict(best.validation_auc_per_target),
        history=tuple(history),
    )
