"""Early stopping is fair: a trial is compared with trials of its own target only."""

import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler

from cluster.sweep.asha import AshaPerGroup

# AUCs at the rung: every HER2 trial is worse than every ER trial.
AUCS = {"ER": [0.80, 0.90, 0.85, 0.95], "HER2": [0.52, 0.60, 0.55, 0.65]}


def trials_of(group):
    return [
        Trial("stub", stub=True, trial_id=f"{group}{i}", config={"trial": {"group": group}})
        for i in range(len(AUCS[group]))
    ]


def decisions(scheduler, epoch):
    """Report all trials once, targets in turn, as trials that run side by side do."""
    for group in AUCS:
        for trial in trials_of(group):
            scheduler.on_trial_add(None, trial)
    decided = {}
    for i in range(4):
        for group, aucs in AUCS.items():
            trial = trials_of(group)[i]
            result = {"epoch": epoch, "validation_auc": aucs[i]}
            decided[trial.trial_id] = scheduler.on_trial_result(None, trial, result)
    return decided


def fair():
    return AshaPerGroup(max_epochs=20, grace_epochs=4, reduction_factor=2)


def rays_own():
    return AsyncHyperBandScheduler(
        time_attr="epoch",
        metric="validation_auc",
        mode="max",
        max_t=21,
        grace_period=4,
        reduction_factor=2,
    )


def test_each_targets_decisions_are_those_it_would_get_alone():
    together = decisions(fair(), epoch=4)
    alone = rays_own()
    for trial, auc in zip(trials_of("HER2"), AUCS["HER2"], strict=True):
        alone.on_trial_add(None, trial)
        expected = alone.on_trial_result(None, trial, {"epoch": 4, "validation_auc": auc})
        assert together[trial.trial_id] == expected


def test_the_best_of_the_harder_target_goes_on():
    decided = decisions(fair(), epoch=4)
    assert decided["HER23"] == "CONTINUE"
    assert decided["ER3"] == "CONTINUE"
    assert "STOP" in [decided[f"HER2{i}"] for i in range(4)]


def test_a_single_ranking_over_targets_would_be_unfair():
    """The reason for the groups: Ray's own scheduler stops even the best HER2 trial."""
    assert decisions(rays_own(), epoch=4)["HER23"] == "STOP"


@pytest.mark.parametrize("epoch", [1, 3])
def test_nobody_is_stopped_during_grace(epoch):
    assert set(decisions(fair(), epoch).values()) == {"CONTINUE"}


def test_the_last_epoch_is_an_end_and_no_stop():
    scheduler = AshaPerGroup(max_epochs=4, grace_epochs=10, reduction_factor=3)
    trial = trials_of("ER")[0]
    scheduler.on_trial_add(None, trial)
    result = {"epoch": 4, "validation_auc": 0.9}
    assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"
    scheduler.on_trial_complete(None, trial, result)
