"""How much better a sweep's winner looks than it is, expected from how it was chosen.

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
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm

from radiotrain.config import Choose
from radiotrain.training.early_stopping import EpochChoice

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
