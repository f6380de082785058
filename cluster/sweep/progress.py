"""Progress of a sweep, its score estimates and their optimism.

`read_progress` is what ``radiotrain status`` shows; the fields below are the keys of its ``--json``.

The best of many scores is in part the luckiest, and so is the best of many epochs. Where all trials are
equally good, the winner's score exceeds its true AUC by the standard error of a score times the expected
largest of as many normal variables, less what the scores share: they are measured on the same
patients, who are easy or hard for all of them. How much they share was measured on simulated sweeps
(``benchmarks/learning/epochs.py``): more where the networks learn something, less where they do not.

References
----------
Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC)
curve", Radiology 1982 (standard error). Blom, "Statistical estimates and transformed beta-variables",
1958 (largest of normal variables).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import norm

from cluster.sweep.config import SweepConfig, group_of
from cluster.sweep.folder import (
    SweepFolder,
    TrialSummary,
    ladder_of,
    read_states,
    summaries,
)
from cluster.sweep.halving import Action, HalvingSchedule, num_places
from cluster.sweep.membership import suggested_per_group
from preprocessing.common.errors import MissingPathError
from preprocessing.storage import files
from radiotrain.config.run_config import Choose
from radiotrain.evaluation.patients import patient_scores
from radiotrain.runs.early_stopping import EpochChoice, epoch_choice
from radiotrain.runs.run_folder import PredictedBy, RunFolder
from radiotrain.statistics.auc import auc, delong_variance

# Standard deviation of what scores do not share, in standard errors: between trials, and between the
# epochs of one as its rule sees them.
BETWEEN_TRIALS = 0.7
BETWEEN_EPOCHS: Mapping[Choose, float] = {
    "last": 0.0,
    "smoothed_loss": 0.1,
    "smoothed_auc": 0.15,
    "best_auc": 0.3,
}


def expected_optimism(
    score: float,
    num_trials: int,
    folds: Sequence[tuple[int, int]],
    choice: EpochChoice,
    num_epochs: int,
) -> float | None:
    """Return by how much the best trial's score is expected to exceed its AUC on new patients.

    Parameters
    ----------
    score
        Its mean AUC over folds.
    num_trials
        That were compared.
    folds
        Positive and negative validation patients of each fold.
    choice, num_epochs
        How each fold's epoch was chosen, among how many.

    Returns
    -------
    None where a fold has one class only.
    """
    if not folds or any(min(fold) < 1 for fold in folds):
        return None
    by_trials = BETWEEN_TRIALS * expected_largest(num_trials)
    by_epochs = BETWEEN_EPOCHS[choice.choose] * expected_largest(choice.num_looks(num_epochs))

    def optimism_at(true: float) -> float:
        errors = [standard_error(true, *fold) for fold in folds]
        of_mean = math.sqrt(sum(error**2 for error in errors)) / len(folds)
        # Each fold has an epoch of its own, so that their luck does not average out.
        return of_mean * by_trials + sum(errors) / len(folds) * by_epochs

    # The least AUC that leads to such a score: that of a score of 1 has a standard error, too.
    for true in np.linspace(0.5, 1, 501):
        optimism = optimism_at(float(true))
        if true + optimism >= score:
            return optimism
    return 0.0


def expected_largest(num: int) -> float:
    """Return the expected largest of so many standard normal variables, to within 0.02."""
    return float(norm.ppf((num - 0.375) / (num + 0.25))) if num > 1 else 0.0


def standard_error(auc: float, num_positive: int, num_negative: int) -> float:
    """Return the standard error of an AUC, of which the true value is known."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc)
    variance += (num_positive - 1) * (first - auc**2) + (num_negative - 1) * (second - auc**2)
    return math.sqrt(max(0.0, variance) / (num_positive * num_negative))


def describe_optimism(score: float, optimism: float, num_trials: int) -> str:
    """Say in a sentence how much of the best trial's score is luck."""
    expected = score - optimism
    chosen = f"the best of {num_trials} trials" if num_trials > 1 else "the best of its epochs"
    text = (
        f"Its score of {score:.2f}, {chosen}, is expected to be about {optimism:.2f} too high: on new"
        f" patients expect about {expected:.2f}"
    )
    return f"{text}, no better than chance." if expected <= 0.5 else f"{text}."


