"""The numbers of one group of test patients.

Axis legend: n patients.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from radiotrain.evaluation.measure import Values
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.ranking import area_of, interval_of, unpaired
from radiotrain.evaluation.statistics.auc import Interval
from radiotrain.evaluation.statistics.operating_point import wilson_interval
from radiotrain.evaluation.subgroups.results import FEWEST_JUDGED, FEWEST_SHOWN, Group, Standing

_MEASURED = ("auc", "sensitivity", "specificity", "calibration_difference", "auc_difference")


def measure_group(
    name: str,
    patients: PatientScores,
    rest: PatientScores,
    called: NDArray[np.bool_] | None,
    *,
    is_unknown: bool = False,
) -> Group:
    """Measure one group.

    Parameters
    ----------
    rest
        The variable's other patients of whom it is known.
    called
        Which of the patients (n,) the threshold from validation calls positive; None where there is none.
    is_unknown
        Whether it is the patients of whom nothing is known.
    """
    labels, scores = patients.labels, patients.scores
    standing = standing_of(labels)
    values = Values()
    if standing == "withheld":
        values.reasons |= _all_reasons(f"withheld: fewer than {FEWEST_SHOWN} of a class")
    else:
        _put_auc(values, patients)
        _put_calls(values, labels, called)
        difference, interval = calibration_difference(labels, scores)
        values.put("calibration_difference", difference, "no patients")
        values.put("calibration_difference_ci95", interval, "no patients")
        _put_difference(values, patients, rest, is_unknown)
    return Group(
        name=name,
        num_patients=len(labels),
        num_positive=int(labels.sum()),
        is_unknown=is_unknown,
        standing=standing,
        reasons=values.reasons,
        **values.defined,
    )


def standing_of(labels: NDArray[np.int64]) -> Standing:
    """Tell by the rarer class whether a group can be judged."""
    num_positive = int(labels.sum())
    few = min(num_positive, len(labels) - num_positive)
    if few < FEWEST_SHOWN:
        return "withheld"
    return "judged" if few >= FEWEST_JUDGED else "too few to say"


def calibration_difference(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[float, Interval]:
    """Return the share of positives less the mean probability, with a 95 % interval.

    The probabilities count as fixed: the interval is Wilson's of the share, moved by their mean.
    NaN without patients.
    """
    if not len(labels):
        return math.nan, (math.nan, math.nan)
    promised = float(probabilities.mean())
    low, high = wilson_interval(int(labels.sum()), len(labels))
    return float(labels.mean()) - promised, (low - promised, high - promised)


def _put_auc(values: Values, patients: PatientScores) -> None:
    area = area_of(patients)
    values.put("auc", area, "one class only")
    why = "all probabilities are tied, so there is no spread to build an interval from"
    values.put("auc_ci95", interval_of(patients), why)


def _put_calls(values: Values, labels: NDArray[np.int64], called: NDArray[np.bool_] | None) -> None:
    names = ("sensitivity", "specificity")
    if called is None:
        why = "no threshold: validation holds one class only, or nobody"
        values.reasons |= {n: why for name in names for n in (name, f"{name}_ci95")}
        return
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        mine = labels == label
        right, num = int((called[mine] == bool(label)).sum()), int(mine.sum())
        values.put(name, right / num, "no patients")
        values.put(f"{name}_ci95", wilson_interval(right, num), "no patients")


def _put_difference(
    values: Values, patients: PatientScores, rest: PatientScores, is_unknown: bool
) -> None:
    why = ""
    if is_unknown:
        why = "not a group: nothing is known of these patients"
    elif standing_of(patients.labels) != "judged":
        why = f"too few to say: fewer than {FEWEST_JUDGED} of a class"
    elif standing_of(rest.labels) != "judged":
        why = f"too few other patients to say: fewer than {FEWEST_JUDGED} of a class"
    if why:
        values.reasons |= {"auc_difference": why, "auc_difference_ci95": why}
        return
    found = unpaired(patients, rest)
    values.put("auc_difference", found.value, "")
    values.put("auc_difference_ci95", found.interval, "there is no spread to build it from")


def _all_reasons(why: str) -> dict[str, str]:
    return {n: why for name in _MEASURED for n in (name, f"{name}_ci95")}
