"""One worker's share of a training: steps, validation, and its state in checkpoints.

The global batch is fixed whatever the number of workers, and each worker's gradient is
weighted so that their mean is the gradient of the global batch. What does depend on the
number of workers is batch norm in training: each worker normalises by its own share.

Everything random is seeded anew from the run's seed and the epoch (and step, or rank), so a
checkpoint at the end of an epoch is all that is needed to go on as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from preprocessing.errors import InputError
from preprocessing.progress import progress
from preprocessing.store import Store
from radiotrain.augment import transforms as augment
from radiotrain.config import RunConfig
from radiotrain.data.order import check_batches, epoch_order, global_batches, rank_share
from radiotrain.data.patients import Part, Patients, load_patients, part_ids
from radiotrain.distributed import Worker, autocast_dtype
from radiotrain.networks.registry import build_network
from radiotrain.predict import predict_logits, predictions_table
from radiotrain.runs import RunFolder
from radiotrain.seeds import Purpose, seed_for
from radiotrain.split import Split
from radiotrain.training.checkpoint import load_newest_checkpoint, save_checkpoint, save_weights
from radiotrain.training.early_stopping import Verdict, decide
from radiotrain.training.losses import masked_bce, positive_weights
from radiotrain.training.metrics import EpochMetrics, auc_per_target, mean_defined
from radiotrain.training.schedule import learning_rate_factor

# Told how many of how many steps of the epoch are done.
OnStep = Callable[[int, int], None]


class Training:
    """One worker's network, optimiser and patients, and the epochs so far."""

    def __init__(self, config: RunConfig, worker: Worker, store: Store, split: Split) -> None:
        self.config, self.worker, self.store = config, worker, store
        self.history: list[EpochMetrics] = []
        self.patients = self._load(split, "train")
        self.validation = self._load(split, "validation")
        check_batches(len(self.patients), config.train.batch_size, worker.world_size)
        torch.manual_seed(seed_for(Purpose.WEIGHTS, config.seed))
        self.network = build_network(
            config.network.name,
            store.spec.num_phases,
            len(config.targets),
            store.spec.crop_shape,
        ).to(worker.device)
        self.wrapped = worker.wrap(self.network)
        self.optimizer = _adamw(self.network, config, worker.device)
        self.dtype = autocast_dtype(config.precision, worker.device)
        weights = positive_weights(self.patients.labels)
        if not config.train.class_weights:
            weights = np.ones_like(weights)
        self.positive_weight = torch.from_numpy(weights).to(worker.device)

    def _load(self, split: Split, part: Part) -> Patients:
        ids = part_ids(split, self.config.fold, part)
        shown = progress(f"read {part} patients", len(ids)) if self.worker.is_writer else _silent()
        with shown as advance:
            patients = load_patients(self.store, split, ids, self.config.targets, advance=advance)
        return patients.to(self.worker.device)

    def verdict(self) -> Verdict:
        """Decide on the epochs so far."""
        stopping = self.config.early_stopping
        aucs = [metrics.validation_auc for metrics in self.history]
        losses = [metrics.validation_loss for metrics in self.history]
        return decide(aucs, losses, stopping.patience, stopping.min_delta)

    def run_epoch(self, on_step: OnStep | None = None) -> NDArray[np.float32]:
        """Train one more epoch, validate, append its metrics; return the validation logits."""
        epoch, start = len(self.history), time.perf_counter()
        train_loss = self._train_epoch(epoch, on_step)
        train_seconds = time.perf_counter() - start
        logits = self.validate()
        metrics = self._measure(epoch, train_loss, logits)
        metrics = replace(
            metrics,
            samples_per_s=len(self.patients) / train_seconds,
            seconds=time.perf_counter() - start,
        )
        self.history.append(metrics)
        self.history[-1] = replace(metrics, is_best=self.verdict().is_best)
        return logits

    def _train_epoch(self, epoch: int, on_step: OnStep | None) -> float:
        """Return the mean loss over the epoch's labels."""
        config, worker = self.config, self.worker
        torch.manual_seed(seed_for(Purpose.DROPOUT, config.seed, epoch, worker.rank))
        self.wrapped.train()
        order = epoch_order(config.seed, epoch, len(self.patients))
        batches = global_batches(order, config.train.batch_size)
        total = torch.zeros((), device=worker.device)
        for step, batch in enumerate(batches):
            self._set_lr(epoch * len(batches) + step, len(batches))
            num_known = int(np.sum(self.patients.labels[batch] >= 0))
            total += self.take_step(epoch, step, batch, num_known) * num_known
            if on_step is not None:
                on_step(step + 1, len(batches))
        loss = worker.sum(total) / max(1, int(np.sum(self.patients.labels >= 0)))
        if not np.isfinite(loss):
            raise InputError(
                f"the loss is {loss} in epoch {epoch + 1}: lower train.lr, set"
                " train.gradient_clip, or set precision to float32"
            )
        return loss

    def take_step(
        self, epoch: int, step: int, batch: NDArray[np.int64], num_known: int
    ) -> torch.Tensor:
        """Take one step; return this worker's part of the global batch's mean loss."""
        config, worker = self.config, self.worker
        rows = rank_share(batch, worker.rank, worker.world_size)
        images, labels = self.patients.batch(rows, worker.device)
        if config.augment.enabled:
            drawn = augment.draw(
                config.augment, len(batch), seed=config.seed, epoch=epoch, step=step
            )
            images = augment.apply(images, drawn.share(worker.rank, worker.world_size))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(worker.device.type, self.dtype, enabled=self.dtype is not None):
            logits = self.wrapped(images)
        loss = masked_bce(logits, labels, self.positive_weight, num_known)
        # DDP takes the mean over workers, where the sum of their parts is meant.
        (loss * worker.world_size).backward()  # type: ignore[no-untyped-call]
        if config.train.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.train.gradient_clip)
        self.optimizer.step()
        return loss.detach()

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

    def validate(self) -> NDArray[np.float32]:
        """Return logits (N, T) of all validation patients, each computed once, on every worker."""
        worker, size = self.worker, self.worker.world_size
        worker.share_buffers(self.network)
        everyone = np.arange(len(self.validation))
        mine = predict_logits(
            self.network,
            self.validation,
            rank_share(everyone, worker.rank, size),
            max(1, self.config.train.batch_size // size),
            worker.device,
            self.dtype,
        )
        logits = np.empty((len(everyone), mine.shape[1]), dtype=np.float32)
        for rank, part in enumerate(worker.gather(mine)):
            logits[rank::size] = part
        return logits

    def _measure(self, epoch: int, train_loss: float, logits: NDArray[np.float32]) -> EpochMetrics:
        labels = self.validation.labels
        per_target = auc_per_target(labels, logits, self.config.targets)
        loss = masked_bce(
            torch.from_numpy(logits), torch.from_numpy(labels), self.positive_weight.cpu()
        )
        return EpochMetrics(
            epoch=epoch,
            num_epochs=self.config.train.epochs,
            train_loss=train_loss,
            validation_loss=float(loss),
            validation_auc=mean_defined(list(per_target.values())),
            validation_auc_per_target=per_target,
            lr=self.optimizer.param_groups[0]["lr"],
            is_best=False,
            samples_per_s=0.0,
            seconds=0.0,
        )

    def save(self, folder: RunFolder) -> None:
        """Write the checkpoint of the last epoch."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [metrics.to_json() for metrics in self.history],
        }
        save_checkpoint(folder.checkpoints, len(self.history) - 1, state)

    def resume(self, folder: RunFolder) -> bool:
        """Go back to the newest checkpoint, if there is one."""
        state = load_newest_checkpoint(folder.checkpoints)
        if state is None:
            return False
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [EpochMetrics.from_json(values) for values in state["history"]]
        return True

    def save_best(self, folder: RunFolder, logits: NDArray[np.float32]) -> None:
        """Write the weights of this epoch, and its validation predictions."""
        state = {
            "epoch": len(self.history) - 1,
            "network": self.config.network.name,
            "num_phases": self.store.spec.num_phases,
            "crop_shape": list(self.store.spec.crop_shape),
            "targets": list(self.config.targets),
            "weights": self.network.state_dict(),
        }
        save_weights(folder.best_weights, state)
        folder.write_predictions(
            predictions_table(folder.name, self.config, "validation", self.validation, logits)
        )


@contextmanager
def _silent() -> Iterator[Callable[[], None]]:
    yield lambda: None


def _adamw(network: nn.Module, config: RunConfig, device: torch.device) -> torch.optim.AdamW:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": config.train.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.train.lr, fused=device.type == "cuda")
