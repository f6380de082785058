"""Promote the best trials to models for evaluation.

What is made is decided before anything is written; see `radiotrain.runs.promoted` for what is in a
model's folder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from cluster.sweep.config import SweepConfig, group_of
from cluster.sweep.folder import (
    SweepFolder,
    TrialState,
    TrialSummary,
    best_of_each_group,
    read_states,
    summaries,
)
from cluster.sweep.membership import suggested_per_group
from cluster.sweep.progress import optimism_of
from preprocessing.common.errors import InputError, MissingPathError, RadiotrainError, nearest_hint
from preprocessing.storage import files
from preprocessing.storage.files import make_private
from preprocessing.storage.folder_lock import exclusive_beside
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.evaluation.model import open_model
from radiotrain.evaluation.stability.replicates import calibrate_members
from radiotrain.runs.early_stopping import epoch_choice, joint_epoch
from radiotrain.runs.locations import open_inputs
from radiotrain.runs.predict_run import check_best, check_run, read_best
from radiotrain.runs.promoted import Kind, Promoted, member_urls, read_promoted, write_promoted
from radiotrain.runs.provenance import keeps_inputs, read_inputs, write_inputs
from radiotrain.runs.run_folder import PredictedBy, RunFolder, open_run
from radiotrain.split.split import Split
from radiotrain.statistics.member_scale import Scales

How = Literal["auto", "retrain", "ensemble"]
# Trains a run until so many epochs are done.
TrainUntil = Callable[[RunConfig, int], Any]


@dataclass(frozen=True)
class Promotion:
    """What is to be made of one group's best trial.

    Parameters
    ----------
    url
        Folder of the model.
    runs
        The trial's runs whose networks and predictions are used, one a fold.
    """

    group: str
    url: str
    promoted: Promoted
    runs: tuple[RunConfig, ...]

    @property
    def is_made(self) -> bool:
        """Whether nothing is left to do."""
        found = read_promoted(self.url)
        if found is None or found.status != "finished":
            return False
        # Of an ensemble, what is damaged or was removed is copied anew.
        with suppress(RadiotrainError):
            for member in open_model(self.url).members:
                _check_weights(member)
            return True
        return False

    @property
    def retrained(self) -> RunConfig:
        """The run of a retrained network: its schedule is the trial's, though it ends sooner."""
        return self.runs[0].model_copy(update={"fold": None, "out": self.url})

    def describe(self) -> str:
        """Return a line about it."""
        made = self.promoted
        score = "undefined" if made.score is None else f"{made.score:.3f}"
        if made.optimism is not None:
            score += f", of which about {made.optimism:.2f} is expected to be luck"
        what = f"ensemble of its {len(made.members)} networks"
        if made.kind == "retrain":
            epochs = f"{made.epochs} epoch{'s' * (made.epochs != 1)}"
            what = f"retrained on all development patients for {epochs}"
        return f"{self.group}: {made.trial} (score {score}), {what}, in {self.url}"


def plan_promotions(
    sweep_url: str,
    *,
    out: str | None = None,
    how: How = "auto",
    targets: Sequence[str] = (),
    unfinished: bool = False,
    store: str | None = None,
    split: str | None = None,
) -> tuple[Promotion, ...]:
    """Decide what is made of each group's best trial; write nothing.

    Parameters
    ----------
    out
        Folder in which each group's model gets a folder; by default ``promoted`` in the sweep's.
    how
        auto: an ensemble where the best trial has networks of several folds, else retrain.
    targets
        Groups to promote, such as ``ER`` or ``ER+PR``; by default all.
    unfinished
        Whether a group is promoted some of whose trials have not ended.
    store, split
        Where they are now; by default where the sweep found them.

    Raises
    ------
    InputError
        If that cannot be made, or another model is there already.
    """
    folder = SweepFolder(sweep_url)
    sweep = folder.read_sweep()
    moved = {
        "store": files.absolute(store or sweep.store),
        "split": files.absolute(split or sweep.split),
    }
    sweep = sweep.model_copy(update=moved)
    opened = open_inputs(sweep.store, sweep.split)
    wanted = _wanted_groups(sweep, targets)
    members = folder.read_members(sweep)
    found = [s for s in summaries(sweep, read_states(members.trials)) if s.plan.group in wanted]
    left_out = _describe_left_out(members.left_out)
    if not unfinished:
        _check_ended(sweep, found, wanted, left_out)
    best = {summary.plan.group: summary for summary in best_of_each_group(found)}
    promotions = []
    for group in wanted:
        if group not in best:
            raise InputError(
                f"no trial of {group} in sweep {folder.url} has come far enough to be compared:"
                f" run 'radiotrain tune' again{left_out}"
            )
        members_of_group = [summary for summary in found if summary.plan.group == group]
        url = files.join(files.absolute(out or files.join(folder.url, "promoted")), group)
        promotion = _plan(folder.url, best[group], members_of_group, how, url)
        _check_possible(promotion, *opened)
        promotions.append(promotion)
    return tuple(promotions)


