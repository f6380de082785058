"""A sweep's numbers, from folders that were trained without Ray."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.sweep.config import plan_trials
from cluster.sweep.folder import SweepFolder, TrialState, summaries
from cluster.sweep.halving import Action
from cluster.sweep.progress import (
    epochs_to_come_by_group,
    estimate_auc,
    last_sign_of_life,
    measure,
    read_progress,
)
from preprocessing.common.errors import MissingPathError
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.runs.epoch_metrics import EpochMetrics, history_digest
from radiotrain.runs.run_folder import RunFolder, RunRecord, run_digest
from radiotrain.statistics.auc import delong_interval, delong_variance
from radiotrain.training.loop import train


@pytest.fixture(scope="module")
def begun(make_sweep, tmp_path_factory):
    """ER: one trial at its end, one stopped; PR: one begun, one not."""
    sweep = make_sweep(tmp_path_factory.mktemp("progress") / "sweep")
    SweepFolder(sweep.out).write_sweep(sweep)
    plans = {plan.name: plan for plan in plan_trials(sweep)}
    for name in ("ER_ResNet10-narrow_seed0", "ER_ResNet10-narrow_seed1"):
        train(plans[name].run, until_epoch=1, reporter=lambda _: None)
    best = min(
        summaries(sweep, [read(plan) for plan in plans.values() if plan.group == "ER"]),
        key=lambda s: s.rank,
    )
    train(best.plan.run, reporter=lambda _: None)
    train(plans["PR_ResNet10-narrow_seed0"].run, until_epoch=1, reporter=lambda _: None)
    return sweep


def read(plan):
    folder = RunFolder(plan.run.out)
    record = folder.read_record()
    return TrialState(plan, (record,), (folder.read_metrics(),)) if record else TrialState(plan)


def test_epochs_are_counted_as_the_files_have_them(begun):
    progress = read_progress(begun.out)
    lines = [p.read_text().splitlines() for p in Path(begun.out).glob("*/metrics.jsonl")]
    assert progress.epochs_trained == sum(map(len, lines)) == 4 + 1 + 1
    assert progress.epochs_full == 4 * 4
    # Of ER's other trial; PR's may still be trained.
    assert progress.epochs_saved == 3
    # PR: the second to its first rung, then the better one of them from rung to rung.
    assert progress.epochs_to_come == 1 + 3
    assert progress.num_by_status == {"finished": 1, "stopped": 1, "waiting": 1, "not begun": 1}
    assert not progress.has_ended


def test_device_hours_and_mean_epoch_are_those_of_the_epochs(begun):
    progress = read_progress(begun.out)
    trials = [path for path in Path(begun.out).iterdir() if path.is_dir()]
    epochs = [m.seconds for path in trials for m in RunFolder(str(path)).read_metrics()]
    assert progress.device_hours == {"cpu": pytest.approx(sum(epochs) / 3600)}
    assert progress.seconds_per_epoch == pytest.approx(sum(epochs) / len(epochs))
    # Nobody trains, so nobody knows when it will be done.
    assert (progress.num_training, progress.remaining_s) == (0, None)


def test_auc_and_interval_are_those_of_an_evaluation_of_the_same_table(begun):
    checked = 0
    for trial in read_progress(begun.out).trials:
        if not trial.epochs:
            assert trial.aucs == ()
            continue
        table = RunFolder(f"{begun.out}/{trial.name}").read_predictions()
        (result,) = evaluate_table(table.assign(split="test"), num_resamples=100).results
        (estimate,) = trial.aucs
        assert estimate.auc == pytest.approx(result.auc)
        if result.auc_ci95_delong is None:
            assert (estimate.low, estimate.high) == (None, None)
            continue
        assert (estimate.low, estimate.high) == pytest.approx(result.auc_ci95_delong)
        checked += 1
    assert checked


def test_interval_of_several_folds_is_that_of_their_mean():
    generator = np.random.default_rng(0)
    folds, reaches = [], []
    for _ in range(3):
        labels = np.arange(30) % 2
        scores = generator.normal(0.3 * labels, 1)
        variance = delong_variance(labels, scores)
        low, high = delong_interval(labels, scores)
        folds.append(((low + high) / 2, variance, 30))
        reaches.append((high - low) / 2)
    found = estimate_auc("ER", folds)
    assert found.auc == pytest.approx(np.mean([auc for auc, _, _ in folds]))
    assert found.high - found.auc == pytest.approx(math.hypot(*reaches) / 3)
    assert found.num_patients == 90
    without = estimate_auc("ER", [*folds, (1.0, 0.0, 30)])
    assert (without.low, without.high) == (None, None)
    assert estimate_auc("ER", [(math.nan, math.nan, 30)]) is None


def state(sweep, plan, aucs, status="paused"):
    """A trial with these AUCs; folds follow one another."""
    record = RunRecord(status, "s", "s", plan.run.seed, 0, plan.run.targets)
    records, histories = [], []
    epochs = sweep.train.epochs
    for fold in range(math.ceil(len(aucs) / epochs)):
        part = aucs[fold * epochs : (fold + 1) * epochs]
        ended = len(part) == epochs
        records.append(replace(record, status="finished" if ended else status, fold=fold))
        histories.append(
            tuple(
                EpochMetrics(i, epochs, 0.5, 0.5, value, {}, 1e-3, False, 1.0, 2.0)
                for i, value in enumerate(part)
            )
        )
    return TrialState(plan, tuple(records), tuple(histories))


@pytest.mark.parametrize("folds", [[0], [0, 1, 2]])
def test_epochs_to_come_are_those_that_then_come(make_sweep, tmp_path, folds):
    """A sweep in which each step trains one epoch of a trial that may go on; nothing ends early."""
    chance = random.Random(0)
    sweep = make_sweep(
        tmp_path / "sweep",
        targets=["ER"],
        seeds=list(range(7)),
        folds=folds,
        train={"epochs": 6, "batch_size": 8},
    )
    plans = plan_trials(sweep)
    aucs = {plan.name: [] for plan in plans}
    told = []
    while True:
        found = summaries(sweep, [state(sweep, plan, aucs[plan.name]) for plan in plans], ())
        trained = sum(map(len, aucs.values()))
        told.append(trained + sum(epochs_to_come_by_group(sweep, found).values()))
        going = [s.plan.name for s in found if s.verdict.action is Action.TRAIN]
        if not going:
            break
        aucs[chance.choice(going)].append(chance.random())
    assert all(s.has_ended for s in found)
    assert set(told) == {trained}
    assert measure(sweep, found).epochs_saved == 7 * 6 * len(folds) - trained


def test_epochs_to_come_without_the_lost_ones(make_sweep, tmp_path):
    sweep = make_sweep(tmp_path / "sweep", targets=["ER"], seeds=[0, 1])
    first, second = plan_trials(sweep)
    found = summaries(
        sweep, [state(sweep, first, [0.5] * 4), state(sweep, second, [0.4], "failed")], ()
    )
    assert measure(sweep, found).epochs_to_come == 0
    before_any = replace(state(sweep, second, [0.4], "failed"), histories=((),))
    progress = measure(sweep, summaries(sweep, [state(sweep, first, []), before_any]))
    assert progress.num_by_status == {"not begun": 1, "failed": 1}
    assert progress.epochs_to_come == 4


def test_time_to_go_counts_the_trials_that_show_signs_of_life(begun, tmp_path, make_sweep):
    sweep = make_sweep(tmp_path / "sweep")
    plans = plan_trials(sweep)
    SweepFolder(sweep.out).write_sweep(sweep)
    for plan in plans[:2]:
        running = state(sweep, plan, [0.5])
        folder = RunFolder(plan.run.out)
        history = running.histories[0][:1]
        folder.write_metrics(history)
        folder.write_config(plan.run)
        record = replace(
            running.records[0],
            status="running",
            num_epochs=1,
            run_digest=run_digest(plan.run, "s"),
            metrics_digest=history_digest(history),
        )
        folder.write_record(record)
    # What is compared after one epoch: both wait, so let them be on their way to the second rung.
    found = read_progress(sweep.out)
    assert found.num_training == 0
    sweep = make_sweep(tmp_path / "sweep", halving={"grace_epochs": 2, "reduction_factor": 2})
    SweepFolder(sweep.out).write_sweep(sweep)
    found = read_progress(sweep.out)
    assert found.num_training == 2
    # ER and PR: two trials to 2 epochs, one of them to 4; 2 s an epoch, two at a time.
    assert found.epochs_to_come == 2 * (2 * 2 + 2) - 2
    assert found.remaining_s == pytest.approx(found.epochs_to_come * 2.0 / 2)
    long_ago = time.time() - 3600
    for path in Path(plans[0].run.out).iterdir():
        os.utime(path, (long_ago, long_ago))
    silent = [t for t in read_progress(sweep.out).trials if t.is_silent]
    assert [t.name for t in silent] == [plans[0].name]
    assert silent[0].quiet_s == pytest.approx(3600, abs=60)
    assert read_progress(sweep.out).num_training == 1


def test_a_sign_of_life_is_any_checkpoint(begun):
    run = RunFolder(f"{begun.out}/PR_ResNet10-narrow_seed0")
    written = [p for kind in ("*.pt", "*.json", "*.jsonl") for p in Path(run.url).rglob(kind)]
    newest = max(path.stat().st_mtime for path in written)
    assert last_sign_of_life(run.url) == pytest.approx(newest, abs=1e-3)
    assert last_sign_of_life(f"{begun.out}/nowhere") is None


def test_devices_that_are_shared_count_in_part(begun):
    plans = plan_trials(begun)
    known = state(begun, plans[0], [0.5, 0.6])
    on_gpu = replace(
        known, records=(replace(known.records[0], device="NVIDIA H100", world_size=2),)
    )
    assert measure(begun, summaries(begun, [on_gpu])).is_device_hours_bound
    resources = begun.resources.model_copy(update={"gpus": 0.25})
    sweep = begun.model_copy(update={"resources": resources})
    progress = measure(sweep, summaries(sweep, [on_gpu]))
    assert progress.device_hours == {"NVIDIA H100": pytest.approx(2 * 2.0 * 2 * 0.25 / 3600)}
    assert not progress.is_device_hours_bound


def test_no_sweep_is_one_sentence(tmp_path):
    with pytest.raises(MissingPathError, match="no sweep at"):
        read_progress(str(tmp_path))


def test_reading_needs_no_ray():
    modules = "cluster.sweep.progress, cluster.sweep.report, radiotrain.cli.status, sys"
    check = f"import {modules}; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
