"""Training loop for one process or one DDP worker."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, LockLostError
from preprocessing.processes import stop_notice
from preprocessing.processes.stop_notice import Stopped
from preprocessing.storage import files
from preprocessing.storage.folder_lock import exclusive
from radiotrain.config.run_config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.runs.checkpoint import save_weights
from radiotrain.runs.early_stopping import EpochDecision, has_same_length, is_over
from radiotrain.runs.epoch_metrics import EpochMetrics, history_digest, nan_for_null
from radiotrain.runs.locations import open_inputs
from radiotrain.runs.provenance import (
    describe_inputs,
    keeps_inputs,
    software_versions,
    write_inputs,
)
from radiotrain.runs.run_folder import RunFolder, RunRecord, Status, new_record
from radiotrain.split.split import Split
from radiotrain.tracking import check_show
from radiotrain.training.run_reporter import RunReporter
from radiotrain.training.trainer import NonFiniteLossError, Notice, Training, find_micro_batch
from radiotrain.training.validate import check_options

OnEpoch = Callable[[EpochMetrics], None]
Reporter = Callable[[str], None]

# A step, or the reading of its patients, that takes longer than this after a notice to stop is given up:
# those who give notice kill after 30 s or more.
_NOTICE_GRACE_S = 20.0


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Parameters
    ----------
    run_url
        Run folder.
    status
        ``finished`` (all epochs, or early stopping), ``paused`` (at `until_epoch`) or ``stopped``
        (by whoever compared it with others).
    best_epoch
        Counted from 0.
    validation_auc
        Of the best epoch, mean over targets; NaN if undefined.
    validation_auc_per_target
        Of the best epoch, by target.
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
    with contextlib.suppress(OSError):  # a closed terminal is no reason to end
        print(text, file=sys.stderr, flush=True)


def train(
    config: RunConfig,
    *,
    worker: Worker | None = None,
    until_epoch: int | None = None,
    on_epoch: OnEpoch | None = None,
    reporter: Reporter = print_line,
    patience_s: float = 0.0,
    notice: Notice = stop_notice.came,
    is_leaving: Callable[[], bool] = lambda: False,
) -> RunResult:
    """Train one network, or resume from the run folder's last checkpoint.

    Parameters
    ----------
    config
        Configuration of the run.
    worker
        This process's place among the workers, whose process group is already running. By
        default the only one, on the configured device.
    until_epoch
        Pause when so many epochs are done; the next call goes on from there. By default all of
        them are trained.
    on_epoch
        Called on every worker after each epoch's checkpoint is written.
    reporter
        Takes lines of progress; called on rank 0 only.
    patience_s
        How long rank 0 waits for another process that writes to the run folder and may be about
        to end.
    notice
        Names a notice to stop that has come to this worker; None before one has.
    is_leaving
        Asked after each step on rank 0: while it is true, each step's end is kept in a checkpoint.

    Returns
    -------
    The result; of a run that was finished or stopped before, the recorded one.

    Raises
    ------
    InputError
        If the folder holds another run or another process is writing to it, or the configuration
        does not fit the store.
    Stopped
        If a notice to stop came to any worker: where the run is lies in a checkpoint.
    """
    worker = worker or Worker.single(config.device)
    record = RunFolder(config.out).read_record()
    only_reads = record is not None and is_done(RunFolder(config.out), config, record, until_epoch)
    with contextlib.ExitStack() as stack:
        if worker.is_writer and not only_reads:
            stack.enter_context(exclusive(config.out, "run", patience_s=patience_s, private=True))
        return _train(config, worker, until_epoch, on_epoch, reporter, notice, is_leaving)


def _train(
    config: RunConfig,
    worker: Worker,
    until_epoch: int | None,
    on_epoch: OnEpoch | None,
    reporter: Reporter,
    notice: Notice,
    is_leaving: Callable[[], bool],
) -> RunResult:
    check_show(config.logging)
    store, split = open_inputs(config.store, config.split)
    folder = RunFolder(config.out)
    folder.check_same_run(config, split)
    record = folder.read_record()
    if record is not None and is_done(folder, config, record, until_epoch):
        _say_why_done(folder, config, record, reporter if worker.is_writer else None)
        # Runs of older versions lack it.
        if worker.is_writer and not keeps_inputs(folder.url):
            write_inputs(folder.url, describe_inputs(store, split, config.fold))
        return recorded_result(folder, record)
    # Before anything is written: a configuration that does not fit leaves no folder behind.
    training = Training(config, worker, store, split)
    training.notice = notice
    if record is None:
        check_options(config, training.patients.labels)
    _fit_into_memory(training, record)
    is_resumed = _resume(training, folder, record, reporter)
    before, record = record, _new_record(training, split)
    if worker.is_writer:
        # The record first: a run that is to be trained longer is one that runs, then one of this
        # configuration.
        folder.write_record(record)
        folder.write_config(config)
        write_inputs(folder.url, describe_inputs(store, split, config.fold))
    try:
        status = _run(
            training, folder, record, until_epoch, on_epoch, reporter, is_resumed, is_leaving
        )
    except Stopped:
        if worker.is_writer:
            folder.write_record(replace(before or record, status="paused", error=None))
        raise
    except NonFiniteLossError as error:
        told = _save_bad_batch(training, folder, error)
        if worker.is_writer:
            _record_failure(folder, record, told)
        raise told from error
    except BaseException as error:
        if worker.is_writer:
            _record_failure(folder, record, error)
        raise
    stop_notice.check_interrupt()
    if training.is_stopped:
        raise Stopped(
            notice() or "notice to another worker", f"paused {training.position.describe()}"
        )
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
        history=folder.read_history(record),
    )


def is_done(
    folder: RunFolder, config: RunConfig, record: RunRecord, until_epoch: int | None = None
) -> bool:
    """Tell whether `train` has nothing to do for a run that is known to be the same."""
    if record.status in ("finished", "stopped"):
        before = folder.read_config()
        if before is None or has_same_length(before, config):
            return True
        return is_over(folder.read_metrics(), config)
    return (
        record.status == "paused" and until_epoch is not None and record.num_epochs >= until_epoch
    )


def _run(
    training: Training,
    folder: RunFolder,
    record: RunRecord,
    until_epoch: int | None,
    on_epoch: OnEpoch | None,
    reporter: Reporter,
    is_resumed: bool,
    is_leaving: Callable[[], bool],
) -> Status:
    """Train until an end is reached; only rank 0 writes."""
    worker, config = training.worker, training.config
    if worker.is_writer:
        for note in training.notes:
            reporter(f"note: {note}")
    _announce(training, worker, reporter)
    if is_resumed:
        _restore_folder(training, folder, reporter)
    with contextlib.ExitStack() as stack:
        shown = None
        if worker.is_writer:
            terminal = reporter is print_line
            shown = stack.enter_context(
                RunReporter(training, folder, reporter, is_terminal=terminal, is_leaving=is_leaving)
            )
        with stop_notice.put_off(interrupts=True, grace_s=_NOTICE_GRACE_S):
            while not is_over(training.history, config) and not _is_at(training, until_epoch):
                logits = training.run_epoch(shown.on_step if shown else None)
                if logits is None:
                    break
                if shown:
                    _write_epoch(training, folder, record, logits)
                    shown.epoch(logits)
                if on_epoch is not None:
                    on_epoch(training.history[-1])
        status: Status = "finished" if is_over(training.history, config) else "paused"
        # Not for long: here nothing is to be lost by waiting.
        with stop_notice.put_off(interrupts=True):
            if shown and training.is_stopped:
                _write_place(training, folder)
            elif shown:
                shown.finish()
            if worker.is_writer:
                if status == "finished":
                    training.check_best(folder)
                folder.write_record(_with_epochs(record, training, status))
    return status


def _write_place(training: Training, folder: RunFolder) -> None:
    """Write a checkpoint of the middle of an epoch; its beginning has one already."""
    if training.num_steps_done:
        training.save(folder)


def _say_why_done(
    folder: RunFolder, config: RunConfig, record: RunRecord, reporter: Reporter | None
) -> None:
    """Say why a run that was to be longer is not: early stopping has ended it."""
    before = folder.read_config()
    asked = before is not None and before.train.epochs < config.train.epochs
    if reporter is not None and asked and record.num_epochs < config.train.epochs:
        reporter(
            f"{folder.url} was ended by early stopping after epoch {record.num_epochs}: more epochs"
            " change nothing; raise early_stopping.patience for it to go on"
        )


def _resume(
    training: Training, folder: RunFolder, record: RunRecord | None, reporter: Reporter
) -> bool:
    """Go back to the newest checkpoint that can be read, if there is one.

    Raises
    ------
    InputError
        If there is none of a run that has ended, and was to go on: all of it would be trained again.
    """
    if training.resume(folder):
        return True
    if record is None or not record.num_epochs:
        return False
    if record.status in ("finished", "stopped"):
        raise InputError(
            f"{folder.url} has no checkpoint that can be read, from which it could be made longer:"
            " name a new folder in 'out'"
        )
    if training.worker.is_writer:
        reporter(
            f"no checkpoint in {folder.checkpoints}: training the {record.num_epochs} epochs that were"
            " trained before again"
        )
    return False


def _fit_into_memory(training: Training, before: RunRecord | None) -> None:
    """Find out how many patients can be computed at a time; a resumed run keeps to what it found."""
    if not training.config.speed.auto_batch:
        return
    if before is not None and before.world_size == training.worker.world_size:
        training.micro_batch_size = before.micro_batch_size
        return
    find_micro_batch(training)


def _save_bad_batch(
    training: Training, folder: RunFolder, error: NonFiniteLossError
) -> NonFiniteLossError:
    """Save what the network was given when its loss was not finite; say where it is."""
    step = error.step
    name = f"bad-batch-epoch-{step.epoch + 1:04d}-step-{step.number + 1:05d}"
    url = files.join(folder.url, f"{name}-rank-{training.worker.rank}.pt")
    with contextlib.suppress(OSError):  # the sentence matters more
        save_weights(url, training.replay(step))
        return NonFiniteLossError(f"{error}; the batch is in {url}")
    return error


def _is_at(training: Training, until_epoch: int | None) -> bool:
    return until_epoch is not None and len(training.history) >= until_epoch


def _write_epoch(
    training: Training,
    folder: RunFolder,
    record: RunRecord,
    logits: NDArray[np.float32],
) -> None:
    """Write an epoch's checkpoint, then what a resume can make again of it."""
    with stop_notice.put_off(interrupts=True):
        training.save(folder)
        if training.history[-1].is_best:
            training.save_best(folder, logits)
        folder.write_metrics(training.history)
        folder.write_record(_with_epochs(record, training, "running"))


