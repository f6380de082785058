"""The patients in the order in which they are to be looked at: the most unusual first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preprocessing.cohort import Finding
from preprocessing.plausibility import CODES
from preprocessing.qc.outliers import Oddness, Yardstick, judge
from preprocessing.qc.study import Study
from preprocessing.store import PatientRecord, Store

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
    """Return the findings of `preprocessing.plausibility` among those of a patient."""
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
