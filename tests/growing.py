"""Cohorts that grow: what a patient is like depends on its id alone, not on other patients."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from preprocessing.store import PatientRecord, PatientTensor, Store, StoreSpec, StoreWriter

TARGETS = ("ER", "PR", "HER2")

Change = Callable[[PatientRecord, PatientTensor], tuple[PatientRecord, PatientTensor]]


def names(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"P{i:03d}" for i in range(first, last))


def labels_of(patient_id: str) -> tuple[int, ...]:
    generator = np.random.default_rng(zlib.crc32(patient_id.encode()))
    values = np.where(generator.random(3) < 0.1, -1, generator.integers(0, 2, 3))
    return (int(patient_id[1:]) % 2, *(int(v) for v in values[1:]))


def write_cohort(
    url: str,
    patient_ids: Sequence[str],
    *,
    crop_shape: tuple[int, int, int] = (8, 8, 4),
    labels: dict[str, tuple[int, ...]] | None = None,
    change: dict[str, Change] | None = None,
    excluded: Sequence[str] = (),
    again: Sequence[str] = (),
    settings: dict[str, object] | None = None,
    targets: tuple[str, ...] = TARGETS,
) -> Store:
    """Make a store, or append those of the patients that are not in it; a tumour is bright where ER is 1.

    Parameters
    ----------
    again
        Patients to be written again, as when their images have changed.
    """
    known = {i: (labels or {}).get(i, labels_of(i)) for i in patient_ids}
    spec = StoreSpec(
        patient_ids=tuple(patient_ids),
        targets=targets,
        labels=tuple(known.values()),
        num_phases=4,
        crop_shape=crop_shape,
        settings=settings or {},
    )
    writer = StoreWriter.create_or_resume(url, spec, {"radiotrain": "test"})
    writer.reopen({writer.spec.patient_ids.index(i) for i in again})
    done = writer.finished()
    for index, patient_id in enumerate(writer.spec.patient_ids):
        if index in done:
            continue
        generator = np.random.default_rng(zlib.crc32(patient_id.encode()))
        images = generator.normal(100, 10, (4, *crop_shape)).astype(np.float32)
        r, c, s = (slice(n // 3, 2 * n // 3) for n in crop_shape)
        images[1:, r, c, s] += 80 if known.get(patient_id, (0,))[0] == 1 else 0
        region = np.zeros(crop_shape, dtype=np.uint8)
        region[r, c, s] = 1
        record = PatientRecord(
            index=index,
            patient_id=patient_id,
            status="stored",
            covariates={
                "age_years": float(40 + zlib.crc32(patient_id.encode()) % 30),
                "manufacturer": "AB"[int(patient_id[1:]) // 2 % 2],
            },
            spacing_mm=(1.0, 1.0, 2.0),
            box_in_crop=((r.start, c.start, s.start), (r.stop, c.stop, s.stop)),
        )
        tensor = PatientTensor(images, region)
        if patient_id in (change or {}):
            record, tensor = (change or {})[patient_id](record, tensor)
        if patient_id in excluded:
            writer.write(replace(record, status="excluded"), None)
        else:
            writer.write(record, tensor)
    return writer.finish()
