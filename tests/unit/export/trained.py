"""Small trained models of every kind, on a store whose patients have all that a description tells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from preprocessing.store import (
    REGION_PADDING,
    REGION_TUMOUR,
    PatientRecord,
    PatientTensor,
    Store,
    StoreSpec,
    StoreWriter,
)
from radiotrain.config.run_config import RunConfig
from radiotrain.evaluation.stability.replicates import calibrate_members
from radiotrain.runs.promoted import Promoted, write_promoted
from radiotrain.runs.run_folder import PredictedBy, RunFolder, open_run
from radiotrain.training.loop import train
from tests.checked_files import change_values
from tests.unit.training.synthetic import CROP_SHAPE, TARGETS, run_config

NUM_PATIENTS = 40
SETTINGS = {"crop_shape": list(CROP_SHAPE), "num_phases": 4, "region": "box", "motion": "none"}


def write_full_store(url: str) -> Store:
    """A store with covariates, spacings, phases and tumours; brightness says ER, chance the rest."""
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 2, (NUM_PATIENTS, 3))
    labels[:, 0] = np.arange(NUM_PATIENTS) % 2
    labels[3, 1] = labels[7, 1] = -1
    spec = StoreSpec(
        patient_ids=tuple(f"SECRET{i:03d}" for i in range(NUM_PATIENTS)),
        targets=TARGETS,
        labels=tuple(tuple(int(v) for v in row) for row in labels),
        num_phases=4,
        crop_shape=CROP_SHAPE,
        settings=SETTINGS,
        cohort={"layout": "manifest"},
    )
    writer = StoreWriter.create_or_resume(url, spec, {"radiotrain": "test"})
    for i, patient_id in enumerate(spec.patient_ids):
        images = generator.normal(100 + i, 10, (4, *CROP_SHAPE)).astype(np.float32)
        images[1:, 8:16, 8:16, 4:8] += 30 + 20 * int(labels[i, 0])
        region = np.zeros(CROP_SHAPE, dtype=np.uint8)
        region[8:16, 8:16, 4:8] = REGION_TUMOUR
        region[: i % 3] = REGION_PADDING
        images[:, : i % 3] = 0
        record = PatientRecord(
            index=i,
            patient_id=patient_id,
            status="stored",
            covariates={
                "age_years": 30.0 + i if i % 7 else None,
                "manufacturer": "SIEMENS" if i % 2 else "GE",
                "field_strength_t": 1.5 if i % 4 else 3.0,
                "scanner_model": "rare" if i == 5 else "common",
                "hobby": "of no use",
            },
            spacing_mm=(0.7 + i / 100, 0.7 + i / 100, 2.0),
            phase_names=("pre", "post 1", "post 2", "post 3"),
            phase_times_s=(0.0, 90.0 + i, 180.0 + i, None),
        )
        writer.write(record, PatientTensor(images, region))
    return writer.finish()


def without_scales(values: dict[str, object]) -> dict[str, object]:
    """Return what promoted.json said before it had them."""
    del values["scales"]
    return values


def train_run(store: Store, split_url: str, out: Path, **changes: object) -> RunConfig:
    """Train a run of two epochs."""
    values = {"train": {"epochs": 2, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}}
    config = run_config(store, split_url, out, **{**values, **changes})
    train(config, reporter=lambda _: None)
    return config


def train_ensemble(
    store: Store, split_url: str, out: Path, *, calibrated: bool = True, **changes: object
) -> str:
    """Train two folds and put them together as promote does, or as it did before members were calibrated."""
    names = ("trial_fold0", "trial_fold1")
    tables, weights = [], []
    for fold, name in enumerate(names):
        folder = out / "members" / name
        train_run(store, split_url, folder, fold=fold, **changes)
        run, _, record = open_run(str(folder))
        tables.append(run.read_predictions().assign(run=name))
        weights.append(str(record.weights_digest))
    model = RunFolder(str(out))
    table, scales = pd.concat(tables, ignore_index=True), ()
    if calibrated:
        table, scales = calibrate_members(table, names)
    model.write_predictions(
        table.assign(run=model.name),
        PredictedBy(weights=",".join(weights)),
    )
    promoted = Promoted(
        kind="ensemble",
        status="finished",
        sweep="/home/somebody/sweep",
        trial="trial",
        num_trials=1,
        score=0.5,
        folds=(0, 1),
        members=names,
        weights=tuple(weights),
        predicted_by=tuple(weights),
        scales=scales,
    )
    write_promoted(str(out), promoted)
    if not calibrated:
        change_values(out / "promoted.json", without_scales)
    return str(out)
