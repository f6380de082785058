"""Which test patients are looked at: the surest right and the surest wrong ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radiotrain.evaluation.patients import PatientScores


def choose_patients(scores: PatientScores, threshold: float, num: int) -> tuple[str, ...]:
    """Return up to `num` patients, right and wrong ones in turn, the surest of each first.

    Parameters
    ----------
    scores
        Of the test patients.
    threshold
        From which on one is called positive.
    """
    right = (scores.scores >= threshold) == (scores.labels == 1)
    order = np.argsort(-np.abs(scores.scores - threshold), kind="stable")
    queues = [[i for i in order if right[i]], [i for i in order if not right[i]]]
    chosen: list[int] = []
    while len(chosen) < num and any(queues):
        for queue in queues:
            if queue and len(chosen) < num:
                chosen.append(int(queue.pop(0)))
    ids: Sequence[str] = scores.patient_ids
    return tuple(ids[i] for i in chosen)
