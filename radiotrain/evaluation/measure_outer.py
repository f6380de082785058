"""What differs where a run was tested in outer parts: pairs within a part, a threshold for each part.

Each function takes test or validation patients with `PatientScores.parts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.results import OuterResult
from radiotrain.evaluation.statistics.auc import auc
from radiotrain.evaluation.statistics.auc_interval import auc_interval
from radiotrain.evaluation.statistics.deployed import as_deployed
from radiotrain.evaluation.statistics.operating_point import OperatingPoint
from radiotrain.evaluation.statistics.pooled_auc import (
    Part,
    pooled_auc,
    pooled_interval,
    pooled_permutation_test,
)
from radiotrain.evaluation.statistics.recalibration import (
    Recalibration,
    apply_temperature,
    fit_temperature,
    isotonic,
    recalibration,
)

if TYPE_CHECKING:
    from radiotrain.evaluation.measure import Values

NO_BOOTSTRAP = (
    "a bootstrap of test patients does not see that outer parts train each other's models"
)
_OWN_THRESHOLDS = "each outer part has its own threshold"


def parts_of(scores: PatientScores) -> tuple[Part, ...]:
    """Return the outer parts for `statistics.pooled_auc`, in the order of their numbers."""
    filled = (p for p in scores.parts.values() if p.num_patients)
    return tuple(Part(p.patient_ids, p.labels, p.scores) for p in filled)


def put_pooled_ranking(
    values: Values, test: PatientScores, one_class: str, why: str, seed: int, num_resamples: int
) -> None:
    """Put the AUC, its intervals and its permutation test, from pairs within outer parts.

    Parameters
    ----------
    one_class, why
        Reasons where there is no AUC, and no interval.
    """
    parts = parts_of(test)
    area = pooled_auc(parts)
    if math.isnan(area) and 0 < test.num_positive < test.num_patients:
        why = one_class = "no outer part has test patients of both classes"
    values.put("auc", area, one_class)
    values.put("auc_ci95", pooled_interval(parts), why)
    values.reasons["auc_ci95_delong"] = "DeLong's interval is that of a single test set"
    values.reasons["auc_ci95_bootstrap"] = NO_BOOTSTRAP
    chance = pooled_permutation_test(parts, num_permutations=num_resamples, seed=seed)
    values.put("permutation_p", chance.p_value, one_class)
    tied = "all probabilities of each outer part are tied"
    values.put("permutation_range95", chance.interval, one_class if math.isnan(area) else tied)
    # Averaged over small parts it would lie above what chance gives over all patients.
    for name in ("auc_pr", "auc_pr_ci95_population", "auc_pr_ci95_within_classes"):
        values.reasons[name] = (
            "precision needs one order of all patients, and outer parts differ in level"
        )


def outer_operating_point(
    rule: str,
    choose: Callable[[NDArray[np.int64], NDArray[np.float64]], float],
    test: PatientScores,
    validation: PatientScores,
    measured: Callable[[str, float, PatientScores, PatientScores], OperatingPoint],
) -> OperatingPoint:
    """Return what thresholds do that are each chosen on the validation patients of one outer part.

    Parameters
    ----------
    choose
        Returns a threshold for labels and probabilities, NaN where there is none.
    measured
        Measures one threshold.
    """
    thresholds = {
        number: choose(of_part.labels, of_part.scores) if of_part is not None else math.nan
        for number in test.parts
        for of_part in [validation.parts.get(number)]
    }
    without = [number for number, value in thresholds.items() if math.isnan(value)]
    if without or not thresholds:
        point = measured(rule, math.nan, test, validation)
        parts = f"outer part{'s' * (len(without) > 1)} {', '.join(map(str, without))}"
        why = f"no threshold: {parts} without validation patients of both classes"
        return replace(point, reasons=dict.fromkeys(point.reasons, why))
    # A probability is at or above its part's threshold where it exceeds it by 0 or more.
    beyond = test.scores - np.array([thresholds[k] for k in test.part_of.tolist()])
    point = measured(rule, 0.0, replace(test, scores=beyond, parts={}), validation)
    low, high = min(thresholds.values()), max(thresholds.values())
    return replace(
        point,
        threshold=None,
        thresholds=tuple(thresholds.items()),
        source=f"validation patients of the same outer part, {rule}, {low:.4f} to {high:.4f}",
        reasons={**point.reasons, "threshold": _OWN_THRESHOLDS},
    )


def called_positive(point: OperatingPoint, scores: PatientScores) -> NDArray[np.bool_] | None:
    """Return which patients (n,) a threshold calls positive; None where there is none.

    Parameters
    ----------
    point
        With one threshold, or one for each outer part of the patients.
    """
    if point.thresholds and scores.parts:
        of_part = dict(point.thresholds)
        return np.asarray(scores.scores >= [of_part[k] for k in scores.part_of.tolist()])
    return None if point.threshold is None else np.asarray(scores.scores >= point.threshold)


def outer_results(
    test: PatientScores, validation: PatientScores, points: Sequence[OperatingPoint]
) -> tuple[OuterResult, ...]:
    """Return each outer part by itself."""
    thresholds = dict(points[0].thresholds)
    found = []
    for number, part in test.parts.items():
        area = auc(part.labels, part.scores)
        interval = auc_interval(part.labels, part.scores)
        of_part = validation.parts.get(number)
        found.append(
            OuterResult(
                number=number,
                num_patients=part.num_patients,
                num_positive=part.num_positive,
                num_validation=0 if of_part is None else of_part.num_patients,
                auc=None if math.isnan(area) else area,
                auc_ci95=None if math.isnan(interval[0]) else interval,
                threshold=thresholds.get(number),
            )
        )
    return tuple(found)


def outer_deployed(
    test: PatientScores, validation: PatientScores
) -> tuple[NDArray[np.float64], str]:
    """Return test probabilities (n,) after Platt's curve of each part's own validation patients.

    Returns
    -------
    The probabilities, and why those of a part are not calibrated.
    """
    found = test.scores.copy()
    part_of = test.part_of
    whys = []
    for number in test.parts:
        mine = part_of == number
        of_part = validation.parts.get(number)
        y, p = (np.empty(0), np.empty(0)) if of_part is None else (of_part.labels, of_part.scores)
        found[mine], why = as_deployed(test.scores[mine], y, p)
        if why:
            whys.append(f"{why} of outer part {number}")
    return found, "; ".join(whys)


def outer_recalibrations(
    test: PatientScores, validation: PatientScores
) -> tuple[Recalibration, ...]:
    """Return how good probabilities are after steps fitted to each part's own validation patients."""
    cooled, stepped = test.scores.copy(), test.scores.copy()
    whys = ["", ""]
    part_of = test.part_of
    for number in test.parts:
        mine = part_of == number
        of_part = validation.parts.get(number)
        y, p = (np.empty(0), np.empty(0)) if of_part is None else (of_part.labels, of_part.scores)
        temperature, why = fit_temperature(y, p)
        whys[0] = whys[0] or (why and f"{why} of outer part {number}")
        cooled[mine] = (
            test.scores[mine] if why else apply_temperature(test.scores[mine], temperature)
        )
        steps, why = isotonic(y, p, test.scores[mine])
        whys[1] = whys[1] or (why and f"{why} of outer part {number}")
        stepped[mine] = test.scores[mine] if steps is None else steps
    return (
        recalibration("none", test.labels, test.scores, ""),
        recalibration("temperature", test.labels, None if whys[0] else cooled, whys[0]),
        recalibration("isotonic", test.labels, None if whys[1] else stepped, whys[1]),
    )
