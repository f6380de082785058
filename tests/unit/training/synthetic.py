"""The smallest real input of training: a store whose tumours show their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from preprocessing.store import (
    REGION_PADDING,
    PatientRecord,
    PatientTensor,
    Store,
    StoreSpec,
    StoreWriter,
)
from radiotrain.config.run_config import RunConfig, parse_config

NUM_PATIENTS = 40
CROP_SHAPE = (24, 24, 12)
TARGETS = ("ER", "PR", "HER2")


def write_store(url: str, num_patients: int = NUM_PATIENTS, seed: int = 0) -> Store:
    """A bright tumour in the post-contrast phases means ER positive; PR and HER2 are coin flips."""
    generator = np.random.default_rng(seed)
    labels = np.zeros((num_patients, 3), dtype=int)
    labels[:, 0] = np.arange(num_patients) % 2
    labels[:, 1:] = generator.integers(0, 2, (num_patients, 2))
    labels[generator.random((num_patients, 3)) < 0.1] = -1
    labels[:, 0] = np.arange(num_patients) % 2
    spec = StoreSpec(
        patient_ids=tuple(f"P{i:03d}" for i in range(num_patients)),
        targets=TARGETS,
        labels=tuple(tuple(int(v) for v in row) for row in labels),
        num_phases=4,
        crop_shape=CROP_SHAPE,
    )
    writer = StoreWriter.create_or_resume(url, spec, {"radiotrain": "test"})
    for i, patient_id in enumerate(spec.patient_ids):
        images = generator.normal(100, 10, (4, *CROP_SHAPE)).astype(np.float32)
        images[1:, 8:16, 8:16, 4:8] += 80 if labels[i, 0] == 1 else 0
        region = np.zeros(CROP_SHAPE, dtype=np.uint8)
        region[:2] = REGION_PADDING
        images[:, :2] = 0
        record = PatientRecord(index=i, patient_id=patient_id, status="stored")
        writer.write(record, PatientTensor(images, region))
    return writer.finish()


def run_config(store: Store, split_url: str, out: Path | str, **changes: object) -> RunConfig:
    """A run that takes seconds."""
    values: dict[str, object] = {
        "store": store.url,
        "split": split_url,
        "out": str(out),
        "network": {"name": "ResNet10-narrow"},
        "train": {"epochs": 4, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
        "device": "cpu",
        # Its pictures take longer than training does.
        "logging": {"tensorboard": False},
    }
    return parse_config(RunConfig, values | changes, "test")
