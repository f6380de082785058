"""How much of a sweep's best score is luck, against sweeps of equally good trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from cluster.sweep.halving import FoldCurve, Rung, curve_score, score_at
from cluster.sweep.progress import (
    BETWEEN_EPOCHS,
    BETWEEN_TRIALS,
    describe_optimism,
    expected_largest,
    expected_optimism,
    standard_error,
)
from radiotrain.runs.early_stopping import EpochChoice, decide

LAST, BEST = EpochChoice("last"), EpochChoice("best_auc")


@pytest.mark.parametrize("num", [1, 2, 5, 12, 60, 200])
def test_the_expected_largest_of_normal_variables(num: int) -> None:
    drawn = np.random.default_rng(0).normal(size=(20_000, num)).max(1).mean()
    assert expected_largest(num) == pytest.approx(drawn, abs=0.03)


@pytest.mark.parametrize(("auc", "classes"), [(0.5, (9, 17)), (0.7, (9, 17)), (0.8, (50, 95))])
def test_the_standard_error_is_that_of_drawn_aucs(auc: float, classes: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    positive = rng.normal(math.sqrt(2) * norm.ppf(auc), 1, (3000, classes[0], 1))
    negative = rng.normal(size=(3000, 1, classes[1]))
    drawn = (positive > negative).mean((1, 2))
    assert standard_error(auc, *classes) == pytest.approx(
        drawn.std(), rel=0.1
    )  # the formula is a little wide


@pytest.mark.parametrize("classes", [(9, 17), (50, 95)])
@pytest.mark.parametrize("num_trials", [1, 4, 12])
def test_what_is_expected_of_equally_good_trials_comes_out(classes, num_trials) -> None:
    """Trials whose scores share as much as the formula has it, on the same patients."""
    rng = np.random.default_rng(2)
    true, shared = 0.65, math.sqrt(1 - BETWEEN_TRIALS**2)
    shift = math.sqrt(2) * norm.ppf(true)

    def scores(num: int) -> np.ndarray:
        common = rng.normal(size=(1500, 1, num))
        return shared * common + BETWEEN_TRIALS * rng.normal(size=(1500, num_trials, num))

    positive, negative = scores(classes[0]) + shift, scores(classes[1])
    aucs = (positive[..., None] > negative[:, :, None]).mean((2, 3))
    found = aucs.max(1).mean()
    expected = expected_optimism(found, num_trials, [classes], LAST, 60)
    assert expected == pytest.approx(found - true, abs=max(0.012, 0.25 * (found - true)))


def test_more_trials_epochs_and_fewer_patients_are_more_luck() -> None:
    def of(num_trials=12, folds=((9, 17),), choice=LAST, epochs=60):
        return expected_optimism(0.7, num_trials, folds, choice, epochs)

    assert of(1) == 0
    assert 0 < of(2) < of(12) < of(100)
    assert of(folds=((50, 95),)) < of() / 2
    assert of(folds=((9, 17),) * 5) == pytest.approx(of() / math.sqrt(5), rel=0.1)
    rules = [of(choice=EpochChoice(c, 5, 2)) for c in BETWEEN_EPOCHS]
    assert rules == sorted(rules)
    assert of(choice=BEST, epochs=5) < of(choice=BEST, epochs=60)
    # That of each fold's own epoch does not average out.
    of_epochs = of(folds=((9, 17),) * 5, num_trials=1, choice=BEST)
    assert of_epochs == pytest.approx(of(num_trials=1, choice=BEST), rel=0.05)
    assert of(folds=((0, 26),)) is None
    # A perfect score of few patients is lucky, too.
    assert expected_optimism(1.0, 12, [(5, 5)], LAST, 60) > 0.05


def test_it_is_said_in_words() -> None:
    text = describe_optimism(0.71, 0.12, 12)
    assert "the best of 12 trials, is expected to be about 0.12 too high" in text
    assert "about 0.59." in text
    assert "no better than chance" in describe_optimism(0.6, 0.12, 12)


def test_a_score_is_that_of_the_kept_epoch_not_the_best_seen() -> None:
    aucs, losses = (0.5, 0.9, 0.6, 0.7, 0.65), (0.9, 0.8, 0.5, 0.4, 0.6)
    assert curve_score(FoldCurve(aucs, True, losses, LAST), 5, 1) == 0.65
    assert curve_score(FoldCurve(aucs, True, losses, LAST), 3, 1) == 0.6
    assert curve_score(FoldCurve(aucs, True, losses, LAST), 5, 2) == pytest.approx(0.675)
    by_loss = FoldCurve(aucs, True, losses, EpochChoice("smoothed_loss", 2))
    kept = decide(aucs, losses, None, by_loss.choice).best_epoch
    assert (kept, curve_score(by_loss, 5, 1)) == (3, 0.7)
    # As sweeps before this rule are judged.
    assert curve_score(FoldCurve(aucs, True, losses, BEST), 5, 1) == 0.9
    assert score_at((FoldCurve(aucs, True, losses, LAST),), Rung(0, 0, 3), 1) == 0.6
    # A last epoch without an AUC is no score; the one before would be another network's.
    undefined = FoldCurve((0.5, math.nan), True, (0.5, 0.5), LAST)
    assert curve_score(undefined, 2, 1) == -1