def _restore_folder(training: Training, folder: RunFolder, reporter: Reporter) -> None:
    """Make the folder agree with the checkpoint that training goes on from."""
    # The run may have died after the checkpoint at an epoch's end and before best.pt.
    ended = training.num_steps_done == 0
    logits = training.validate() if ended and training.history[-1].is_best else None
    if training.worker.is_writer:
        reporter(f"resuming {training.position.describe()} from {folder.checkpoints}")
        folder.write_metrics(training.history)
        if logits is not None:
            training.save_best(folder, logits)
        elif training.history:
            training.find_best(folder)


def _announce(training: Training, worker: Worker, reporter: Reporter) -> None:
    if not worker.is_writer:
        return
    config = training.config
    precision = str(training.dtype or torch.float32).removeprefix("torch.")
    if training.weights_report is not None:
        reporter(training.weights_report)
    validate = "no validation set"
    if config.fold is not None:
        validate = f"{len(training.validation)} validation patients (fold {config.fold})"
    at_a_time = f", {training.micro_batch_size} at a time" if training.micro_batch_size else ""
    reporter(
        f"{config.network.name} on {', '.join(config.targets)}: {len(training.patients)} training"
        f" patients, {validate};"
        f" {worker.world_size} × {worker.device.type}, {precision}; batches of"
        f" {config.train.batch_size}{at_a_time}"
    )
    reporter(f"training patients: {training.patients.where}")


