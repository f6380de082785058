"""Steps, validation and state of one worker.

The global batch is fixed whatever the number of workers, and each worker's gradient is
weighted so that their mean is the gradient of the global batch. What does depend on the
number of workers, unless it is synchronised, is batch norm in training: each worker normalises
by its own share.

Everything random is seeded anew from the run's seed, the epoch, the step and the rank. So a
checkpoint holds no generators: its position is enough to go on as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import DamagedFileError, InputError
from preprocessing.common.progress import progress
from preprocessing.processes import stop_notice
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.data import augmentation
from radiotrain.data.batches import batches
from radiotrain.data.patients import Batch, Part, Patients, load_patients, part_ids
from radiotrain.data.sampler import (
    balanced_order,
    check_batches,
    epoch_order,
    global_batches,
    micro_batches,
    rank_share,
)
from radiotrain.distributed import Worker, autocast_dtype
from radiotrain.networks.fusion import call_network
from radiotrain.runs.checkpoint import (
    Position,
    load_newest_checkpoint,
    read_weights,
    save_checkpoint,
    save_weights,
    weights_digest,
)
from radiotrain.runs.early_stopping import EpochDecision, verdict_of
from radiotrain.runs.epoch_metrics import EpochMetrics, auc_per_target, mean_auc
from radiotrain.runs.predict_run import predict_logits, predictions_table
from radiotrain.runs.run_folder import REMEDY, PredictedBy, RunFolder, run_digest
from radiotrain.seeds import Purpose, seed_for
from radiotrain.split.split import Split, notes_on
from radiotrain.tracking.energy import EnergyMeter
from radiotrain.training.losses import LossWeights, masked_loss, masked_losses
from radiotrain.training.setup import (
    average_weights,
    build_trained_network,
    make_optimizer,
    optimize_network,
)


def learning_rate_factor(
    step: int, *, num_warmup_steps: int, num_steps: int, final_fraction: float
) -> float:
    """Return the factor on the peak learning rate at a step.

    Parameters
    ----------
    step
        Counted from 0 over the whole run.
    num_warmup_steps
        The factor is (step + 1) / num_warmup_steps before this step.
    num_steps
        Steps of the whole run; the last one has `final_fraction`.

    References
    ----------
    Loshchilov & Hutter, SGDR, ICLR 2017 (one period, no restart).
    """
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    span = max(1, num_steps - 1 - num_warmup_steps)
    done = min(1.0, (step - num_warmup_steps) / span)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * done))


# torch on a CPU raises a plain RuntimeError.
_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a device, or the host, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_ALLOCATOR)


def out_of_memory(num_patients: int, device: torch.device) -> InputError:
    """Return the sentence about `num_patients` that were too many to compute at a time."""
    advice = "set speed.activation_checkpointing to true or take a smaller network"
    if num_patients > 2:
        smaller = max(2, num_patients // 2)
        advice = (
            f"set train.micro_batch_size to {smaller} (the global batch stays as it is), give"
            " --auto-batch, or set speed.activation_checkpointing to true"
        )
    return InputError(
        f"{num_patients} patients at a time do not fit into the {_name(device)}'s memory: {advice}"
    )


def _name(device: torch.device) -> str:
    if device.type != "cuda":
        return "machine"
    total = torch.cuda.get_device_properties(device).total_memory
    return f"{torch.cuda.get_device_name(device)} ({total / 1e9:.0f} GB)"


def find_micro_batch(training: Training) -> int:
    """Halve what is computed at a time until a step fits into memory; return its size.

    Nothing is learned from the steps that are tried.
    """
    worker = training.worker
    largest = max(len(step.rows) for step in training.plan(0))
    share = -(-largest // worker.world_size)
    size = min(training.micro_batch_size or share, share)
    while worker.any(not fits(training, size)):
        if size <= 2:
            raise out_of_memory(size, worker.device)
        size = max(2, size // 2)
    training.micro_batch_size = None if size == share else size
    training.check_batches(len(training.patients))
    return size


def fits(training: Training, num_patients: int) -> bool:
    """Tell whether a forward and a backward pass of so many patients fit into memory."""
    network, device, dtype = training.network, training.worker.device, training.dtype
    before = {name: value.clone() for name, value in network.named_buffers()}
    batch = training.patients.batch(np.arange(num_patients), device)
    network.train()
    try:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = call_network(network, batch.images, batch.covariates)
        loss = masked_loss(logits, batch.labels, training.class_weights)
        loss.backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        training.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in network.named_buffers():
                value.copy_(before[name])
    return True


_StepT = TypeVar("_StepT")


class NonFiniteLossError(InputError):
    """The loss, or the gradient, of a step is infinite or no number.

    Attributes
    ----------
    step
        Which one; None where the error has crossed processes.
    """

    def __init__(self, sentence: str, step: Any = None) -> None:
        super().__init__(sentence)
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),)


@dataclass(frozen=True)
class Seen(Generic[_StepT]):
    """A step, and what came of it on this worker.

    Parameters
    ----------
    finite
        bool (B,) on the device: whether each of this worker's patients has a finite loss.
    """

    step: _StepT
    finite: Tensor


class Watch(Generic[_StepT]):
    """Tells the first step whose loss or gradient was not finite.

    On a CPU at once, before the weights take the step. On a GPU one step later: reading a value
    of the step in flight would let the GPU run dry.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._waiting: deque[tuple[Seen[_StepT], Tensor, Any]] = deque()

    def look(self, step: _StepT, values: Tensor, finite: Tensor) -> Seen[_StepT] | None:
        """Take a step's values (any floating tensor); return the first bad step known by now."""
        good = torch.isfinite(values).all()
        event = None
        if self._on_gpu:
            good, event = _fetch(good)
        self._waiting.append((Seen(step, finite), good, event))
        return self._first_bad(leave=1 if self._on_gpu else 0)

    def finish(self) -> Seen[_StepT] | None:
        """Look at what is left, at the end of an epoch."""
        return self._first_bad(leave=0)

    def _first_bad(self, leave: int) -> Seen[_StepT] | None:
        while len(self._waiting) > leave:
            seen, good, event = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            if not bool(good):
                self._waiting.clear()
                return seen
        return None


