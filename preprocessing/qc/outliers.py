"""Patients that differ from the others, the most unusual first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocessing.cohort.cohort import Finding
from preprocessing.images.plausibility import CODES
from preprocessing.qc.measures import Measure, Measures
from preprocessing.qc.study import Study
from preprocessing.store import PatientRecord, Store

# Which patients are unlike the others, in what, and by how much.
#
# A measure's robust z is its distance from the cohort's median, over the spread: 1.4826 times the
# median absolute deviation, which for a normal distribution is the standard deviation. Where most
# patients agree that spread is 0 or next to it, so it is never taken for less than the difference
# that the measure itself calls unremarkable.
#
# References
# ----------
# Iglewicz and Hoaglin 1993, How to detect and handle outliers (the limit of 3.5).

LIMIT = 3.5
LARGEST = 10.0

_MAD_TO_SD = 1.4826
# Fewer patients have no usual value.
_FEWEST = 5


@dataclass(frozen=True)
class Odd:
    """One measure of one patient that is far from the usual.

    Parameters
    ----------
    usual
        The cohort's median.
    z
        Robust z, at most `LARGEST` either way.
    """

    measure: Measure
    value: float
    usual: float
    z: float

    @property
    def text(self) -> str:
        """A sentence's part for a person, such as ``phase 2 at 410 s, usual 131 s``."""
        value, usual = self.measure.text(self.value), self.measure.text(self.usual)
        return f"{self.measure.label} {value}, usual {usual}"


@dataclass(frozen=True)
class Oddness:
    """How unlike the others a patient is.

    Parameters
    ----------
    odd
        The measures beyond `LIMIT`, most odd first.
    """

    odd: tuple[Odd, ...]

    @property
    def score(self) -> float:
        """The sum of the odd measures' |z|; 0 where nothing is odd."""
        return sum(abs(o.z) for o in self.odd)


@dataclass(frozen=True)
class Yardstick:
    """What is usual in a cohort for one measure.

    Parameters
    ----------
    middle, spread
        On the measure's own scale for comparing.
    expected
        Whether at least half of the patients have a value, so that having none is odd.
    """

    measure: Measure
    middle: float
    spread: float
    expected: bool

    @property
    def usual(self) -> float:
        """The cohort's median."""
        return math.exp(self.middle) if self.measure.ratio else self.middle

    def z(self, value: float) -> float:
        """Return the robust z of a patient's value, within ± `LARGEST`; NaN counts as `LIMIT`."""
        z = (self.measure.compared(value) - self.middle) / self.spread
        if math.isnan(z):
            return LIMIT if self.expected else 0.0
        lowest = 0.0 if self.measure.high_only else -LARGEST
        return min(max(z, lowest), LARGEST)


def make_yardsticks(
    patients: Sequence[Measures], measures: Sequence[Measure]
) -> tuple[Yardstick, ...]:
    """Return what is usual, for each measure of which enough patients have a value.

    A patient without a key was not measured; one whose value is NaN was, in vain.
    """
    found = []
    for measure in measures:
        compared = [measure.compared(p[measure.key]) for p in patients if measure.key in p]
        known = np.array([c for c in compared if not math.isnan(c)])
        if len(known) < _FEWEST:
            continue
        middle = float(np.median(known))
        deviation = float(np.median(np.abs(known - middle)))
        spread = max(_MAD_TO_SD * deviation, measure.unremarkable)
        found.append(Yardstick(measure, middle, spread, 2 * len(known) >= len(compared)))
    return tuple(found)


def judge(patient: Measures, yardsticks: Sequence[Yardstick]) -> Oddness:
    """Compare a patient with what is usual."""
    odd = []
    for yardstick in yardsticks:
        measure = yardstick.measure
        if measure.key not in patient:
            continue
        z = yardstick.z(patient[measure.key])
        if abs(z) >= LIMIT:
            odd.append(Odd(measure, patient[measure.key], yardstick.usual, z))
    return Oddness(tuple(sorted(odd, key=lambda o: -abs(o.z))))


DAMAGED = "voxels-damaged"


@dataclass(frozen=True)
class Entry:
    """One stored patient.

    Parameters
    ----------
    name
        Of the page's file, without suffix.
    labels
        Target names and 0, 1 or -1 (missing).
    """

    record: PatientRecord
    name: str
    labels: tuple[tuple[str, int], ...]
    study: Study
    oddness: Oddness

    @property
    def damaged(self) -> bool:
        """Whether the voxels could not be read."""
        return self.study.problem is not None

    @property
    def odd_keys(self) -> frozenset[str]:
        """The measures that are odd."""
        return frozenset(o.measure.key for o in self.oddness.odd)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What preprocessing found, after what was found now."""
        if self.study.problem is None:
            return self.record.findings
        return (Finding(DAMAGED, self.study.problem), *self.record.findings)

    @property
    def implausible(self) -> tuple[Finding, ...]:
        """What preprocessing found that no examination shows."""
        return implausible_of(self.record)


def implausible_of(record: PatientRecord) -> tuple[Finding, ...]:
    """Return the findings of `preprocessing.images.plausibility` among those of a patient."""
    return tuple(f for f in record.findings if f.code in CODES)


def make_entries(
    store: Store,
    names: Sequence[str],
    studies: Sequence[Study],
    yardsticks: Sequence[Yardstick],
) -> tuple[Entry, ...]:
    """Return an entry for each stored patient: damaged, then implausible, then by how odd, then by id."""
    entries = [
        Entry(
            record=record,
            name=name,
            labels=tuple(zip(store.targets, (int(v) for v in labels), strict=True)),
            study=study,
            oddness=judge(study.measures, yardsticks),
        )
        for record, name, labels, study in zip(
            store.records, names, store.labels, studies, strict=True
        )
    ]
    return tuple(
        sorted(
            entries,
            key=lambda e: (
                not e.damaged,
                not e.implausible,
                -e.oddness.score,
                e.record.patient_id,
            ),
        )
    )
