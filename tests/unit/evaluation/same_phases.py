"""A store that holds some phases of another one, and nothing else of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from preprocessing.store import PatientTensor, Store, StoreWriter


def write_phases_of(store: Store, phases: Sequence[int], url: str) -> Store:
    settings = {**store.spec.settings, "num_phases": len(phases)}
    spec = replace(store.spec, num_phases=len(phases), settings=settings)
    writer = StoreWriter.create_or_resume(url, spec, {"radiotrain": "test"})
    for i, record in enumerate(store.records):
        voxels, scale = store.read_images(i)
        kept = replace(
            record,
            scale=None,
            checksums={},
            phase_names=tuple(record.phase_names[p] for p in phases),
            phase_times_s=tuple(record.phase_times_s[p] for p in phases),
        )
        images = voxels[list(phases)].astype(np.float32) * np.float32(scale)
        writer.write(kept, PatientTensor(images, store.read_region(i)))
    return writer.finish()
