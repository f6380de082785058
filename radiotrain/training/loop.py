"""The training loop: plain PyTorch, for one process or for one worker of a process group."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from preprocessing import files
from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.inputs import describe_inputs, keeps_inputs, write_inputs
from radiotrain.logs import check_show
from radiotrain.runs import RunFolder, RunRecord, Status, new_record
from radiotrain.split import Split, load_split
from radiotrain.training.checkpoint import save_weights
from radiotrain.training.early_stopping import Action, Verdict
from radiotrain.training.memory import find_micro_batch
from radiotrain.training.metrics import EpochMetrics, nan_for_null
from radiotrain.training.shown import Shown
from radiotrain.training.training import Training
from radiotrain.training.watch import NonFiniteLossError
from radiotrain.versions import software_versions

OnEpoch = Callable[[EpochMetrics], None]
Reporter = Callable[[str], None]


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Parameters
    ----------
    status
        ``finished`` (all epochs, or early stopping), ``paused`` (at `until_epoch`) or ``stopped``
        (by whoever compared it with others).
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
    until_epoch: int | None = None,
    on_epoch: OnEpoch | None = None,
    reporter: Reporter = print_line,
) -> RunResult:
    """Train one network, or go on where the run folder's last checkpoint is.

    Parameters
    ----------
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

    Returns
    -------
    The result; of a run that was finished or stopped before, the recorded one.

    Raises
    ------
    InputError
        If the folder holds another run, or the configuration does not fit the store.
    """
    check_show(config.show)
    worker = worker or Worker.single(config.device)
    store = Store.open(config.store)
    split = load_split(config.split, store)
    folder = RunFolder(config.out)
    folder.check_same_run(config, store.fingerprint, split.fingerprint)
    record = folder.read_record()
    if record is not None and is_done(record, until_epoch):
        # Runs of older versions lack it.
        if worker.is_writer and not keeps_inputs(folder.url):
            write_inputs(folder.url, describe_inputs(store, split, config.fold))
        return recorded_result(folder, record)
    # Before anything is written: a configuration that does not fit leaves no folder behind.
    training = Training(config, worker, store, split)
    _fit_into_memory(training, record)
    record = _new_record(training, store, split)
    if worker.is_writer:
        folder.write_config(config)
        folder.write_record(record)
        write_inputs(folder.url, describe_inputs(store, split, config.fold))
    try:
        status = _run(training, folder, record, until_epoch, on_epoch, reporter)
    except NonFiniteLossError as error:
        told = _save_bad_batch(training, folder, error)
        if worker.is_writer:
            _record_failure(folder, record, told)
        raise told from error
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


def is_done(record: RunRecord, until_epoch: int | None = None) -> bool:
    """Tell whether `train` has nothing to do for a run."""
    if record.status in ("finished", "stopped"):
        return True
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
) -> Status:
    """Train until an end is reached; only rank 0 writes."""
    worker = training.worker
    _announce(training, worker, reporter)
    if training.resume(folder):
        _restore_folder(training, folder, reporter)
    with contextlib.ExitStack() as stack:
        shown = (
            stack.enter_context(
                Shown(training, folder, reporter, is_terminal=reporter is print_line)
            )
            if worker.is_writer
            else None
        )
        while not _is_over(training) and not _is_at(training, until_epoch):
            logits = training.run_epoch(shown.on_step if shown else None)
            metrics = training.history[-1]
            if shown:
                training.save(folder)
                _write_epoch(training, folder, record, logits)
                shown.epoch(logits)
            if on_epoch is not None:
                on_epoch(metrics)
        status: Status = "finished" if _is_over(training) else "paused"
        if shown:
            shown.finish()
    if worker.is_writer:
        folder.write_record(_with_epochs(record, training, status))
    return status


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


def _is_over(training: Training) -> bool:
    if not training.history:
        return False
    done = len(training.history) >= training.config.train.epochs
    return done or training.verdict().action is Action.STOP


def _is_at(training: Training, until_epoch: int | None) -> bool:
    return until_epoch is not None and len(training.history) >= until_epoch


def _write_epoch(
    training: Training,
    folder: RunFolder,
    record: RunRecord,
    logits: NDArray[np.float32],
) -> None:
    """Write what an epoch leaves, after its checkpoint: a resume can make all of it again."""
    if training.history[-1].is_best:
        training.save_best(folder, logits)
    folder.write_metrics(training.history)
    folder.write_record(_with_epochs(record, training, "running"))


def _restore_folder(training: Training, folder: RunFolder, reporter: Reporter) -> None:
    """Make the folder agree with the checkpoint that training goes on from."""
    where = f"epoch {len(training.history)}"
    if training.num_steps_done:
        where = f"step {training.num_steps_done} of epoch {len(training.history) + 1}"
    # The run may have died after the checkpoint at an epoch's end and before best.pt.
    ended = training.num_steps_done == 0
    logits = training.validate() if ended and training.history[-1].is_best else None
    if training.worker.is_writer:
        reporter(f"resuming after {where} from {folder.checkpoints}")
        folder.write_metrics(training.history)
        if logits is not None:
            training.save_best(folder, logits)


def _announce(training: Training, worker: Worker, reporter: Reporter) -> None:
    if not worker.is_writer:
        return
    config = training.config
    precision = str(training.dtype or torch.float32).removeprefix("torch.")
    if training.weights_report is not None:
        reporter(training.weights_report)
    validate = "nobody validates"
    if config.fold is not None:
        validate = f"{len(training.validation)} validate (fold {config.fold})"
    at_a_time = f", {training.micro_batch_size} at a time" if training.micro_batch_size else ""
    reporter(
        f"{config.network.name} on {', '.join(config.targets)}: {len(training.patients)} patients"
        f" train and {validate};"
        f" {worker.world_size} × {worker.device.type}, {precision}; batches of"
        f" {config.train.batch_size}{at_a_time}"
    )
    reporter(f"training patients: {training.patients.where}")


def _new_record(training: Training, store: Store, split: Split) -> RunRecord:
    device = training.worker.device
    return replace(
        new_record(training.config, store.fingerprint, split.fingerprint),
        world_size=training.worker.world_size,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        micro_batch_size=training.micro_batch_size,
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