_READERS = 16
# A run writes after each epoch and every so many minutes; half as long again is no alarm yet.
_PATIENCE = 1.5
_SHORTEST_ALARM_S = 300.0


@dataclass(frozen=True)
class AucEstimate:
    """A trial's AUC on its validation patients, at the epochs that are kept.

    Of several folds: the mean of their AUCs. Its interval takes the folds as independent, each with
    DeLong's variance: it speaks of the patients' chance, not of that of another training. Where the
    epoch was chosen on these very patients, the AUC is somewhat optimistic.

    Parameters
    ----------
    low, high
        95 % interval; None where a fold's variance has no meaning (AUC of 1, one patient a class).
    num_patients
        With a known label, over all folds.
    """

    target: str
    auc: float
    low: float | None
    high: float | None
    num_patients: int


@dataclass(frozen=True)
class TrialProgress:
    """One trial.

    Parameters
    ----------
    rank
        Among its group's, from 1; None before it reached its first rung.
    settings
        What was set of the searched fields, by dotted key.
    why
        What its verdict rests on, or what it died of.
    epochs, epochs_full
        Trained, and of a trial that is trained to its end, over all folds.
    score
        At the last rung it reached; None before the first or where no AUC is defined.
    optimism
        Of the best of its group: by how much that score is expected to exceed its AUC on new patients,
        because it is the best of several trials and epochs; None of others, or where it is not known.
    quiet_s
        Of a running trial: since it last wrote anything.
    is_silent
        Whether that is longer than it can take.
    """

    name: str
    group: str
    rank: int | None
    network: str
    seed: int
    settings: Mapping[str, Any]
    status: str
    why: str
    epochs: int
    epochs_full: int
    score: float | None
    optimism: float | None
    aucs: tuple[AucEstimate, ...]
    quiet_s: float | None
    is_silent: bool