def _new_record(training: Training, split: Split) -> RunRecord:
    device = training.worker.device
    return replace(
        new_record(training.config, split.patients_fingerprint, split.fingerprint),
        world_size=training.worker.world_size,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        micro_batch_size=training.micro_batch_size,
        versions=software_versions(),
    )


def _with_epochs(record: RunRecord, training: Training, status: Status) -> RunRecord:
    if not training.history:
        return replace(record, status=status)
    best = training.verdict().best_epoch
    metrics = training.history[best]
    return replace(
        record,
        status=status,
        best_epoch=best,
        num_epochs=len(training.history),
        validation_auc=metrics.validation_auc,
        validation_auc_per_target=dict(metrics.validation_auc_per_target),
        weights_digest=training.weights_of(best),
        metrics_digest=history_digest(training.history),
    )


def _record_failure(folder: RunFolder, record: RunRecord, error: BaseException) -> None:
    """Say in the folder why the run ended; where even that fails, the error itself matters more."""
    if isinstance(error, LockLostError):
        return  # the folder is another process's now
    interrupted = isinstance(error, KeyboardInterrupt)
    reason = "interrupted by Ctrl-C" if interrupted else str(error) or type(error).__name__
    with contextlib.suppress(Exception):
        before = folder.read_record() or record
        folder.write_record(replace(before, status="failed", error=reason))


def _result(
    folder: RunFolder, status: Status, history: list[EpochMetrics], verdict: EpochDecision
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
