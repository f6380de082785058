"""Stores of a few voxels, written directly: each patient as odd as a test needs.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Finding
from preprocessing.store import (
    BIAS_STEP,
    REGION_PADDING,
    REGION_TUMOUR,
    PatientRecord,
    PatientTensor,
    Store,
    StoreSpec,
    StoreWriter,
)

SHAPE = (24, 20, 12)
BOX = ((8, 6, 4), (14, 12, 8))
SPACING_MM = (0.7, 0.8, 2.0)
TIMES_S = (0.0, 131.0, 260.0, 390.0, 520.0, 650.0)
GAINS = (1.0, 2.0, 1.8, 1.6, 1.5, 1.4)


@dataclass
class Case:
    """One patient; what is left out is usual."""

    patient_id: str
    times_s: Sequence[float | None] | None = None
    spacing_mm: tuple[float, float, float] | None = SPACING_MM
    box: tuple[tuple[int, int, int], tuple[int, int, int]] | None = BOX
    tumour: bool = True
    padded_corner: bool = False
    log_field: float = 0.1
    brightness: float = 1.0
    findings: tuple[Finding, ...] = ()
    covariates: dict[str, str | float | None] = field(default_factory=dict)
    excluded: bool = False


def usual_cases(num: int) -> list[Case]:
    return [
        Case(f"P{i:03d}", covariates={"manufacturer": "GE" if i % 3 else "SIEMENS"})
        for i in range(num)
    ]


def write_store(url: Path | str, cases: Sequence[Case], num_phases: int = 3) -> Store:
    spec = StoreSpec(
        patient_ids=tuple(case.patient_id for case in cases),
        targets=("ER", "HER2"),
        labels=tuple((i % 2, -1) for i in range(len(cases))),
        num_phases=num_phases,
        crop_shape=SHAPE,
        settings={"bias_engine": "separable"},
    )
    writer = StoreWriter.create_or_resume(str(url), spec, {"radiotrain": "test"})
    for i, case in enumerate(cases):
        writer.write(*_patient(i, case, num_phases))
    return writer.finish()


def _patient(i: int, case: Case, num_phases: int) -> tuple[PatientRecord, PatientTensor | None]:
    if case.excluded:
        record = PatientRecord(i, case.patient_id, "excluded", case.findings)
        return record, None
    record = PatientRecord(
        index=i,
        patient_id=case.patient_id,
        status="stored",
        findings=case.findings,
        covariates=case.covariates,
        spacing_mm=case.spacing_mm,
        box_in_crop=case.box,
        phase_names=tuple(f"series {p}" for p in range(num_phases)),
        phase_times_s=tuple(TIMES_S[:num_phases] if case.times_s is None else case.times_s),
    )
    region = np.zeros(SHAPE, dtype=np.uint8)
    if case.tumour:
        region[_slices(BOX)] = REGION_TUMOUR
    images = _images(i, case, num_phases)
    if case.padded_corner:
        corner = (slice(0, 12), slice(0, 10), slice(0, 6))
        region[corner] |= REGION_PADDING
        images[(slice(None), *corner)] = 0
    steps = tuple(-(-n // BIAS_STEP) for n in SHAPE)
    bias = np.linspace(-case.log_field, case.log_field, int(np.prod(steps)), dtype=np.float32)
    return record, PatientTensor(images, region, bias.reshape(steps))


def _images(i: int, case: Case, num_phases: int) -> NDArray[np.float32]:
    """Air in the first rows; tissue of 100 whose tumour takes up contrast by `GAINS`."""
    generator = np.random.default_rng(i)
    images = np.empty((num_phases, *SHAPE), dtype=np.float32)
    for p in range(num_phases):
        images[p] = generator.normal(100, 3, SHAPE)
        images[p, :4] = generator.uniform(0, 4, (4, *SHAPE[1:]))
        if case.tumour:
            images[(p, *_slices(BOX))] *= GAINS[p]
    return images * case.brightness


def _slices(
    box: tuple[tuple[int, int, int], tuple[int, int, int]],
) -> tuple[slice, slice, slice]:
    r, c, s = (slice(a, b) for a, b in zip(*box, strict=True))
    return r, c, s
