"""A sweep under Ray Tune. The run folders are the truth: running again does what is left.

Each trial trains in its own actor by the plain loop. What a trial did is in its run folder, and
Ray's own state is thrown away: a trial that ended is not trained again but reports its recorded
epochs, so that the others are compared with it as in a sweep that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from cluster.session import has_gpus, ray_session
from cluster.sweep.asha import AshaPerGroup
from cluster.sweep.config import SweepConfig, TrialPlan, check_sweep, plan_trials
from cluster.train import check_fits
from preprocessing import files
from preprocessing.errors import InputError
from radiotrain.config import RunConfig, dump_config
from radiotrain.runs import RunFolder, RunRecord, Status
from radiotrain.training.loop import train
from radiotrain.training.metrics import EpochMetrics


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended, read from its run folder; `record` is None where it never began."""

    plan: TrialPlan
    record: RunRecord | None

    @property
    def succeeded(self) -> bool:
        """Whether it trained to an end of its own or was stopped in favour of others."""
        return self.record is not None and self.record.status in ("finished", "stopped")

    @property
    def score(self) -> float:
        """Validation AUC of its best epoch; below every AUC where it is not defined."""
        auc = self.record.validation_auc if self.record else None
        return auc if auc is not None else -1.0


def run_sweep(sweep: SweepConfig, progress: Callable[[str, int], Any]) -> tuple[TrialOutcome, ...]:
    """Train all trials of a sweep that have not ended yet.

    Parameters
    ----------
    progress
        Called with a description and the number of trials; see `preprocessing.progress`.

    Returns
    -------
    Every trial, those of earlier runs of the same sweep included.

    Raises
    ------
    InputError
        If a trial's configuration does not fit; none is started then.
    """
    plans = check_plans(sweep)
    files.write_text(files.join(sweep.out, "sweep.yaml"), dump_config(sweep))
    outcomes = read_outcomes(plans)
    if not all(outcome.succeeded for outcome in outcomes):
        with ray_session():
            gpus = sweep.resources.gpus
            gpus = gpus if gpus is not None else float(has_gpus() and sweep.device != "cpu")
            _check_resources(sweep.resources.cpus, gpus)
            with progress("sweep", len(plans)) as advance:
                _tune(sweep, plans, {"CPU": sweep.resources.cpus, "GPU": gpus}, advance)
        outcomes = read_outcomes(plans)
    return outcomes


def check_plans(sweep: SweepConfig) -> tuple[TrialPlan, ...]:
    """Return all trials of a sweep, each of which fits the store and the split.

    Raises
    ------
    InputError
        If one does not.
    """
    plans = plan_trials(sweep)
    check_sweep(plans)
    for plan in plans:
        check_fits(plan.run, workers=1)
    return plans


def read_outcomes(plans: Sequence[TrialPlan]) -> tuple[TrialOutcome, ...]:
    """Read from storage how each trial ended."""
    return tuple(TrialOutcome(plan, RunFolder(plan.run.out).read_record()) for plan in plans)


def best_of_each_group(outcomes: Sequence[TrialOutcome]) -> tuple[TrialOutcome, ...]:
    """Return the trial with the best validation AUC of each group, groups in their first order."""
    best: dict[str, TrialOutcome] = {}
    for outcome in outcomes:
        group = outcome.plan.group
        if outcome.succeeded and (group not in best or outcome.score > best[group].score):
            best[group] = outcome
    return tuple(best.values())


def status_after_stop(num_epochs_done: int, num_epochs: int) -> Status:
    """Return what a trial that was ended from outside is: one that got to its end is finished."""
    return "finished" if num_epochs_done >= num_epochs else "stopped"


def _tune(
    sweep: SweepConfig,
    plans: Sequence[TrialPlan],
    resources: Mapping[str, float],
    advance: Callable[[], None],
) -> None:
    scheduler = None
    if sweep.asha.enabled:
        scheduler = AshaPerGroup(
            sweep.train.epochs, sweep.asha.grace_epochs, sweep.asha.reduction_factor
        )
    trials = [
        {"name": p.name, "group": p.group, "run": p.run.model_dump(mode="json")} for p in plans
    ]
    tuner = tune.Tuner(
        tune.with_resources(_train_trial, dict(resources)),
        param_space={"trial": tune.grid_search(trials)},
        tune_config=tune.TuneConfig(
            metric="validation_auc",
            mode="max",
            scheduler=scheduler,
            # The second trial on a slot starts without loading Python, torch and MONAI again.
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["trial"]["name"],
            trial_dirname_creator=lambda trial: trial.config["trial"]["name"],
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=sweep.out,
            failure_config=tune.FailureConfig(max_failures=sweep.max_failures),
            callbacks=[_KeepRecords(advance)],
            verbose=0,
        ),
    )
    tuner.fit()


def _train_trial(config: Mapping[str, Any]) -> None:
    """Train one trial, in its actor."""
    run = RunConfig.model_validate(config["trial"]["run"])
    told_to_stop = False

    def report(metrics: EpochMetrics) -> bool:
        """Tell Tune about an epoch; return whether the trial is to stop."""
        nonlocal told_to_stop
        try:
            tune.report({"epoch": metrics.epoch + 1, "validation_auc": metrics.validation_auc})
        except SystemExit:
            # So Tune ends the thread of a stopped trial; the loop ends it in an orderly way.
            told_to_stop = True
        return told_to_stop

    if not any(report(metrics) for metrics in RunFolder(run.out).read_metrics()):
        train(run, on_epoch=report)
    if told_to_stop:
        # A function that returned would wait for Tune to take its last result, for ever, and the
        # next trial could not have its actor.
        raise SystemExit(0)


class _KeepRecords(tune.Callback):  # type: ignore[misc]
    """In the driver: writes down which trials were stopped, also where their actors could not."""

    def __init__(self, advance: Callable[[], None]) -> None:
        self._advance = advance

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Mark the run of a trial that the scheduler ended."""
        run = RunConfig.model_validate(trial.config["trial"]["run"])
        folder = RunFolder(run.out)
        record = folder.read_record()
        if record is not None and record.status in ("running", "failed"):
            status = status_after_stop(record.num_epochs, run.train.epochs)
            folder.write_record(replace(record, status=status, error=None))
        self._advance()

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Count a trial that broke for the last time."""
        self._advance()


def _check_resources(cpus: float, gpus: float) -> None:
    """Refuse trials that no node could ever hold: Tune would wait for ever."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    if not any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
        largest = max((n.get("CPU", 0), n.get("GPU", 0)) for n in nodes)
        raise InputError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, the largest node has"
            f" {largest[0]:g} and {largest[1]:g}: lower resources in the sweep's configuration"
        )
