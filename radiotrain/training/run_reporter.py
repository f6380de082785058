"""Report the progress of a training."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from radiotrain.config.run_config import flatten
from radiotrain.runs.run_folder import RunFolder
from radiotrain.tracking import RunLog
from radiotrain.tracking.pictures import input_gradient
from radiotrain.tracking.progress import StepProgress
from radiotrain.training.trainer import Training

# Validation patients whose inputs and saliency are shown.
_NUM_SHOWN = 3


class RunReporter:
    """What the worker that writes shows of a run, and the place it keeps in long epochs.

    Parameters
    ----------
    reporter
        Takes lines of progress.
    is_terminal
        Whether a bar may be drawn on standard error, if that is a terminal.
    is_leaving
        Whether a machine of the training is about to be taken away; a checkpoint is written after each
        step then.
    """

    def __init__(
        self,
        training: Training,
        folder: RunFolder,
        reporter: Callable[[str], None],
        *,
        is_terminal: bool,
        is_leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        config = training.config
        self._is_leaving = is_leaving
        self._training, self._folder, self._reporter = training, folder, reporter
        self._log = RunLog(
            folder.url,
            folder.name,
            config.logging,
            len(training.history),
            flatten(config.model_dump(mode="json")),
        )
        self._heartbeat = StepProgress(reporter, is_terminal and sys.stderr.isatty())
        self._saved = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._heartbeat.close()
        self._log.close()

    def on_step(self, done: int, num_steps: int, num_patients: int, loss: Tensor) -> None:
        """Say where a long epoch is, and keep its place."""
        training = self._training
        # A GPU would have to finish the step first.
        known = float(loss) if loss.device.type == "cpu" else None
        epoch, num_epochs = len(training.history), training.config.train.epochs
        self._heartbeat.step(epoch, num_epochs, done, num_steps, known, num_patients)
        minutes = (time.monotonic() - self._saved) / 60
        is_due = minutes >= training.config.speed.checkpoint_minutes and done < num_steps
        if is_due or self._is_leaving():
            training.save(self._folder)
            self._saved = time.monotonic()

    def epoch(self, logits: NDArray[np.float32]) -> None:
        """Show an epoch that is written; its checkpoint is the newest."""
        training, metrics = self._training, self._training.history[-1]
        self._saved = time.monotonic()
        validates = len(training.validation) > 0
        self._reporter(metrics.describe(has_validation=validates))
        # Without a validation set there are no curves and no pictures.
        drawn = training.config.targets if validates else ()
        self._log.epoch(metrics, training.validation.labels, logits, drawn)
        if validates and self._log.wants_images(metrics.epoch):
            self._show_images(metrics.epoch)

    def _show_images(self, epoch: int) -> None:
        training = self._training
        patients, device = training.validation, training.worker.device
        rows = np.arange(min(_NUM_SHOWN, len(patients)))
        batch = patients.batch(rows, device)
        saliency = input_gradient(training.evaluated, batch.images, batch.covariates)
        ids = patients.ids[: len(rows)]
        self._log.images(epoch, ids, batch.images.cpu(), saliency.cpu())

    def finish(self) -> None:
        """Show the numbers of the whole run."""
        history = self._training.history
        joules = [metrics.energy_joules for metrics in history]
        known = [value for value in joules if value is not None]
        total = sum(known) if len(known) == len(joules) else None
        self._log.finish(history[self._training.verdict().best_epoch], total)
        if total is not None:
            self._reporter(f"energy: {total / 3.6e6:.3f} kWh")