class SharedFlag:
    """Tells at the same step on all workers whether any of them raised a flag.

    On a CPU at once, on a GPU one step later, as `Watch`.
    """

    def __init__(self, device: torch.device) -> None:
        self._leave = 1 if device.type == "cuda" else 0
        self._waiting: deque[tuple[Tensor, Any]] = deque()

    def look(self, value: Tensor) -> bool:
        """Take a step's sum over all workers; tell whether one of the steps known by now had any."""
        self._waiting.append(_fetch(value) if self._leave else (value, None))
        if len(self._waiting) <= self._leave:
            return False
        known, event = self._waiting.popleft()
        if event is not None:
            event.synchronize()
        return bool(known > 0)


def _fetch(value: Tensor) -> tuple[Tensor, Any]:
    """Begin to copy a value from a GPU; the event says when it is there."""
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    host.copy_(value, non_blocking=True)
    return host, torch.cuda.current_stream(value.device).record_event()


def not_finite(
    step: Step, given: Mapping[str, Any], finite: Tensor, worker: Worker
) -> NonFiniteLossError:
    """Say whose loss was not finite, on all workers together.

    Parameters
    ----------
    given
        What this worker's network was given; see `Training.replay`.
    finite
        bool (B,), whether each of its patients had a finite loss.
    """
    ids = np.array(given["patient_ids"])
    unfit = ~torch.isfinite(given["images"]).flatten(1).all(1).numpy()
    lost = ~finite.cpu().numpy()
    parts = worker.gather((ids[unfit].tolist(), ids[lost].tolist()))
    images, losses = ([name for part in parts for name in part[k]] for k in (0, 1))
    # Batch norm passes one patient's NaN on to all, whose losses then say nothing.
    what, advice = f"the images of patients {_few(images)} are", "look at them and leave them out"
    if not images:
        whose = f" of patients {_few(losses)}" if losses else "'s gradient"
        what = f"the loss{whose} is"
        advice = "lower train.lr, set train.gradient_clip, or set precision to float32"
    where = f"in epoch {step.epoch + 1}, step {step.number + 1}"
    return NonFiniteLossError(f"{what} not finite {where}: {advice}", step)


def _few(names: Sequence[str], largest: int = 8) -> str:
    shown = ", ".join(names[:largest])
    return f"{shown} and {len(names) - largest} more" if len(names) > largest else shown


# Told how many of how many steps of the epoch are done, with how many patients, and the last loss.
OnStep = Callable[[int, int, int, Tensor], None]
# Names the notice to stop that has come, None before one has; see `preprocessing.processes.stop_notice`.
Notice = Callable[[], str | None]


