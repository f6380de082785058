"""Calibrate the members of an ensemble on one scale.

Networks of several folds differ in how far their logits spread; without this the loudest decide. On a
member's standardised logits a logistic curve is fitted, its slope with a weak penalty towards the slope that all
members have in common; the level is the
share of positives among the validation patients of all members: one of each member's own would tell, by chance
of its few patients, which fold a patient is of, and with it the label. `docs/statistics.md` has the simulation that chose this.

Axis legend: N validation patients of a member.

References
----------
Platt, Advances in Large Margin Classifiers (1999) 61-74: the curve.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit

from radiotrain.statistics.calibration import logits, why_flat

Floats = NDArray[np.float64]

FEWEST_OF_A_CLASS = 5
"""Validation patients of each class that a member's own slope needs."""

NUM_PARTS = 5
"""Parts of the validation patients, each calibrated by curves that were fitted without it."""

PENALTY_SD = 1.5
"""Of the normal prior around 0 of the members' common slope over standardised logits: 20 separated patients
give a finite slope."""

OWN_SD = 0.5
"""Of the normal prior of one member's slope around the common one: 22 patients alone say little of it."""

EQUAL_SLOPE = 0.1
"""Over standardised logits, where no member ranks better than chance: equal spread, no trust."""

Source = Literal["own patients", "other members", "equal spread", "as predicted"]


@dataclass(frozen=True)
class MemberScale:
    """Calibrated probability of a member = sigmoid(slope × logit + intercept).

    Parameters
    ----------
    slope
        Never negative; 0 where the member ranked its validation patients no better than chance: its
        probability is then the same for all, and the others decide.
    source
        Which patients the slope is fitted to.
    num_patients, num_positive
        Validation patients of the member with a known label.
    reason
        Why the slope is not that of its own patients, or is 0; else empty.
    """

    slope: float
    intercept: float
    source: Source
    num_patients: int
    num_positive: int
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse a curve that turns probabilities round, or is none."""
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope >= 0):
            raise ValueError(
                f"slope {self.slope} and intercept {self.intercept}, expected finite numbers and a"
                " slope of 0 or more"
            )

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Return calibrated probabilities, in the same order and shape."""
        return np.asarray(expit(self.slope * logits(probabilities) + self.intercept))


Scales = Mapping[str, MemberScale]
"""A member's scales by target."""


@dataclass(frozen=True)
class MemberPatients:
    """A member's validation patients with a known label.

    Parameters
    ----------
    patient_ids, labels, probabilities
        N each; labels are 0 and 1, probabilities as the member gave them.
    """

    patient_ids: tuple[str, ...]
    labels: Floats
    probabilities: Floats

    @property
    def num_positive(self) -> int:
        """How many have label 1."""
        return int(self.labels.sum())

    @property
    def has_own_slope(self) -> bool:
        """Whether there are enough of both classes for a slope."""
        num = self.num_positive
        return min(num, len(self.labels) - num) >= FEWEST_OF_A_CLASS


def on_one_scale(probabilities: ArrayLike, targets: Sequence[str], scales: Scales | None) -> Floats:
    """Return a member's probabilities as they are averaged with those of the others.

    The only function by which they are, but for `radiotrain.networks.ensemble`, which exports carry with them.

    Parameters
    ----------
    probabilities
        float64 (..., T), as the member gave them.
    targets
        T names.
    scales
        Of the member by target; None for probabilities that are averaged as predicted.
    """
    found = np.array(probabilities, dtype=np.float64)
    if scales is not None:
        for t, target in enumerate(targets):
            found[..., t] = scales[target].apply(found[..., t])
    return found


def describe_scales(name: str, scales: Scales) -> Iterator[str]:
    """Yield a sentence for each target for which a member's slope is not that of its own patients."""
    for target, scale in scales.items():
        if scale.reason:
            yield f"{name}, {target}: {scale.reason} (scale from {scale.source})."


def fit_member_scales(members: Sequence[MemberPatients]) -> tuple[MemberScale, ...]:
    """Return the scale of each member of one target, in their order."""
    return _fit(members, frozenset())


