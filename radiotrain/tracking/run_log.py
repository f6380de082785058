"""Send a run's numbers and pictures to all trackers.

Axis legend: N validation patients, T targets, B patients shown, P phases, R rows, C columns,
S slices.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from radiotrain.config.run_config import LoggingConfig
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.tracking.mlflow import MlflowLog, check_mlflow
from radiotrain.tracking.tensorboard import TensorBoardLog
from radiotrain.tracking.tracker import Tracker, epoch_scalars, run_scalars

if TYPE_CHECKING:
    from torch import Tensor


def check_show(show: LoggingConfig) -> None:
    """Raise an `InputError` if what is to be shown cannot be, before a run is begun."""
    if show.mlflow is not None:
        check_mlflow()


class RunLog:
    """Tells the trackers of a run. No failure of theirs ends it: it is said once, and tried anew.

    Parameters
    ----------
    run_url, run_name
        The run folder, and how the run is called.
    show
        Which trackers there are, and how often pictures are made.
    first_epoch
        Where the run begins or goes on.
    parameters
        The configuration, flattened to dotted keys.

    Raises
    ------
    InputError
        If MLflow is asked for and not installed.
    """

    def __init__(
        self,
        run_url: str,
        run_name: str,
        show: LoggingConfig,
        first_epoch: int,
        parameters: Mapping[str, object],
    ) -> None:
        self._show, self._first_epoch = show, first_epoch
        self._trackers: list[Tracker] = []
        self._warned: set[str] = set()
        if show.tensorboard:
            self._trackers.append(TensorBoardLog(run_url, first_epoch, parameters))
        if show.mlflow is not None:
            check_mlflow()
            self._trackers.append(MlflowLog(run_url, run_name, show.mlflow, parameters))

    def epoch(
        self,
        metrics: EpochMetrics,
        labels: NDArray[np.int8],
        logits: NDArray[np.float32],
        targets: Sequence[str],
    ) -> None:
        """Show an epoch's numbers and ROC curves.

        Parameters
        ----------
        labels
            int8 (N, T) of 0, 1 or -1 (missing), of the validation patients.
        logits
            float32 (N, T).
        """
        if not self._trackers:
            return
        values = epoch_scalars(metrics)
        pictures = self._roc_pictures(metrics.epoch, labels, logits, targets)

        def tell(tracker: Tracker) -> None:
            tracker.scalars(metrics.epoch, values)
            for tag, pixels in pictures.items():
                tracker.picture(tag, metrics.epoch, pixels)
            tracker.flush()

        self._each(tell)

    def wants_images(self, epoch: int) -> bool:
        """Tell whether `images` is wanted after an epoch: after the first, and every so many."""
        every = self._show.image_epochs
        if every == 0 or not any(tracker.takes_patients for tracker in self._trackers):
            return False
        return epoch == 0 or (epoch + 1) % every == 0

    def images(
        self, epoch: int, patient_ids: Sequence[str], images: Tensor, saliency: Tensor
    ) -> None:
        """Show a few validation inputs, and what the network looked at.

        Parameters
        ----------
        images
            float32 (B, P, R, C, S) on the CPU.
        saliency
            float32 (B, R, C, S) on the CPU, not negative.
        """
        from radiotrain.tracking.pictures import saliency_picture

        pixels = saliency_picture(patient_ids, images.numpy(), saliency.numpy())

        def tell(tracker: Tracker) -> None:
            if tracker.takes_patients:
                tracker.picture("inputs/saliency", epoch, pixels)
                tracker.flush()

        self._each(tell)

    def finish(self, metrics_of_best_epoch: EpochMetrics, energy_joules: float | None) -> None:
        """Show the numbers of the whole run, by which runs are compared."""
        values = run_scalars(metrics_of_best_epoch, energy_joules)
        self._each(lambda tracker: tracker.finish(metrics_of_best_epoch.epoch, values))

    def close(self) -> None:
        """Let go of files and connections."""
        self._each(lambda tracker: tracker.close())

    def _roc_pictures(
        self,
        epoch: int,
        labels: NDArray[np.int8],
        logits: NDArray[np.float32],
        targets: Sequence[str],
    ) -> dict[str, NDArray[np.uint8]]:
        from radiotrain.tracking.pictures import roc_picture

        return {
            f"roc/{target}": roc_picture(target, epoch, labels[:, t], logits[:, t])
            for t, target in enumerate(targets)
        }

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for tracker in self._trackers:
            try:
                tell(tracker)
            except Exception as error:  # noqa: BLE001 - a run is worth more than what is shown of it
                self._warn(tracker.name, error)

    def _warn(self, name: str, error: Exception) -> None:
        if name in self._warned:
            return
        self._warned.add(name)
        said = " ".join(str(error).split())[:300] or type(error).__name__
        warnings.warn(
            f"{name} could not be written ({said}): training goes on, and the next epoch tries again",
            stacklevel=4,
        )
