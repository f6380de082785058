"""Prometheus metrics of trainings and sweeps.

Ray adds ``ray_`` before every name. Nothing here raises: a training is worth more than what is
shown of it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from contextlib import suppress
from threading import Event, Thread

import ray
from ray.util.metrics import Gauge

from radiotrain.runs.epoch_metrics import EpochMetrics

GAUGES: Mapping[str, str] = {
    "radiotrain_samples_per_second": "Training patients a second, over all workers of a trial",
    "radiotrain_validation_auc": "Validation AUC of the newest epoch, mean over the targets",
    "radiotrain_epoch": "Epochs done",
    "radiotrain_peak_memory_bytes": "Most memory of the device in use during the newest epoch",
    "radiotrain_trials": "Trials of a sweep in each status",
}
TRIAL_STATUSES = ("not begun", "running", "paused", "waiting", "stopped", "finished", "failed")

# A gauge's name and its tags.
_Series = tuple[str, tuple[tuple[str, str], ...]]


class TrialMetrics:
    """The newest epoch of a trial, for as long as the trial trains.

    A trial that ended shows nothing: its lines end within half a minute of `close`, of the death
    of its process, or of this object being forgotten.

    Parameters
    ----------
    trial
        Its name.
    group
        Trials of a group are compared with one another.
    """

    def __init__(self, trial: str, group: str) -> None:
        self._tags = (("trial", trial), ("group", group))
        self._shown = _Shown()

    def epoch(self, metrics: EpochMetrics) -> None:
        """Show an epoch that was just done; what is undefined or was not measured is left out."""
        memory = metrics.peak_memory_bytes
        values = {
            "radiotrain_samples_per_second": metrics.samples_per_s,
            "radiotrain_validation_auc": metrics.validation_auc,
            "radiotrain_epoch": metrics.epoch + 1,
            "radiotrain_peak_memory_bytes": math.nan if memory is None else memory,
        }
        self._shown.show({(name, self._tags): value for name, value in values.items()})

    def close(self) -> None:
        """Show nothing any more."""
        self._shown.close()


class SweepMetrics:
    """How many trials of a sweep are in which status, until `close` or the end of the process."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep
        self._shown = _Shown()

    def update(self, counts: Mapping[str, int]) -> None:
        """Show the number of trials in each of `TRIAL_STATUSES`; those not named have none."""
        every = {**dict.fromkeys(TRIAL_STATUSES, 0), **counts}
        self._shown.show(
            {
                ("radiotrain_trials", (("sweep", self._sweep), ("status", status))): count
                for status, count in every.items()
            }
        )

    def close(self) -> None:
        """Show nothing any more."""
        self._shown.close()


class _Shown:
    """Gauges that are told to Ray again and again, by a thread of their own.

    Ray passes on what a gauge was set to once, and its nodes forget it after two of its intervals
    of reporting, 20 s: an epoch of several minutes would show as a few separate points.
    """

    def __init__(self) -> None:
        self._values: Mapping[_Series, float] = {}
        self._over = Event()
        self._thread: Thread | None = None

    def show(self, values: Mapping[_Series, float]) -> None:
        """Show these instead of what was shown."""
        if self._over.is_set():
            return
        self._values = values
        self.tell()
        with suppress(Exception):
            if self._thread is None:
                # The thread knows this object weakly, or it would be kept for ever.
                arguments = (weakref.ref(self), self._over)
                self._thread = Thread(target=_tell_again, args=arguments, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Tell nothing any more."""
        self._over.set()

    def tell(self) -> None:
        """Set the gauges."""
        with suppress(Exception):
            if not ray.is_initialized():
                return
            for (name, tags), value in self._values.items():
                if math.isfinite(value):
                    gauge = Gauge(name, GAUGES[name], tag_keys=tuple(key for key, _ in tags))
                    gauge.set(float(value), tags=dict(tags))


def _tell_again(shown: weakref.ref[_Shown], over: Event) -> None:
    interval = _seconds_between_tellings()
    while not over.wait(interval) and _tell_if_there(shown()):
        pass


def _tell_if_there(shown: _Shown | None) -> bool:
    if shown is None:
        return False
    shown.tell()
    return True


def _seconds_between_tellings() -> float:
    """Return half of Ray's own interval of reporting, which may be set to another than 10 s."""
    with suppress(Exception):
        return max(float(ray._config.metrics_report_interval_ms()), 1000.0) / 2000
    return 5.0