def cross_fitted_members(members: Sequence[MemberPatients]) -> tuple[Floats, ...]:
    """Return each member's calibrated probabilities of its validation patients, (N,) each.

    A patient's probability comes from slopes that were fitted without the patient, in `NUM_PARTS` parts of
    about equal shares of positives. Spread and level of a member's logits do not change with the part: a
    level that left a patient out would be lower for each positive, and turn the ranking round.
    """
    found = [np.full(len(member.labels), math.nan) for member in members]
    part_of = _deal(members)
    for part in range(NUM_PARTS):
        held = frozenset(i for i, number in part_of.items() if number == part)
        if not held:
            continue
        for calibrated, member, scale in zip(found, members, _fit(members, held), strict=True):
            mine = _among(member, held)
            calibrated[mine] = scale.apply(member.probabilities[mine])
    return tuple(found)


def _deal(members: Sequence[MemberPatients]) -> dict[str, int]:
    """Deal patients into parts, class by class and member by member.

    Neither the order of the members nor that of their rows matters.
    """
    places: dict[str, tuple[float, str, str]] = {}
    for member in members:
        mixed = [hashlib.sha256(i.encode()).hexdigest() for i in member.patient_ids]
        name = min(mixed, default="")
        for patient_id, label, own in zip(
            member.patient_ids, member.labels.tolist(), mixed, strict=True
        ):
            place = (label, name, own)
            places[patient_id] = min(places.get(patient_id, place), place)
    return {i: k % NUM_PARTS for k, i in enumerate(sorted(places, key=places.__getitem__))}


def _among(member: MemberPatients, ids: Collection[str]) -> NDArray[np.bool_]:
    return np.array([i in ids for i in member.patient_ids], dtype=bool)


@dataclass(frozen=True)
class _Standard:
    """A member's logits as z = (logit − mean) / sd, and the patients that its slope may be fitted to."""

    mean: float
    sd: float
    z: Floats
    labels: Floats
    fitted: NDArray[np.bool_]


def _fit(members: Sequence[MemberPatients], left_out: Collection[str]) -> tuple[MemberScale, ...]:
    standard = [_standardise(member, left_out) for member in members]
    known = [s for m, s in zip(members, standard, strict=True) if s is not None and m.has_own_slope]
    common = max(_slope(known), 0.0)
    own = [
        _slope([s], common, OWN_SD) if s is not None and member.has_own_slope else None
        for member, s in zip(members, standard, strict=True)
    ]
    if not any(s is not None for s in standard):
        return tuple(
            _as_predicted(m, "no member has validation patients that differ in probability")
            for m in members
        )
    share = _share(members)
    scales = []
    for n, (member, mine) in enumerate(zip(members, standard, strict=True)):
        others = [s for k, s in enumerate(standard) if s is not None and k != n]
        scales.append(_scale(member, mine, own[n], others, share))
    if any(scale.slope > 0 for scale in scales):
        return tuple(scales)
    return tuple(
        scale if mine is None else _equal_spread(member, mine, share)
        for scale, member, mine in zip(scales, members, standard, strict=True)
    )


def _standardise(member: MemberPatients, left_out: Collection[str]) -> _Standard | None:
    """Return a member's standardised logits; None without patients, or where all logits are equal."""
    x = logits(member.probabilities)
    if not len(x) or why_flat(x):
        return None
    mean, sd = float(x.mean()), float(x.std())
    return _Standard(mean, sd, (x - mean) / sd, member.labels, ~_among(member, left_out))


def _share(members: Sequence[MemberPatients]) -> float:
    """Return the share of positives among all members' patients, half a patient off 0 and 1."""
    num = sum(len(member.labels) for member in members)
    return (sum(member.num_positive for member in members) + 0.5) / (num + 1)


