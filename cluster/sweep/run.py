"""Run or resume a sweep under Ray Tune.

Each trial trains in its own actor by the plain loop, or on several workers under Ray Train. What it
did is in its run folders, and Ray's own state is thrown away: trials that ended are not begun
again, and are compared with the others all the same.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial

from cluster.notice import tell_workers
from cluster.session import ray_session
from cluster.sweep.config import SweepConfig, example_trials
from cluster.sweep.folder import (
    SweepFolder,
    TrialSummary,
    ladder_of,
    read_states,
    summaries,
)
from cluster.sweep.membership import (
    Membership,
    check_same_sweep,
    find_members,
    suggested_per_group,
)
from cluster.sweep.optuna_search import NextTrial
from cluster.sweep.resources import check_room, max_running, trial_resources, worker_resources
from cluster.sweep.reuse import describe_reuse
from cluster.sweep.successive_halving import SuccessiveHalving, name_of
from cluster.sweep.sweep_state import SweepState
from cluster.sweep.trial import train_trial
from preprocessing.common.progress import progress as show_progress
from preprocessing.processes import stop_notice
from preprocessing.processes.stop_notice import Stopped
from preprocessing.storage.folder_lock import exclusive
from preprocessing.store import Store
from radiotrain.runs.locations import open_inputs
from radiotrain.split.split import Split
from radiotrain.training.loop import print_line
from radiotrain.training.validate import check_fits


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


_TUNE = {
    # What is worth keeping is in the run folders.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # What ended a trial is said in a line, and in its run folder.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Undefined AUCs are reported as they are.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
}
# How long trials may take to write their checkpoints after a notice to stop.
_NOTICE_GRACE_S = 25.0
# So many trials ask for a place at a time where they are known beforehand: a cluster that grows by
# itself grows by what it is asked for.
_MAX_PENDING = "16"


def run_sweep(sweep: SweepConfig, progress: Callable[[str, int], Any]) -> tuple[TrialSummary, ...]:
    """Train all trials of a sweep that have not ended yet.

    Parameters
    ----------
    progress
        Called with a description and the number of trials; see `preprocessing.common.progress`.

    Returns
    -------
    Every trial, those of earlier runs of the same sweep included.

    Raises
    ------
    InputError
        If a trial's configuration does not fit, or another process runs this sweep; no trial is
        started then.
    Stopped
        If a notice to stop came: trials are paused at checkpoints.
    """
    with exclusive(sweep.out, "sweep", private=True):
        return _run_alone(sweep, progress)


def _run_alone(sweep: SweepConfig, progress: Callable[[str, int], Any]) -> tuple[TrialSummary, ...]:
    inputs = open_inputs(sweep.store, sweep.split)
    members = check_members(sweep, inputs, progress)
    plans, folder = members.trials, SweepFolder(sweep.out)
    found = summaries(sweep, read_states(plans))
    for line in describe_reuse(sweep, found, members.left_out):
        print_line(line)
    num_trials = max(len(found), len(sweep.targets) * suggested_per_group(sweep))
    if len(found) == num_trials and all(summary.has_ended for summary in found):
        folder.write_sweep(sweep)
        # A driver that was interrupted just before its last word has not written down who stopped.
        return SweepState(sweep, plans).summaries
    with ray_session():
        each = worker_resources(sweep, plans, inputs[0])
        check_room(sweep.resources.workers, each)
        # Not before all that can be refused has been: the folder's configuration tells its trials.
        folder.write_sweep(sweep)
        with progress("sweep", num_trials) as advance:
            sweep_state = SweepState(sweep, plans, advance)
            _tune(sweep_state, each)
    return sweep_state.summaries


def check_members(
    sweep: SweepConfig,
    inputs: tuple[Store, Split] | None = None,
    progress: Callable[[str, int], Any] = show_progress,
) -> Membership:
    """Return all trials that are known so far, each of which fits the store and the split.

    Parameters
    ----------
    inputs
        Store and split, where they are open already: they are read once, whatever the number of trials.
    progress
        See `preprocessing.common.progress`.

    Raises
    ------
    InputError
        If one does not, or one that may be suggested later; if trials were trained with settings of
        all trials that are others now.
    """
    folder = SweepFolder(sweep.out)
    known = folder.read_known(sweep)
    if known and folder.exists:
        check_same_sweep(folder.read_sweep(), sweep, known)
    members = find_members(sweep, known)
    inputs = inputs or open_inputs(sweep.store, sweep.split)
    chosen = members.trials or example_trials(sweep)
    with progress("check trials", len(chosen)) as advance:
        for plan in chosen:
            for run in plan.runs:
                check_fits(run, sweep.resources.workers, inputs)
            advance()
    return members


def _tune(sweep_state: SweepState, each: Mapping[str, float]) -> None:
    sweep = sweep_state.sweep
    workers = sweep.resources.workers
    trainable = partial(
        train_trial,
        schedule=ladder_of(sweep),
        workers=workers,
        resources=each,
        max_quiet_minutes=sweep.max_quiet_minutes,
    )
    for name, value in _TUNE.items():
        os.environ.setdefault(name, value)
    if sweep.search_algorithm == "random":
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = _MAX_PENDING
    else:
        # A suggestion that is made later knows more.
        os.environ.pop("TUNE_MAX_PENDING_TRIALS_PG", None)
    with (
        tempfile.TemporaryDirectory(prefix="radiotrain-tune-") as scratch,
        stop_notice.put_off(tell=tell_workers, grace_s=_NOTICE_GRACE_S),
    ):
        tune.Tuner(
            tune.with_resources(trainable, trial_resources(workers, each)),
            tune_config=tune.TuneConfig(
                scheduler=SuccessiveHalving(sweep_state),
                search_alg=NextTrial(sweep_state, max_running(workers, each)),
                # Until there is nothing more to try.
                num_samples=-1,
                # The second trial on a slot starts without loading Python, torch and MONAI again.
                reuse_actors=True,
                trial_name_creator=name_of,
                trial_dirname_creator=name_of,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=sweep.max_failures),
                callbacks=[EndAtNotice()],
                verbose=0,
            ),
        ).fit()
