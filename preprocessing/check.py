"""Whether each patient of a cohort can be used, found out without reading voxels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from preprocessing.cohort import Box, Cohort, Finding, Patient
from preprocessing.config import PreprocessConfig
from preprocessing.opening import OpenedPatient, open_patient
from preprocessing.staging import staging

_PAPERS_PHASES = {"duke": 4}
_NUM_THREADS = 4  # headers are waited for, not computed


@dataclass(frozen=True)
class CheckedPatient:
    """A patient and all that was found about it."""

    patient: Patient
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether no finding excludes the patient."""
        return not any(f.excludes for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the patient's entry of ``cohort check --json``."""
        return {
            "patient_id": self.patient.patient_id,
            "usable": self.usable,
            "labels": dict(self.patient.labels),
            "box": _box_json(self.patient.box),
            "findings": [
                {"code": f.code, "message": f.message, "excludes": f.excludes}
                for f in self.findings
            ],
        }


def check_cohort(cohort: Cohort, config: PreprocessConfig) -> Iterator[CheckedPatient]:
    """Open every patient's images (headers only) and yield what was found, in order."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        yield from pool.map(lambda p: _check(p, config), cohort.patients)


def common_num_phases(cohort: Cohort) -> int:
    """Return how many phases a patient of this cohort should have.

    Duke-Breast-Cancer-MRI: the paper's one pre- and three post-contrast series. Elsewhere: the
    number most patients have, the larger one where two are equally common.
    """
    if cohort.layout in _PAPERS_PHASES:
        return _PAPERS_PHASES[cohort.layout]
    counts: Mapping[int, int] = _count(len(p.phases) for p in cohort.patients if p.phases)
    return max(counts, key=lambda n: (counts[n], n)) if counts else 1


def _check(patient: Patient, config: PreprocessConfig) -> CheckedPatient:
    with staging() as stage:
        opened = open_patient(patient, config, stage)
    findings = opened.findings if isinstance(opened, OpenedPatient) else opened
    return CheckedPatient(patient, findings)


def _count(numbers: Iterator[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for n in numbers:
        counts[n] = counts.get(n, 0) + 1
    return counts


def _box_json(box: Box | None) -> list[int] | None:
    """Return [row_start, row_stop, col_start, col_stop, slice_start, slice_stop]."""
    if box is None:
        return None
    return [v for pair in zip(box.start, box.stop, strict=True) for v in pair]