@dataclass(frozen=True)
class Step:
    """One step of an epoch, as all workers see it.

    Parameters
    ----------
    rows
        int64, the global batch: rows of the training patients.
    num_known
        Labels that are there, over all targets.
    """

    epoch: int
    number: int
    rows: NDArray[np.int64]
    num_known: int


@dataclass(frozen=True)
class BestWeights:
    """What ``best.pt`` holds.

    Parameters
    ----------
    digest
        Its checksum.
    """

    epoch: int
    digest: str


class _NoticeCameError(Exception):
    """Leads out of an epoch at a point where a checkpoint can be written."""


class Training:
    """One worker's network, optimiser and patients, and the epochs so far.

    Attributes
    ----------
    notice
        Asked after each step; one that any worker has ends the epoch on all of them at that step.
    is_stopped
        Whether one has.
    """

    def __init__(self, config: RunConfig, worker: Worker, store: Store, split: Split) -> None:
        self.config, self.worker, self.store = config, worker, store
        self.notes = notes_on(split, store, config.split)
        self.run_digest = run_digest(config, split.fingerprint)
        self._best: BestWeights | None = None
        self.history: list[EpochMetrics] = []
        self.num_steps_done = 0
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=worker.device)
        self.micro_batch_size = config.train.micro_batch_size
        self.check_batches(len(part_ids(split, config.fold, "train")))
        torch.manual_seed(seed_for(Purpose.WEIGHTS, config.seed))
        built = build_trained_network(config, store, split)
        self.encoder, self.weights_report = built.encoder, built.weights_report
        self.patients = self._load(split, "train")
        self.validation = self._load(split, "validation")
        self.network = optimize_network(built.network, config, worker)
        self.averaged = average_weights(self.network, config)
        self.wrapped = worker.wrap(self.network)
        if config.speed.compile:
            self.wrapped.compile()
        self.optimizer = make_optimizer(self.network, config, worker.device)
        self.dtype = autocast_dtype(config.precision, worker.device)
        self.loss_weights = LossWeights.of(self.patients.labels, config.train)
        self.class_weights = torch.from_numpy(self.loss_weights.training).to(worker.device)
        self._watch: Watch[Step] = Watch(worker.device)
        self.notice: Notice = lambda: None
        self.is_stopped = False
        self._flag, self._any_noticed = SharedFlag(worker.device), False

    def check_batches(self, num_patients: int) -> None:
        """Refuse batches of which anything would be computed alone."""
        train = self.config.train
        check_batches(num_patients, train.batch_size, self.worker.world_size, self.micro_batch_size)

    def _load(self, split: Split, part: Part) -> Patients:
        ids = part_ids(split, self.config.fold, part)
        shown = progress(f"read {part} patients", len(ids)) if self.worker.is_writer else _silent()
        with shown as advance:
            patients = load_patients(
                self.store,
                split,
                ids,
                self.config.targets,
                rule=self.config.train.normalisation,
                placement=self.config.speed.placement,
                device=self.worker.device,
                advance=advance,
            )
        if self.encoder is None:
            return patients
        return replace(patients, covariates=self.encoder.transform(patients.records))

    @property
    def evaluated(self) -> nn.Module:
        """The network that validates and is kept: the averaged one, if there is one."""
        return self.network if self.averaged is None else self.averaged.module

    @property
    def position(self) -> Position:
        """Where training is."""
        return Position(len(self.history), self.num_steps_done)

    def verdict(self) -> EpochDecision:
        """Decide on the epochs so far."""
        return verdict_of(self.history, self.config)

    def run_epoch(self, on_step: OnStep | None = None) -> NDArray[np.float32] | None:
        """Train one more epoch, validate, append its metrics; return the validation logits.

        An epoch that a checkpoint was written in the middle of goes on from there. One that a notice
        to stop ended gives None: a checkpoint of its middle can be written.
        """
        try:
            return self._whole_epoch(on_step)
        except _NoticeCameError:
            self._check(self._watch.finish())
            self.is_stopped = True
            return None

    def _whole_epoch(self, on_step: OnStep | None) -> NDArray[np.float32]:
        self._stop_if_noticed()
        epoch, start, first = len(self.history), time.perf_counter(), self.num_steps_done
        steps = self.plan(epoch)
        energy = EnergyMeter(self.worker.device)
        self._forget_peak_memory()
        train_loss = self._train_epoch(steps, on_step)
        train_seconds = time.perf_counter() - start
        num_trained = sum(len(step.rows) for step in steps[first:])
        # One worker alone may leave its validation: its steps stay done.
        logits = self.validate(self._stop_if_noticed if self.worker.world_size == 1 else None)
        self.num_steps_done = 0
        self._loss_sum.zero_()
        metrics = self._measure(epoch, train_loss, logits)
        metrics = replace(
            metrics,
            samples_per_s=num_trained / train_seconds,
            seconds=time.perf_counter() - start,
            peak_memory_bytes=self._peak_memory(),
            energy_joules=energy.joules(),
        )
        self.history.append(metrics)
        self.history[-1] = replace(metrics, is_best=self.verdict().is_best)
        return logits

    def _forget_peak_memory(self) -> None:
        if self.worker.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.worker.device)

    def _peak_memory(self) -> int | None:
        if self.worker.device.type != "cuda":
            return None
        return torch.cuda.max_memory_allocated(self.worker.device)

    def plan(self, epoch: int) -> list[Step]:
        """Return the steps of an epoch: the same for any number of workers."""
        config, labels = self.config, self.patients.labels
        if config.train.sampling == "balanced":
            order = balanced_order(config.seed, epoch, labels[:, 0])
        else:
            order = epoch_order(config.seed, epoch, len(self.patients))
        return [
            Step(epoch, number, rows, int(np.sum(labels[rows] != MISSING_LABEL)))
            for number, rows in enumerate(global_batches(order, config.train.batch_size))
        ]

    def _train_epoch(self, steps: Sequence[Step], on_step: OnStep | None) -> float:
        """Return the mean loss over the epoch's labels."""
        self.wrapped.train()
        left = steps[self.num_steps_done :]
        ready, num_patients = self.ready(left), 0
        for step in left:
            self._set_lr(step.epoch * len(steps) + step.number, len(steps))
            loss = self.take_step(step, ready)
            self._loss_sum += loss * step.num_known
            self.num_steps_done += 1
            num_patients += len(step.rows)
            if on_step is not None:
                on_step(self.num_steps_done, len(steps), num_patients, loss)
            self._stop_if_noticed()
        self._check(self._watch.finish())
        return float(self._loss_sum) / max(1, sum(step.num_known for step in steps))

    def _stop_if_noticed(self) -> None:
        stop_notice.check_interrupt()
        if self._any_noticed or (self.worker.world_size == 1 and self.notice() is not None):
            raise _NoticeCameError

    def _sum_over_workers(self, loss: Tensor) -> Tensor:
        """Return a loss summed over all workers, who learn with it whether any has a notice to stop."""
        if self.worker.world_size == 1:
            return loss
        flag = torch.full_like(loss, float(self.notice() is not None))
        total, flags = self.worker.sum_tensor(torch.stack([loss, flag])).unbind()
        self._any_noticed |= self._flag.look(flags)
        return total

    def ready(self, steps: Sequence[Step]) -> Iterator[Batch]:
        """Return what this worker computes at a time, over some steps."""
        groups = [self._share(step)[part] for step in steps for part in self._parts(len(step.rows))]
        ahead = self.config.speed.prefetch_batches
        return batches(self.patients, groups, self.worker.device, ahead)

    def _share(self, step: Step) -> NDArray[np.int64]:
        return rank_share(step.rows, self.worker.rank, self.worker.world_size)

    def _parts(self, num_patients: int) -> list[slice]:
        worker = self.worker
        return micro_batches(num_patients, worker.rank, worker.world_size, self.micro_batch_size)

    def take_step(self, step: Step, ready: Iterator[Batch] | None = None) -> Tensor:
        """Take one step; return the global batch's mean loss, on the device.

        Parameters
        ----------
        ready
            Gives this worker's batches of the step next; by default they are made now.

        Raises
        ------
        NonFiniteLossError
            If this step's loss or gradient is not finite; on a GPU, if an earlier one's was not.
        InputError
            If it does not fit into memory.
        """
        ready = self.ready([step]) if ready is None else ready
        self._seed(step)
        drawn, parts = self._draw(step), self._parts(len(step.rows))
        self.optimizer.zero_grad(set_to_none=True)
        finite, total = [], torch.zeros((), device=self.worker.device)
        for number, part in enumerate(parts):
            batch = next(ready)
            images = self._augmented(batch, drawn, part)
            losses = self._backward(images, batch, step.num_known, number == len(parts) - 1)
            finite.append(torch.isfinite(losses).all(1))
            total += losses.sum() / max(step.num_known, 1)
        total = self._sum_over_workers(total)
        watched = [total]
        if self.config.train.gradient_clip is not None:
            watched.append(
                nn.utils.clip_grad_norm_(self.network.parameters(), self.config.train.gradient_clip)
            )
        self._check(self._watch.look(step, torch.stack(watched), torch.cat(finite)))
        self.optimizer.step()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        return total

    def _seed(self, step: Step) -> None:
        torch.manual_seed(
            seed_for(Purpose.DROPOUT, self.config.seed, step.epoch, step.number, self.worker.rank)
        )

    def _draw(self, step: Step) -> augmentation.Draw | None:
        config, worker = self.config, self.worker
        if not config.augment.enabled:
            return None
        drawn = augmentation.draw(
            config.augment, len(step.rows), seed=config.seed, epoch=step.epoch, step=step.number
        )
        return drawn.share(worker.rank, worker.world_size)

    def _augmented(self, batch: Batch, drawn: augmentation.Draw | None, part: slice) -> Tensor:
        if drawn is None:
            return batch.images
        spacing_mm = self.patients.spacing_mm[torch.from_numpy(batch.rows)]
        return augmentation.apply(batch.images, drawn.rows(part.start, part.stop), spacing_mm)

    def _backward(self, images: Tensor, batch: Batch, num_known: int, is_last: bool) -> Tensor:
        """Add to the gradients; return the losses (B, T). Workers meet at a step's last part."""
        worker, train = self.worker, self.config.train
        alone = nullcontext() if is_last else worker.no_sync(self.wrapped)
        try:
            with alone:
                with torch.autocast(worker.device.type, self.dtype, enabled=self.dtype is not None):
                    logits = call_network(self.wrapped, images, batch.covariates)
                gamma = train.focal_gamma if train.loss == "focal" else 0.0
                losses = masked_losses(logits, batch.labels, self.class_weights, gamma)
                # DDP takes the mean over workers, where the sum of their parts is meant.
                part = losses.sum() * (worker.world_size / max(num_known, 1))
                part.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory(len(images), worker.device) from error
            raise
        return losses.detach()

    def _check(self, bad: Seen[Step] | None) -> None:
        """Raise if a step was not finite: on every worker at once, for all see the same loss."""
        if bad is not None:
            given = self.replay(bad.step)
            raise not_finite(bad.step, given, bad.finite, self.worker)

    def replay(self, step: Step) -> dict[str, Any]:
        """Return what this worker's network was given in a step: images, labels, ids, the draw."""
        rows, drawn = self._share(step), self._draw(step)
        batch = self.patients.batch(rows, self.worker.device)
        images = self._augmented(batch, drawn, slice(0, len(rows)))
        return {
            "epoch": step.epoch,
            "step": step.number,
            "patient_ids": [self.patients.ids[row] for row in rows],
            "images": images.cpu(),
            "labels": batch.labels.cpu(),
            "covariates": batch.covariates.cpu(),
            "draw": None if drawn is None else drawn.to_json(),
        }

    def _set_lr(self, step: int, steps_per_epoch: int) -> None:
        config = self.config.train
        factor = learning_rate_factor(
            step,
            num_warmup_steps=round(config.warmup_epochs * steps_per_epoch),
            num_steps=config.epochs * steps_per_epoch,
            final_fraction=config.final_lr_fraction,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * factor

    def validate(self, before_batch: Callable[[], None] | None = None) -> NDArray[np.float32]:
        """Return logits (N, T) of all validation patients, each computed once, on every worker."""
        worker, size = self.worker, self.worker.world_size
        worker.share_buffers(self.evaluated)
        everyone = np.arange(len(self.validation))
        mine = predict_logits(
            self.evaluated,
            self.validation,
            rank_share(everyone, worker.rank, size),
            self.micro_batch_size or max(1, self.config.train.batch_size // size),
            worker.device,
            self.dtype,
            before_batch or (lambda: None),
        )
        logits = np.empty((len(everyone), mine.shape[1]), dtype=np.float32)
        for rank, part in enumerate(worker.gather(mine)):
            logits[rank::size] = part
        return logits

    def _measure(self, epoch: int, train_loss: float, logits: NDArray[np.float32]) -> EpochMetrics:
        labels = self.validation.labels
        per_target = auc_per_target(labels, logits, self.config.targets)
        loss = math.nan
        if len(labels):
            weights = torch.from_numpy(self.loss_weights.validation)
            loss = float(masked_loss(torch.from_numpy(logits), torch.from_numpy(labels), weights))
        return EpochMetrics(
            epoch=epoch,
            num_epochs=self.config.train.epochs,
            train_loss=train_loss,
            validation_loss=loss,
            validation_auc=mean_auc(labels, logits, per_target),
            validation_auc_per_target=per_target,
            lr=self.optimizer.param_groups[0]["lr"],
            is_best=False,
            samples_per_s=0.0,
            seconds=0.0,
        )

    def save(self, folder: RunFolder) -> None:
        """Write a checkpoint of where training is, between epochs or steps."""
        state: dict[str, Any] = {
            "run": self.run_digest,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [metrics.to_json() for metrics in self.history],
            "num_steps_done": self.num_steps_done,
            "loss_sum": self._loss_sum.cpu(),
        }
        if self.averaged is not None:
            state["averaged"] = self.averaged.state_dict()
        save_checkpoint(folder.checkpoints, self.position, state)

    def resume(self, folder: RunFolder) -> bool:
        """Go back to the newest checkpoint, if there is one.

        Raises
        ------
        InputError
            If it is of another run.
        """
        state = load_newest_checkpoint(folder.checkpoints)
        if state is None:
            return False
        if state.get("run") != self.run_digest:
            raise InputError(
                f"{folder.checkpoints} holds checkpoints of another run: {_remove(folder)}"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        # A run that was made longer has the epochs of one that was so from the start.
        num_epochs = {"num_epochs": self.config.train.epochs}
        self.history = [
            EpochMetrics.from_json(values | num_epochs, folder.checkpoints, REMEDY)
            for values in state["history"]
        ]
        self.num_steps_done = state["num_steps_done"]
        self._loss_sum.copy_(state["loss_sum"])
        return True

    def save_best(self, folder: RunFolder, logits: NDArray[np.float32]) -> None:
        """Write the weights of this epoch, and its validation predictions if there are any."""
        state = {
            "run": self.run_digest,
            "epoch": len(self.history) - 1,
            "network": self.config.network.name,
            "num_phases": self.store.spec.num_phases,
            "crop_shape": list(self.store.spec.crop_shape),
            "targets": list(self.config.targets),
            "covariates": None if self.encoder is None else self.encoder.to_json(),
            "weights": self.evaluated.state_dict(),
        }
        digest = save_weights(folder.best_weights, state)
        self._best = BestWeights(len(self.history) - 1, digest)
        if self.config.fold is not None:
            folder.write_predictions(
                predictions_table(folder.name, self.config, "validation", self.validation, logits),
                PredictedBy(self.run_digest, digest),
            )

    def find_best(self, folder: RunFolder) -> None:
        """Take note of the weights that an earlier process wrote.

        Those of an epoch that a damaged checkpoint makes this run train again are no fault yet.

        Raises
        ------
        DamagedFileError
            If they are damaged, missing, or of another run or earlier epoch than the best.
        """
        url = folder.best_weights
        try:
            content = files.read_bytes(url)
        except FileNotFoundError:
            raise DamagedFileError(f"{url} is missing: {_remove(folder)}") from None
        saved = read_weights(content, url, _remove(folder))
        found = BestWeights(saved.get("epoch", -1), weights_digest(content))
        is_ours = saved.get("run") == self.run_digest
        if not is_ours or self.verdict().best_epoch != found.epoch < len(self.history):
            raise DamagedFileError(
                f"{url} holds weights of another run or epoch: {_remove(folder)}"
            )
        self._best = found

    def check_best(self, folder: RunFolder) -> None:
        """Refuse to call a run finished whose ``best.pt`` is of another epoch than the best.

        Raises
        ------
        DamagedFileError
            If it is: a damaged checkpoint made epochs be trained again, and they came out otherwise.
        """
        if self.weights_of(self.verdict().best_epoch) is None:
            raise DamagedFileError(
                f"{folder.best_weights} holds weights of another epoch than the best, which were lost"
                f" with a damaged checkpoint: {_remove(folder)}"
            )

    def weights_of(self, epoch: int) -> str | None:
        """Return the checksum of ``best.pt`` if it is of an epoch, None otherwise."""
        return self._best.digest if self._best is not None and self._best.epoch == epoch else None


def _remove(folder: RunFolder) -> str:
    return f"remove {folder.checkpoints} and run the same command again, which trains from the beginning"


@contextmanager
def _silent() -> Iterator[Callable[[], None]]:
    yield lambda: None
