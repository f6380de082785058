"""Early stopping of trials: successive halving as pure functions.

All trials of a group are trained to the first rung. The best of them go on to the next one, and so on
to the top. A trial is judged at a rung by what it and all the others had reached there: after the
same folds and the same epochs of the last one. So nothing depends on who came first, how many
trained at a time, or whether the sweep was interrupted; the price is that a trial may have to wait
for the others of its group, while trials of other groups train.

References
----------
Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
AISTATS 2016 (successive halving); Li et al., "A system for massively parallel hyperparameter tuning",
MLSys 2020 (ASHA, which does not wait, and so lets go on what came early).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from radiotrain.runs.early_stopping import EpochChoice, decide

# Below every AUC: what a trial has whose AUC is not defined.
_NO_SCORE = -1.0


@dataclass(frozen=True)
class Rung:
    """A place where trials are compared.

    Parameters
    ----------
    number
        Counted from 0; the last one is the end of all training.
    fold
        Position among a trial's folds, from 0. Those before it are trained to their end.
    epochs
        Trained in that fold.
    """

    number: int
    fold: int
    epochs: int


@dataclass(frozen=True)
class HalvingSchedule:
    """What trials are judged by.

    Parameters
    ----------
    reduction_factor
        At each rung one in this many is promoted, rounded up.
    smooth_epochs
        A fold's score is the mean AUC of this many epochs, which end with the one that is kept; see
        `curve_score`.
    """

    rungs: tuple[Rung, ...]
    reduction_factor: float
    smooth_epochs: int

    @property
    def top(self) -> Rung:
        """Where a trial is done."""
        return self.rungs[-1]


@dataclass(frozen=True)
class FoldCurve:
    """Validation AUCs of one fold's epochs, NaN where undefined.

    Parameters
    ----------
    ended
        Whether no more will come: it has all epochs, or its own early stopping ended it.
    losses
        Validation losses of the same epochs.
    choice
        How the run chooses the epoch that it keeps.
    """

    aucs: tuple[float, ...]
    ended: bool
    losses: tuple[float, ...] = ()
    choice: EpochChoice = field(default_factory=EpochChoice)


@dataclass(frozen=True)
class TrialCurve:
    """A trial as the schedule sees it; folds that were not begun are left out."""

    name: str
    folds: tuple[FoldCurve, ...] = ()
    failed: bool = False


class Action(Enum):
    """What is to become of a trial now."""

    TRAIN = "train"
    WAIT = "wait"
    STOP = "stop"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class TrialDecision:
    """A decision, with what it rests on.

    Parameters
    ----------
    rung
        To train to, or where it waits, was stopped, is done or failed.
    score, place
        At the last rung it reached, and the place there among those who are there too, from 1; None
        before the first.
    reason
        In words.
    """

    action: Action
    rung: Rung
    score: float | None
    place: int | None
    reason: str


def make_schedule(
    num_folds: int,
    epochs: int,
    grace_epochs: int,
    reduction_factor: float,
    smooth_epochs: int,
    *,
    halving: bool = True,
) -> HalvingSchedule:
    """Return a schedule whose rungs lie where a sweep's configuration says.

    They are `grace_epochs` times the powers of the factor within the first fold, then the ends of
    1, factor, factor², … folds, and the end of all.

    Parameters
    ----------
    halving
        False: only the top, so that everything is trained to its end.
    """
    places: list[tuple[int, int]] = []
    if halving:
        reached = float(grace_epochs)
        while round(reached) < epochs:
            places.append((0, round(reached)))
            reached *= reduction_factor
        folds = 1.0
        while round(folds) < num_folds:
            places.append((round(folds) - 1, epochs))
            folds *= reduction_factor
    places.append((num_folds - 1, epochs))
    different = sorted(set(places))
    return HalvingSchedule(
        tuple(Rung(number, *place) for number, place in enumerate(different)),
        reduction_factor,
        smooth_epochs,
    )


def fold_score(aucs: Sequence[float], smooth_epochs: int) -> float:
    """Return the best mean over so many successive epochs; -1 where no AUC is defined.

    Fewer epochs are averaged all together: one that was lucky at the start does not count alone.
    Undefined AUCs are left out.
    """
    best = _NO_SCORE
    length = min(smooth_epochs, len(aucs))
    for end in range(length, len(aucs) + 1):
        window = [auc for auc in aucs[end - length : end] if not math.isnan(auc)]
        if window:
            best = max(best, sum(window) / len(window))
    return best


def curve_score(curve: FoldCurve, num_epochs: int, smooth_epochs: int) -> float:
    """Return a fold's score after so many epochs: the AUC of the epoch that would be kept.

    Not the best that was seen: that of many epochs is mostly luck, and the network is no more. With the
    rule best_auc, which keeps that epoch, it is `fold_score`.

    Parameters
    ----------
    smooth_epochs
        So many epochs are averaged, those that end with the one that is kept.

    Returns
    -------
    -1 where no AUC of these epochs is defined.
    """
    aucs, losses = curve.aucs[:num_epochs], curve.losses[:num_epochs]
    if curve.choice.choose == "best_auc":
        return fold_score(aucs, smooth_epochs)
    if not aucs:
        return _NO_SCORE
    end = decide(aucs, losses, None, curve.choice).best_epoch + 1
    window = [auc for auc in aucs[max(0, end - smooth_epochs) : end] if not math.isnan(auc)]
    return sum(window) / len(window) if window else _NO_SCORE


def score_at(folds: Sequence[FoldCurve], rung: Rung, smooth_epochs: int) -> float | None:
    """Return the mean score over the folds seen up to a rung, None where it is not reached.

    A fold that ended before the rung's epoch keeps the score it had.
    """
    if len(folds) <= rung.fold or not all(fold.ended for fold in folds[: rung.fold]):
        return None
    last = folds[rung.fold]
    if len(last.aucs) < rung.epochs and not last.ended:
        return None
    scores = [curve_score(fold, len(fold.aucs), smooth_epochs) for fold in folds[: rung.fold]]
    scores.append(curve_score(last, rung.epochs, smooth_epochs))
    return sum(scores) / len(scores)


def judge(
    trial_curves: Sequence[TrialCurve], schedule: HalvingSchedule, num_entrants: int | None = None
) -> dict[str, TrialDecision]:
    """Decide on every trial of one group.

    Parameters
    ----------
    trial_curves
        In the order of the plan, which decides between equals.
    num_entrants
        How many there will be, where more are still to be suggested.

    Returns
    -------
    TrialDecision by name. STOP, DONE and a TRAIN beyond a rung are never taken back, whatever the trials
    that are still on their way turn out to be.
    """
    verdicts: dict[str, TrialDecision] = {}
    here = list(trial_curves)
    num_here = max(len(here), num_entrants or 0)
    for rung in schedule.rungs:
        scores = {e.name: score_at(e.folds, rung, schedule.smooth_epochs) for e in here}
        num_go_on = _num_places(here, scores, num_here, rung, schedule)
        ranked = _ranked(here, scores, rung)
        num_to_come = num_here - len(ranked) - sum(_is_lost(e, scores) for e in here)
        passed = []
        for trial_curve in here:
            verdict = _judge_at(trial_curve, scores, ranked, rung, schedule, num_go_on, num_to_come)
            if verdict.score is None and trial_curve.name in verdicts:
                before = verdicts[trial_curve.name]
                verdict = replace(verdict, score=before.score, place=before.place)
            verdicts[trial_curve.name] = verdict
            if verdict.action is Action.TRAIN and trial_curve.name in ranked:
                passed.append(trial_curve)
        here, num_here = passed, num_go_on
    return verdicts


def _judge_at(
    trial_curve: TrialCurve,
    scores: Mapping[str, float | None],
    ranked: Sequence[str],
    rung: Rung,
    schedule: HalvingSchedule,
    num_go_on: int,
    num_to_come: int,
) -> TrialDecision:
    """Decide on a trial at one rung, by those who are there."""
    if _is_lost(trial_curve, scores):
        return TrialDecision(Action.FAILED, rung, None, None, "failed")
    score = scores[trial_curve.name]
    if score is None:
        return TrialDecision(Action.TRAIN, rung, None, None, "on its way")
    place = ranked.index(trial_curve.name) + 1
    if rung == schedule.top:
        return TrialDecision(Action.DONE, rung, score, place, "trained to its end")
    reason = (
        f"{_said(score)} {_where(rung, schedule)} is number {place} of {len(ranked)}"
        f"{f', {num_to_come} to come' if num_to_come else ''}; promoted from here: {num_go_on}"
    )
    return TrialDecision(_compare(place, num_go_on, num_to_come), rung, score, place, reason)


def num_places(num_here: int, schedule: HalvingSchedule) -> int:
    """Return how many of so many go on from a rung that is not the top."""
    # Rounded first: 3 / (1 / 3) is not 9 in floating point, nor is 6 / 1.5 always 4.
    return math.ceil(round(num_here / schedule.reduction_factor, 9))


def _num_places(
    here: Sequence[TrialCurve],
    scores: Mapping[str, float | None],
    num_here: int,
    rung: Rung,
    schedule: HalvingSchedule,
) -> int:
    """Return how many go on from a rung."""
    if rung == schedule.top:
        return num_here
    lost = sum(_is_lost(trial_curve, scores) for trial_curve in here)
    return min(num_places(num_here, schedule), num_here - lost)


def _is_lost(trial_curve: TrialCurve, scores: Mapping[str, float | None]) -> bool:
    return trial_curve.failed and scores[trial_curve.name] is None


def _ranked(
    here: Sequence[TrialCurve], scores: Mapping[str, float | None], rung: Rung
) -> list[str]:
    """Return the names of those who reached a rung, best first.

    Equal scores, of which few patients give many, are told apart by the mean over the epochs: by
    who learned sooner.
    """

    def key(trial_curve: TrialCurve) -> tuple[float, float]:
        score = scores[trial_curve.name]
        assert score is not None
        before = [auc for fold in trial_curve.folds[: rung.fold] for auc in fold.aucs]
        last = trial_curve.folds[rung.fold].aucs[: rung.epochs]
        seen = [auc for auc in (*before, *last) if not math.isnan(auc)]
        return -score, -sum(seen) / len(seen) if seen else 0.0

    reached = [trial_curve for trial_curve in here if scores[trial_curve.name] is not None]
    return [trial_curve.name for trial_curve in sorted(reached, key=key)]


def _compare(place: int, num_go_on: int, num_to_come: int) -> Action:
    """Decide on the one at a place among those who are there, if it can be decided."""
    if place > num_go_on:
        return Action.STOP
    return Action.TRAIN if place + num_to_come <= num_go_on else Action.WAIT


def _said(score: float) -> str:
    return "no AUC" if score == _NO_SCORE else f"{score:.3f}"


def _where(rung: Rung, schedule: HalvingSchedule) -> str:
    epochs = f"after {rung.epochs} epochs"
    return epochs if schedule.top.fold == 0 else f"{epochs} of fold {rung.fold + 1}"