def promote(promotion: Promotion, train_until: TrainUntil) -> None:
    """Make a model, or go on making it; what is made already is left as it is.

    Parameters
    ----------
    train_until
        Trains the network of a retrained model; an ensemble does without.
    """
    if promotion.is_made:
        return
    # Not the folder's own lock, which belongs to the process that trains in it.
    with exclusive_beside(promotion.url, "model"):
        make_private(promotion.url)
        _promote_alone(promotion, train_until)


def _promote_alone(promotion: Promotion, train_until: TrainUntil) -> None:
    found = read_promoted(promotion.url)
    if found is not None and not promotion.promoted.is_same_model(found):
        raise _holds_another(promotion, found)
    if promotion.is_made:
        return
    write_promoted(promotion.url, promotion.promoted)
    if promotion.promoted.kind == "retrain":
        _retrain(promotion, train_until)
    else:
        for run, url in zip(
            promotion.runs, member_urls(promotion.url, promotion.promoted), strict=True
        ):
            _copy_network(run, RunFolder(url))
    folder = RunFolder(promotion.url)
    table, predicted_by = _out_of_fold(promotion.runs, promotion.promoted.members)
    scales: tuple[Scales, ...] = ()
    if promotion.promoted.kind == "ensemble":
        table, scales = calibrate_members(table, promotion.promoted.members)
    folder.write_predictions(
        table.assign(run=folder.name), PredictedBy(weights=",".join(predicted_by))
    )
    members = member_urls(promotion.url, promotion.promoted)
    weights = tuple(str(open_run(member)[2].weights_digest) for member in members)
    made = replace(
        promotion.promoted,
        status="finished",
        weights=weights,
        predicted_by=predicted_by,
        scales=scales,
    )
    write_promoted(promotion.url, made)


def _describe_left_out(left_out: Mapping[str, str]) -> str:
    """Name a trial that is in the folder and not in the sweep any more, to be appended to a sentence."""
    if not left_out:
        return ""
    name, why = next(iter(left_out.items()))
    return (
        f" ({len(left_out)} in the folder do not belong to the sweep any more, e.g. {name}: {why})"
    )


def _wanted_groups(sweep: SweepConfig, targets: Sequence[str]) -> list[str]:
    groups = [group_of(one) for one in sweep.targets]
    for target in targets:
        if target not in groups:
            raise InputError(
                f"the sweep has no target {target!r}{nearest_hint(target, groups)}, expected some of"
                f" {', '.join(groups)}"
            )
    return [group for group in groups if not targets or group in targets]


def _check_ended(
    sweep: SweepConfig, found: Sequence[TrialSummary], groups: Sequence[str], left_out: str
) -> None:
    """Refuse groups whose best trial may still become another one."""
    num_trials = suggested_per_group(sweep)
    for group in groups:
        members = [summary for summary in found if summary.plan.group == group]
        others = Counter[str](s.status for s in members if not s.has_ended)
        others["not begun"] += max(0, num_trials - len(members))
        if others.total():
            said = ", ".join(f"{num} {status}" for status, num in others.items() if num)
            raise InputError(
                f"{others.total()} of {max(num_trials, len(members))} trials of {group} have not ended ({said}): run"
                " 'radiotrain tune' again, or go on all the same with --allow-unfinished" + left_out
            )


def _plan(
    sweep_url: str, best: TrialSummary, members: Sequence[TrialSummary], how: How, url: str
) -> Promotion:
    trained = [
        (run, record.best_epoch)
        for run, record in zip(best.plan.runs, best.state.records, strict=False)
        if record.best_epoch is not None
    ]
    runs = tuple(run for run, _ in trained)
    kind: Kind = "ensemble" if len(runs) > 1 else "retrain"
    if how != "auto":
        kind = how
    if kind == "ensemble" and len(runs) == 1:
        raise InputError(
            f"trial {best.plan.name} has the network of one fold, expected several for an ensemble:"
            " use --strategy retrain, or a sweep with more folds"
        )
    score = best.verdict.score
    folds = tuple(run.fold for run in runs if run.fold is not None)
    promoted = Promoted(
        kind=kind,
        status="running",
        sweep=sweep_url,
        trial=best.plan.name,
        num_trials=len(members),
        score=score if score is not None and score >= 0 else None,
        optimism=optimism_of(best, members),
        folds=folds,
    )
    if kind == "retrain":
        promoted = replace(promoted, epochs=num_epochs(best.state))
    else:
        names = tuple(f"{best.plan.name}_fold{fold}" for fold in folds)
        promoted = replace(promoted, members=names)
    return Promotion(best.plan.group, url, promoted, runs)


