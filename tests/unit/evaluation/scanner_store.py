"""A store of two scanners whose images differ, and tumours that say something or nothing."""

from __future__ import annotations

import numpy as np

from preprocessing.store import (
    REGION_PADDING,
    REGION_TUMOUR,
    PatientRecord,
    PatientTensor,
    Store,
    StoreSpec,
    StoreWriter,
)

CROP_SHAPE = (24, 24, 12)


def write_scanner_store(
    url: str,
    *,
    num_patients: int = 100,
    agreement: float = 0.5,
    tumour_effect: float = 0.0,
    clinical: bool = True,
    seed: int = 0,
) -> Store:
    """Scanner A has grainy images; it goes with ER positive in a share of patients."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_patients) % 2
    agrees = generator.random(num_patients) < agreement
    spec = StoreSpec(
        patient_ids=tuple(f"P{i:03d}" for i in range(num_patients)),
        targets=("ER",),
        labels=tuple((int(v),) for v in labels),
        num_phases=3,
        crop_shape=CROP_SHAPE,
    )
    writer = StoreWriter.create_or_resume(url, spec, {"radiotrain": "test"})
    for i, patient_id in enumerate(spec.patient_ids):
        scanner = "A" if (labels[i] == 1) == agrees[i] else "B"
        images = generator.normal(100, 3, (3, *CROP_SHAPE)).astype(np.float32)
        if scanner == "A":
            images[:, :, :, ::2] += 25
        images[1:, 8:16, 8:16, 4:8] *= 1.5 + tumour_effect * labels[i]
        region = np.zeros(CROP_SHAPE, dtype=np.uint8)
        region[8:16, 8:16, 4:8] = REGION_TUMOUR
        region[:2] = REGION_PADDING
        images[:, :2] = 0
        covariates: dict[str, str | float | None] = {"manufacturer": scanner}
        if clinical:
            covariates["age_years"] = float(generator.integers(30, 80))
        record = PatientRecord(
            index=i,
            patient_id=patient_id,
            status="stored",
            covariates=covariates,
            spacing_mm=(1.0, 1.0, 2.0),
        )
        writer.write(record, PatientTensor(images, region))
    return writer.finish()
