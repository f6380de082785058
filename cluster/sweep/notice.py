"""Ends a sweep after a notice to stop, as soon as its trials have written where they are."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from preprocessing.processes import stop_notice
from preprocessing.processes.stop_notice import Stopped


class EndAtNotice(Callback):  # type: ignore[misc]
    """Leaves Tune's loop by `Stopped` when no trial runs any more.

    Trials look for the notice themselves (`cluster.notice`), pause, and report it.
    """

    def setup(self, *arguments: Any, **info: Any) -> None:
        """Take SIGUSR1 back, at which Tune would end as if all were done."""
        stop_notice.hear_again()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look whether there is anything left to wait for."""
        notice = stop_notice.came()
        if notice is not None and not any(trial.status == Trial.RUNNING for trial in trials):
            raise Stopped(notice, "paused")