def num_epochs(trial: TrialState) -> int:
    """Return for how many epochs a network is trained again: one number for all folds of a trial.

    It is the rule's choice from the mean curve of the folds, those at their end if there are any: the
    luck of one fold's few patients decides less. The rule best_auc has the mean of the folds' own
    epochs, as models by it were always made.
    """
    choice, records = epoch_choice(trial.plan.run), trial.records
    if choice.choose == "best_auc":
        return _mean_epochs([r.best_epoch + 1 for r in records if r.best_epoch is not None])
    folds = [history for history in trial.histories if history]
    ended = [
        history
        for record, history in zip(records, trial.histories, strict=True)
        if history and record.status == "finished"
    ]
    folds = ended or folds
    aucs = [[m.validation_auc for m in history] for history in folds]
    losses = [[m.validation_loss for m in history] for history in folds]
    return joint_epoch(aucs, losses, choice) + 1


def _mean_epochs(epochs: Sequence[int]) -> int:
    """Return the mean, a half rounded up: `round` would take the even neighbour."""
    return math.floor(sum(epochs) / len(epochs) + 0.5)


def _check_possible(promotion: Promotion, store: Store, split: Split) -> None:
    found = read_promoted(promotion.url)
    if found is not None and not promotion.promoted.is_same_model(found):
        raise _holds_another(promotion, found)
    if promotion.is_made:
        return
    for run in promotion.runs:
        # The trial's folds and the development patients have to be those of the split as it is
        # now: else a test patient could have been trained on.
        folder, _ = check_run(run.out, store, split)
        folder.check_same_run(run, split)
        record = open_run(run.out)[2]
        folder.read_predictions(PredictedBy.of(record))
        if promotion.promoted.kind == "retrain":
            continue
        if not files.exists(folder.best_weights):
            raise MissingPathError(
                f"run {run.out} has lost its weights, which an ensemble needs: use --strategy retrain"
            )
        _check_weights(folder.url)
    if promotion.promoted.kind == "retrain":
        _check_retrained(promotion, split)


def _check_weights(run_url: str) -> None:
    folder, _, record = open_run(run_url)
    check_best(read_best(folder), folder.best_weights, record)


def _holds_another(promotion: Promotion, found: Promoted) -> InputError:
    return InputError(
        f"{promotion.url} holds a model of trial {found.trial} ({found.kind}), which is not what"
        f" would be made now, of trial {promotion.promoted.trial} ({promotion.promoted.kind}):"
        " name another --out, or remove that folder"
    )


def _check_retrained(promotion: Promotion, split: Split) -> None:
    folder = RunFolder(promotion.url)
    folder.check_same_run(promotion.retrained, split)
    record = folder.read_record()
    assert promotion.promoted.epochs is not None
    if record is not None and record.has_ended:
        _check_weights(folder.url)
    if record is not None and record.num_epochs > promotion.promoted.epochs:
        raise InputError(
            f"run {folder.url} was trained for {record.num_epochs} epochs, expected"
            f" {promotion.promoted.epochs}: name another --out, or remove that folder"
        )


def _retrain(promotion: Promotion, train_until: TrainUntil) -> None:
    epochs = promotion.promoted.epochs
    assert epochs is not None
    train_until(promotion.retrained, epochs)
    folder = RunFolder(promotion.url)
    record = folder.read_record()
    assert record is not None
    # The loop pauses here, as the schedule goes on; for this network it is the end.
    folder.write_record(replace(record, status="finished"))


def _copy_network(run: RunConfig, copy: RunFolder) -> None:
    """Make a run folder of its own of what predicts, so that the sweep can be removed."""
    source = RunFolder(run.out)
    _, config, record = open_run(source.url)
    history = source.read_history(record)[: record.num_epochs]
    made_by = PredictedBy.of(record)
    table, content = source.read_predictions(made_by), read_best(source)
    check_best(content, source.best_weights, record)
    files.write_bytes(copy.best_weights, content)
    places = {"store": run.store, "split": run.split, "out": copy.url}
    copy.write_config(config.model_copy(update=places))
    copy.write_metrics(history)
    copy.write_predictions(table.assign(run=copy.name), made_by)
    # Runs of older versions have none.
    if keeps_inputs(source.url):
        write_inputs(copy.url, read_inputs(source.url, record))
    # Of an unfinished sweep, where it goes on there and not here.
    status = record.status if record.status == "finished" else "stopped"
    copy.write_record(replace(record, status=status, error=None))


def _out_of_fold(
    runs: Sequence[RunConfig], names: Sequence[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return each validation patient's prediction by the network that was not trained on them.

    Parameters
    ----------
    names
        That the runs have in the table; by default their own.

    Returns
    -------
    The table, and the checksums of the networks' files.
    """
    tables, made_by = [], []
    for run in runs:
        folder, _, record = open_run(run.out)
        made_by.append(PredictedBy.of(record))
        tables.append(folder.read_predictions(made_by[-1]))
        # Runs of one trial may have one name; members of a model have different ones.
        if names:
            tables[-1] = tables[-1].assign(run=names[len(tables) - 1])
    return pd.concat(tables, ignore_index=True), tuple(one.weights for one in made_by)
