"""Early stopping that compares like with like: one ASHA for each group of trials.

An AUC for HER2 says nothing about one for ER, so that a single ranking over all trials would
stop every trial of the harder target. Ray's own scheduler does the halving; here each group
of trials (the trials of one target) gets one of its own.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler


class AshaPerGroup(FIFOScheduler):  # type: ignore[misc]
    """Runs trials in order, and stops each by comparison with its own group only.

    Trials carry their group in ``config["trial"]["group"]`` and report ``epoch`` (counted from 1) and
    ``validation_auc``.

    Parameters
    ----------
    max_epochs
        Epochs of a trial that is never stopped.
    grace_epochs, reduction_factor
        As in `cluster.sweep.config.AshaConfig`.
    """

    def __init__(self, max_epochs: int, grace_epochs: int, reduction_factor: float) -> None:
        super().__init__()
        self._settings = {
            # One more than a trial can reach: its last epoch is its own end, not a stop.
            "max_t": max_epochs + 1,
            "grace_period": min(grace_epochs, max_epochs),
            "reduction_factor": reduction_factor,
        }
        self._groups: dict[str, AsyncHyperBandScheduler] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept whatever metric the search has: groups know theirs."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take a trial into its group."""
        self._group(trial).on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether a trial goes on."""
        return str(self._group(trial).on_trial_result(tune_controller, trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Take note of a trial's last result."""
        self._group(trial).on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Forget a trial that never ran."""
        self._group(trial).on_trial_remove(tune_controller, trial)

    def _group(self, trial: Trial) -> AsyncHyperBandScheduler:
        name = trial.config["trial"]["group"]
        if name not in self._groups:
            self._groups[name] = AsyncHyperBandScheduler(
                time_attr="epoch", metric="validation_auc", mode="max", **self._settings
            )
        return self._groups[name]
