"""Describe what a resumed sweep will train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from cluster.sweep.config import SweepConfig
from cluster.sweep.folder import TrialSummary
from cluster.sweep.halving import Action
from cluster.sweep.membership import suggested_per_group
from preprocessing.storage import files
from radiotrain.runs.run_folder import RunFolder

_MOST_NAMED = 10


def describe_reuse(
    sweep: SweepConfig, found: Sequence[TrialSummary], left_out: Mapping[str, str]
) -> Iterator[str]:
    """Say what will be trained of a sweep; nothing where all of it is new."""
    counts = Counter(_what(summary) for summary in found)
    num_trials = max(len(found), suggested_per_group(sweep) * len(sweep.targets))
    counts["new"] += num_trials - len(found)
    if counts["new"] == num_trials and not left_out:
        return
    yield (
        f"{num_trials} trial{'s' * (num_trials != 1)}: {counts['done']} are done, {counts['begun']} resume or wait for the"
        f" others, {counts['new']} are new"
    )
    drawn = any(distribution.grid is None for distribution in sweep.search.values())
    if drawn and counts["done"] == num_trials:
        yield f"nothing is left to train: num_samples is {sweep.num_samples}, raise it to try more settings"
    yield from _some(_trained_again(found))
    yield from _some(
        [f"not in this sweep any more: {name}: {why}" for name, why in left_out.items()]
    )


def _what(summary: TrialSummary) -> str:
    statuses = [record.status for record in summary.state.records]
    # A trial that has all its epochs may still wait for what others have.
    if summary.has_ended or statuses == ["finished"] * len(summary.plan.runs):
        return "done"
    begun = any(RunFolder(run.out).holds_training() for run in summary.plan.runs)
    return "begun" if begun else "new"


def _trained_again(found: Sequence[TrialSummary]) -> list[str]:
    """Name the trials that go on, or may, and whose checkpoint was removed when they were stopped."""
    lines = []
    for summary in found:
        records = summary.state.records
        if summary.verdict.action not in (Action.TRAIN, Action.WAIT) or not records:
            continue
        folder = RunFolder(summary.plan.runs[len(records) - 1].out)
        num = records[-1].num_epochs
        if records[-1].status == "finished" or not num:
            continue
        if not any(name.startswith("epoch-") for name in files.list_names(folder.checkpoints)):
            lines.append(
                f"if {summary.plan.name} goes on, its {num} epoch{'s' * (num > 1)} will be trained"
                " again: its checkpoint was removed when it was stopped"
            )
    return lines


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:_MOST_NAMED]
    if len(lines) > _MOST_NAMED:
        yield f"and {len(lines) - _MOST_NAMED} more of these"
