"""TensorBoard events of a run."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from preprocessing import files
from radiotrain.training.metrics import EpochMetrics


class TensorBoardLog:
    """Writes epochs as TensorBoard events; does nothing where tensorboard is not installed.

    Events for an object store are gathered in a temporary folder and put there whole after
    each epoch, because it cannot append.
    """

    def __init__(self, run_url: str, first_epoch: int = 0) -> None:
        self._url = files.join(run_url, "tensorboard")
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._folder = self._url
        if not files.is_local(run_url):
            self._temporary = tempfile.TemporaryDirectory(prefix="radiotrain-events-")
            self._folder = self._temporary.name
        self._writer = self._open(first_epoch)

    def _open(self, first_epoch: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            warnings.warn(
                "no TensorBoard events are written: tensorboard is not installed", stacklevel=3
            )
            return None
        # Steps from purge_step on, written before an interruption, are then not shown.
        return SummaryWriter(log_dir=self._folder, purge_step=first_epoch)

    def write(self, metrics: EpochMetrics) -> None:
        """Add one epoch."""
        if self._writer is None:
            return
        for tag, value in _scalars(metrics):
            self._writer.add_scalar(tag, value, metrics.epoch)
        self._writer.flush()
        self._upload()

    def close(self) -> None:
        """Flush, and forget temporary files."""
        if self._writer is not None:
            self._writer.close()
            self._upload()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _upload(self) -> None:
        if self._temporary is not None:
            for path in Path(self._temporary.name).iterdir():
                files.write_bytes(files.join(self._url, path.name), path.read_bytes())


def _scalars(metrics: EpochMetrics) -> Iterable[tuple[str, float]]:
    yield "loss/train", metrics.train_loss
    yield "loss/validation", metrics.validation_loss
    yield "lr", metrics.lr
    yield "speed/patients_per_s", metrics.samples_per_s
    for target, value in metrics.validation_auc_per_target.items():
        yield f"validation_auc/{target}", value