def _scale(
    member: MemberPatients,
    mine: _Standard | None,
    own: float | None,
    others: Sequence[_Standard],
    share: float,
) -> MemberScale:
    num, positive = len(member.labels), member.num_positive
    if own is not None and mine is not None:
        if own > 0:
            why = ""
            if not _ranks_better_than_chance(mine):
                why = (
                    f"higher probabilities did not go with more positives among its {num} validation"
                    f" patients ({positive} positive), so few that its small weight rests on the other members"
                )
            return _with_level(member, mine, own, share, "own patients", why)
        why = (
            f"higher probabilities did not go with more positives among its {num} validation patients"
            f" ({positive} positive), so it gives all patients the same probability and the others decide"
        )
        return _with_level(member, mine, 0.0, share, "own patients", why)
    if mine is None and num:
        why = (
            f"all its {num} validation patients have nearly the same probability, so it gives all"
            " patients the same"
        )
        level = float(logit(share))
        return MemberScale(0.0, level, "own patients", num, positive, why)
    why = f"it has {num} validation patients ({positive} positive), too few of a class for its own slope"
    pooled = max(_slope(others), 0.0) if others else 0.0
    if mine is not None:
        return _with_level(member, mine, pooled, share, "other members", why)
    # Nothing is known of its own logits: those of the others stand for them.
    mean = float(np.mean([s.mean for s in others]))
    sd = float(np.exp(np.mean([math.log(s.sd) for s in others])))
    z = np.concatenate([s.z for s in others])
    level = _solve_level(pooled * z, share * len(z))
    slope = pooled / sd
    return MemberScale(slope, level - slope * mean, "other members", 0, 0, why)


def _with_level(
    member: MemberPatients, mine: _Standard, slope: float, share: float, source: Source, why: str
) -> MemberScale:
    level = _solve_level(slope * mine.z, share * len(mine.z))
    steep = slope / mine.sd
    num, positive = len(member.labels), member.num_positive
    return MemberScale(steep, level - steep * mine.mean, source, num, positive, why)


def _equal_spread(member: MemberPatients, mine: _Standard, share: float) -> MemberScale:
    why = (
        "no member's validation patients show that it ranks better than chance, so all have the same"
        " spread"
    )
    return _with_level(member, mine, EQUAL_SLOPE, share, "equal spread", why)


def _as_predicted(member: MemberPatients, why: str) -> MemberScale:
    return MemberScale(1.0, 0.0, "as predicted", len(member.labels), member.num_positive, why)


def _solve_level(x: Floats, positive: float) -> float:
    """Return the intercept with which so many are expected to be positive; more than 0, fewer than all."""
    num, wanted = len(x), positive
    reach = float(np.abs(x).max()) + abs(float(logit(wanted / num))) + 1.0
    return float(brentq(lambda a: float(expit(a + x).sum()) - wanted, -reach, reach, xtol=1e-12))


def _ranks_better_than_chance(mine: _Standard) -> bool:
    """Tell whether positives have the higher logits on the mean: the sign of the slope without a prior."""
    z, y = mine.z[mine.fitted], mine.labels[mine.fitted]
    return bool(float(((y - y.mean()) * z).sum()) > 0)


def _slope(parts: Sequence[_Standard], centre: float = 0.0, sd: float = PENALTY_SD) -> float:
    """Return the common slope over standardised logits, with an intercept of each part.

    Newton's method on the log loss with a normal prior of the slope, which makes it strictly convex. Parts of
    one class say nothing of a slope.

    Parameters
    ----------
    centre, sd
        Of the prior.
    """
    z = [s.z[s.fitted] for s in parts]
    y = [s.labels[s.fitted] for s in parts]
    used = [(a, b) for a, b in zip(z, y, strict=True) if len(b) and 0 < b.sum() < len(b)]
    slope = centre
    for _ in range(100):
        gradient, curvature = (slope - centre) / sd**2, 1 / sd**2
        for of_part, labels in used:
            # The intercept is profiled out: exact for this slope.
            level = _solve_level(slope * of_part, float(labels.sum()))
            p = expit(level + slope * of_part)
            weight = p * (1 - p)
            middle = float((weight * of_part).sum() / weight.sum())
            gradient += float(((p - labels) * of_part).sum())
            curvature += float((weight * (of_part - middle) ** 2).sum())
        step = gradient / curvature
        # Far steps of Newton's method can overshoot where most weights vanish.
        step = min(max(step, -1.0), 1.0)
        slope -= step
        if abs(step) < 1e-10:
            break
    return slope