@dataclass(frozen=True)
class SweepProgress:
    """A whole sweep.

    Parameters
    ----------
    num_trials
        Those that are still to be suggested are counted.
    num_by_status
        How many trials have each status.
    has_ended
        Whether nothing more is to be trained.
    epochs_trained
        So far; those that were trained twice, because a machine was lost, count once.
    epochs_to_come
        At most: early stopping may end a trial sooner.
    epochs_full
        If every trial were trained to its end.
    epochs_saved
        What stopped and finished trials did not need of that so far.
    device_hours
        By the device's name: seconds of all epochs, times the devices that a trial takes.
    is_device_hours_bound
        Whether trials may have shared a device without the configuration saying so.
    seconds_per_epoch
        Mean over all epochs; None before the first.
    num_training
        Trials that run now and show signs of life.
    remaining_s
        About, if as many go on training at a time; None where that cannot be said.
    trials
        By group, the best first; in a group that is compared nothing else is.
    left_out
        Trials in the folder that do not belong to the sweep any more, and why; they count nowhere.
    """

    sweep: str
    num_trials: int
    num_by_status: Mapping[str, int]
    has_ended: bool
    epochs_trained: int
    epochs_to_come: int
    epochs_full: int
    epochs_saved: int
    device_hours: Mapping[str, float]
    is_device_hours_bound: bool
    seconds_per_epoch: float | None
    num_training: int
    remaining_s: float | None
    trials: tuple[TrialProgress, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> dict[str, list[TrialProgress]]:
        """Trials by group."""
        found: dict[str, list[TrialProgress]] = {}
        for trial in self.trials:
            found.setdefault(trial.group, []).append(trial)
        return found


def read_progress(url: str) -> SweepProgress:
    """Read a sweep's folder; see `open_sweep` for the errors."""
    return measure(*read_standings(url))


def read_standings(url: str) -> tuple[SweepConfig, tuple[TrialSummary, ...], Mapping[str, str]]:
    """Return a sweep's configuration, all its trials that are known so far, and those left out."""
    sweep = open_sweep(url)
    members = SweepFolder(url).read_members(sweep)
    return sweep, summaries(sweep, read_states(members.trials)), members.left_out


def open_sweep(url: str) -> SweepConfig:
    """Return the configuration of a sweep that somebody asks for; its mistake is said.

    Raises
    ------
    MissingPathError
        If there is no sweep, or its configuration was named in its stead.
    """
    try:
        return SweepFolder(url).read_sweep()
    except NotADirectoryError:
        raise MissingPathError(
            f"{files.absolute(url)} is a file, expected the sweep's folder: what is called 'out' in"
            " its configuration"
        ) from None


def measure(
    sweep: SweepConfig, found: Sequence[TrialSummary], left_out: Mapping[str, str] | None = None
) -> SweepProgress:
    """Return a sweep's numbers."""
    num = suggested_per_group(sweep)
    groups = list(dict.fromkeys(s.plan.group for s in found))
    ordered = sorted(found, key=lambda s: (groups.index(s.plan.group), s.rank))
    trials = _trials(sweep, ordered)
    num_trials = max(len(found), num * len(sweep.targets))
    unknown = num_trials - len(found)
    by_status = Counter(t.status for t in trials) + Counter({"not begun": unknown})
    epochs = [m for s in found for history in s.state.histories for m in history]
    seconds = sum(m.seconds for m in epochs) / len(epochs) if epochs else None
    to_come = epochs_to_come_by_group(sweep, found)
    num_training = sum(t.status == "running" and not t.is_silent for t in trials)
    return SweepProgress(
        sweep=sweep.out,
        num_trials=num_trials,
        num_by_status=dict(by_status),
        has_ended=not unknown and all(s.has_ended for s in found),
        epochs_trained=len(epochs),
        epochs_to_come=sum(to_come.values()),
        epochs_full=num_trials * _full(sweep),
        epochs_saved=sum(_full(sweep) - s.state.num_epochs for s in found if s.has_ended),
        device_hours=_device_hours(sweep, found),
        is_device_hours_bound=sweep.resources.gpus is None and _has_used_gpus(found),
        seconds_per_epoch=seconds,
        num_training=num_training,
        remaining_s=_remaining_s(found, to_come, seconds, num_training),
        trials=trials,
        left_out=left_out or {},
    )


def epochs_to_come_by_group(sweep: SweepConfig, found: Sequence[TrialSummary]) -> dict[str, int]:
    """Return how many epochs the trials of each group are still to be trained, at most."""
    rounds = rounds_by_group(sweep, found)
    return {group: sum(num for _, num in rounds[group]) for group in rounds}


def rounds_by_group(
    sweep: SweepConfig, found: Sequence[TrialSummary]
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the rounds of halving to come in each group; see `rounds_to_come`.

    Parameters
    ----------
    found
        All trials that are known so far.
    """
    schedule, num = ladder_of(sweep), suggested_per_group(sweep)
    groups: dict[str, list[TrialSummary]] = {group_of(targets): [] for targets in sweep.targets}
    for summary in found:
        groups[summary.plan.group].append(summary)
    return {g: rounds_to_come(m, schedule, sweep.train.epochs, num) for g, m in groups.items()}


def rounds_to_come(
    group: Sequence[TrialSummary], schedule: HalvingSchedule, epochs: int, num_trials: int
) -> tuple[tuple[int, int], ...]:
    """Return, for each rung, how many trials train to it and how many epochs all of them still need.

    How many are promoted from each rung is known, though not which.

    Parameters
    ----------
    group
        Its trials that are known so far.
    epochs
        Of a fold.
    num_trials
        Of the group, those to come included.
    """
    places = [rung.fold * epochs + rung.epochs for rung in schedule.rungs]
    done = [_position(summary, places, epochs) for summary in group]
    rounds, start, here = [], 0, max(num_trials, len(group))
    for rung, end in zip(schedule.rungs, places, strict=True):
        lost = sum(s.verdict.action is Action.FAILED and s.verdict.rung == rung for s in group)
        trained = sum(min(max(position - start, 0), end - start) for position in done)
        rounds.append((here - lost, max(0, (here - lost) * (end - start) - trained)))
        here = min(num_places(here, schedule), here - lost)
        start = end
    return tuple(rounds)


def estimate_auc(
    target: str, folds: Sequence[tuple[float, float, int]], confidence: float = 0.95
) -> AucEstimate | None:
    """Return a target's AUC over some folds; None where it is not defined in any.

    Parameters
    ----------
    folds
        AUC, DeLong's variance (each may be NaN) and number of patients.
    """
    defined = [fold for fold in folds if not math.isnan(fold[0])]
    if not defined:
        return None
    mean = sum(value for value, _, _ in defined) / len(defined)
    low = high = None
    if all(variance > 0 for _, variance, _ in defined):
        error = math.sqrt(sum(variance for _, variance, _ in defined)) / len(defined)
        reach = float(norm.ppf(0.5 + confidence / 2)) * error
        low, high = max(0.0, mean - reach), min(1.0, mean + reach)
    return AucEstimate(target, mean, low, high, sum(num for _, _, num in defined))


def optimism_of(best: TrialSummary, group: Sequence[TrialSummary]) -> float | None:
    """Return by how much a group's best score is expected to exceed its AUC on new patients.

    Of several targets: the mean.

    Returns
    -------
    None where there is no score, or a fold's validation patients have one class.
    """
    score, histories = best.verdict.score, best.state.histories
    if score is None or score < 0:
        return None
    num_trials = sum(summary.verdict.score is not None for summary in group)
    by_target: dict[str, list[tuple[int, int]]] = {}
    for run, record in zip(best.plan.runs, best.state.records, strict=False):
        with suppress(MissingPathError):
            for target, _, classes in _fold_aucs(run.out, record.run_digest, record.best_epoch):
                by_target.setdefault(target, []).append(classes)
    choice, num_epochs = epoch_choice(best.plan.run), max(map(len, histories))
    # A target that has one class in a fold is no part of the score there.
    defined = {
        target: kept
        for target, folds in by_target.items()
        if (kept := [classes for classes in folds if min(classes) > 0])
    }
    expected = [
        expected_optimism(score, num_trials, folds, choice, num_epochs)
        for folds in defined.values()
    ]
    known = [value for value in expected if value is not None]
    return sum(known) / len(known) if known else None


def last_sign_of_life(run_url: str) -> float | None:
    """Return when a run last wrote an epoch or a checkpoint, in seconds since 1970."""
    folder = RunFolder(run_url)
    urls = [files.join(folder.url, name) for name in ("run.json", "metrics.jsonl")]
    urls += [files.join(folder.checkpoints, n) for n in files.list_names(folder.checkpoints)]
    times = []
    for url in urls:
        fs, path = files.filesystem(url)
        # Checkpoints are replaced while the run goes on.
        with suppress(FileNotFoundError):
            times.append(float(fs.modified(path).timestamp()))
    return max(times, default=None)


def _trials(sweep: SweepConfig, ordered: Sequence[TrialSummary]) -> tuple[TrialProgress, ...]:
    with ThreadPoolExecutor(_READERS) as pool:
        aucs = list(pool.map(_aucs, ordered))
        quiet = list(pool.map(_quiet_s, ordered))
    alarm = _alarm_s(sweep, ordered)
    ranks: Counter[str] = Counter()
    trials = []
    for summary, estimates, quiet_s in zip(ordered, aucs, quiet, strict=True):
        plan, verdict, score = summary.plan, summary.verdict, summary.verdict.score
        ranks[plan.group] += score is not None
        is_best = score is not None and ranks[plan.group] == 1
        group = [s for s in ordered if s.plan.group == plan.group]
        trials.append(
            TrialProgress(
                name=plan.name,
                group=plan.group,
                rank=ranks[plan.group] if score is not None else None,
                network=plan.run.network.name,
                seed=plan.run.seed,
                settings=plan.searched,
                status=summary.status,
                why=summary.state.error or verdict.reason,
                epochs=summary.state.num_epochs,
                epochs_full=_full(sweep),
                score=score if score is not None and score >= 0 else None,
                optimism=optimism_of(summary, group) if is_best else None,
                aucs=estimates,
                quiet_s=quiet_s,
                is_silent=quiet_s is not None and quiet_s > alarm,
            )
        )
    return tuple(trials)


def _aucs(summary: TrialSummary) -> tuple[AucEstimate, ...]:
    by_target: dict[str, list[tuple[float, float, int]]] = {}
    for run, record in zip(summary.plan.runs, summary.state.records, strict=False):
        with suppress(MissingPathError):
            for target, found, _ in _fold_aucs(run.out, record.run_digest, record.best_epoch):
                by_target.setdefault(target, []).append(found)
    estimates = [estimate_auc(target, folds) for target, folds in by_target.items()]
    return tuple(estimate for estimate in estimates if estimate is not None)


# Who watches a sweep reads a table again only when there is another epoch is kept.
@lru_cache(maxsize=4096)
def _fold_aucs(
    run_url: str, run_digest: str, best_epoch: int | None
) -> tuple[tuple[str, tuple[float, float, int], tuple[int, int]], ...]:
    """Return each target's AUC, variance and number of patients, and that of each class."""
    table = RunFolder(run_url).read_predictions(PredictedBy(run_digest))
    found = []
    for run, target in dict.fromkeys(zip(table["run"], table["target"], strict=True)):
        rows = patient_scores(table, run, target, "validation")
        value = auc(rows.labels, rows.scores)
        variance = delong_variance(rows.labels, rows.scores)
        num_positive = int(np.sum(rows.labels == 1))
        classes = num_positive, rows.num_patients - num_positive
        found.append((str(target), (value, variance, rows.num_patients), classes))
    return tuple(found)


def _quiet_s(summary: TrialSummary) -> float | None:
    if summary.status != "running":
        return None
    last = last_sign_of_life(summary.plan.runs[len(summary.state.records) - 1].out)
    # Another machine's clock may be ahead of ours.
    return None if last is None else max(0.0, time.time() - last)


def _alarm_s(sweep: SweepConfig, found: Sequence[TrialSummary]) -> float:
    """Return after how long without a sign a run is probably no more."""
    longest = sweep.speed.checkpoint_minutes * 60
    seconds = [m.seconds for s in found for history in s.state.histories for m in history]
    if seconds:
        longest = min(longest, max(seconds))
    return max(_SHORTEST_ALARM_S, _PATIENCE * longest)


def _full(sweep: SweepConfig) -> int:
    return len(sweep.folds) * sweep.train.epochs


def _position(summary: TrialSummary, places: Sequence[int], epochs: int) -> int:
    """Return where a trial is on the way to the top; a fold that ended early counts in full."""
    if summary.verdict.action is Action.FAILED:
        number = summary.verdict.rung.number
        return places[number - 1] if number else 0
    folds = zip(summary.state.records, summary.state.histories, strict=True)
    return sum(epochs if r.status == "finished" else len(history) for r, history in folds)


def _device_hours(sweep: SweepConfig, found: Sequence[TrialSummary]) -> dict[str, float]:
    hours: dict[str, float] = {}
    for summary in found:
        for record, history in zip(summary.state.records, summary.state.histories, strict=True):
            share = 1.0 if record.device == "cpu" else sweep.resources.gpus or 1.0
            spent = sum(m.seconds for m in history) * record.world_size * share / 3600
            hours[record.device] = hours.get(record.device, 0.0) + spent
    return hours


def _has_used_gpus(found: Sequence[TrialSummary]) -> bool:
    return any(record.device != "cpu" for s in found for record in s.state.records)


def _remaining_s(
    found: Sequence[TrialSummary],
    to_come: Mapping[str, int],
    seconds_per_epoch: float | None,
    num_training: int,
) -> float | None:
    """Return the time for all epochs to come, each as long as its group's were on average."""
    if not sum(to_come.values()):
        return 0.0
    if seconds_per_epoch is None or not num_training:
        return None
    total = 0.0
    for group, num in to_come.items():
        histories = [h for s in found if s.plan.group == group for h in s.state.histories]
        seconds = [m.seconds for history in histories for m in history]
        total += num * (sum(seconds) / len(seconds) if seconds else seconds_per_epoch)
    return total / num_training
