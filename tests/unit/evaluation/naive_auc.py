"""The AUC of pairs of one stratum, by two plain loops."""

from __future__ import annotations

from typing import Any


def naive_stratified(labels: Any, scores: Any, strata: Any) -> float:
    right, pairs = 0.0, 0
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] == 1 and labels[j] == 0 and strata[i] == strata[j]:
                right += (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
                pairs += 1
    return right / pairs
