"""Stores of small cohorts that differ in whatever a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from preprocessing.store import (
    REGION_TUMOUR,
    PatientRecord,
    PatientTensor,
    Store,
    StoreSpec,
    StoreWriter,
)

CROP_SHAPE = (24, 24, 12)
SETTINGS = {"crop_shape": list(CROP_SHAPE), "num_phases": 3, "resample_mm": None, "bias_engine": "none", "region": "mask"}  # fmt: skip


def write_cohort(
    url: str,
    *,
    prefix: str = "A",
    num_patients: int = 40,
    seed: int = 0,
    num_phases: int = 3,
    crop_shape: tuple[int, int, int] = CROP_SHAPE,
    labels: Mapping[str, Sequence[int]] | None = None,
    settings: Mapping[str, Any] = SETTINGS,
    leave_out: Sequence[str] = (),
    extra: Mapping[str, Sequence[str | float | None]] | None = None,
    images_of: int | None = None,
    finish: bool = True,
    exclude_all: bool = False,
) -> Store | None:
    """ER-positive tumours take up more contrast; the images are drawn from `seed`, or `images_of`."""
    own = np.random.default_rng(seed)
    drawn = np.random.default_rng(seed if images_of is None else images_of)
    alternating = [i % 2 for i in range(num_patients)]
    found = labels or {"ER": alternating, "PR": own.integers(0, 2, num_patients).tolist()}
    spec = StoreSpec(
        patient_ids=tuple(f"{prefix}{i:03d}" for i in range(num_patients)),
        targets=tuple(found),
        labels=tuple(zip(*found.values(), strict=True)),
        num_phases=num_phases,
        crop_shape=crop_shape,
        settings={**settings, "crop_shape": list(crop_shape), "num_phases": num_phases}
        if settings
        else {},
    )
    writer = StoreWriter.create_or_resume(url, spec, {"radiotrain": "test"})
    region = np.zeros(crop_shape, dtype=np.uint8)
    region[8:16, 8:16, 4:8] = REGION_TUMOUR
    for i, patient_id in enumerate(spec.patient_ids):
        images = drawn.normal(100, 10, (num_phases, *crop_shape)).astype(np.float32)
        images[1:, 8:16, 8:16, 4:8] += 20 + 60 * alternating[i]
        covariates: dict[str, str | float | None] = {
            "manufacturer": "GE" if i % 3 else "SIEMENS",
            "age_years": float(own.integers(30, 80)),
            "site": f"hospital {i % 4 // 2}",
        }
        covariates = {k: v for k, v in covariates.items() if k not in leave_out}
        covariates |= {name: values[i] for name, values in (extra or {}).items()}
        record = PatientRecord(
            index=i,
            patient_id=patient_id,
            status="excluded" if exclude_all else "stored",
            covariates=covariates,
            spacing_mm=(1.0, 1.0, 2.0),
            phase_names=tuple(f"phase {p}" for p in range(num_phases)),
            phase_times_s=tuple(90.0 * p for p in range(num_phases)),
        )
        if finish or i < num_patients // 2:
            writer.write(record, None if exclude_all else PatientTensor(images, region))
    return writer.finish() if finish else None
