"""Models as they are tested on an external cohort.

Axis legend: N patients, T targets, P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.config.run_config import Precision
from radiotrain.data.patients import load_patients
from radiotrain.data.storage import NormalisationRule
from radiotrain.distributed import Worker, autocast_dtype
from radiotrain.evaluation.external_results import PointTransport, RateTransport
from radiotrain.evaluation.model import Model, open_model
from radiotrain.evaluation.predictions import COLUMNS
from radiotrain.export.description import FILE_NAME, read_description
from radiotrain.inference.exported_model import load_exported_model
from radiotrain.inference.out_of_range import TrainingImages
from radiotrain.inference.run_model import merge_inputs
from radiotrain.runs.predict_run import (
    TrainedNetwork,
    check_best,
    load_network,
    predict_logits,
    read_best,
)
from radiotrain.runs.provenance import TrainingInputs, read_inputs
from radiotrain.runs.run_folder import open_run
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess
from radiotrain.statistics.member_scale import Scales, on_one_scale

if TYPE_CHECKING:
    from radiotrain.inference.operating_point import Rule

_BATCH_SIZE_OF_EXPORTS = 8


@dataclass(frozen=True)
class TestedMember:
    """One network.

    Parameters
    ----------
    fold
        That validated it; None where none did, or where that is not known.
    scales
        By which its probabilities are calibrated before the mean; None: averaged as predicted.
    """

    trained: TrainedNetwork
    fold: int | None
    batch_size: int
    precision: Precision
    normalisation: NormalisationRule
    scales: Scales | None = None


@dataclass(frozen=True)
class TestedModel:
    """One model that is tested on another cohort.

    Parameters
    ----------
    model
        Of a run or a promoted model; None of an export.
    image_shape
        (P, R, C, S) that its networks read.
    settings
        Of preprocessing; empty where these are not known.
    images
        How its training patients were imaged; None where that is not known.
    examinations
        Digests of the voxels of its development and test patients; None where these are not kept.
    validation
        Rows of the predictions table of patients that its networks had not seen; None of an export.
    points
        Of an export: what its thresholds did on validation, by target.
    origin
        Fingerprints of the patients of its split, and of the split.
    """

    name: str
    url: str
    targets: tuple[str, ...]
    members: tuple[TestedMember, ...]
    image_shape: tuple[int, int, int, int]
    settings: Mapping[str, Any]
    images: TrainingImages | None
    examinations: frozenset[str] | None
    validation: pd.DataFrame | None
    points: Mapping[str, tuple[PointTransport, ...]]
    origin: tuple[str, str]
    configuration: str
    model: Model | None
    notes: tuple[str, ...] = ()

    @property
    def covariates(self) -> tuple[str, ...]:
        """Clinical columns that its networks read beside images."""
        encoders = [m.trained.encoder for m in self.members if m.trained.encoder is not None]
        return tuple(dict.fromkeys(c.name for encoder in encoders for c in encoder.columns))

    def predict(
        self, store: Store, sealed: Split, labels: Mapping[str, str], access: TestAccess
    ) -> pd.DataFrame:
        """Return rows of the predictions table of all patients of a cohort: part ``test``.

        Parameters
        ----------
        sealed
            Its patients as test patients.
        labels
            Target to label of the cohort; other targets are left out.
        access
            To the cohort.
        """
        targets = [target for target in self.targets if target in labels]
        names = [labels[target] for target in targets]
        found = [self._probabilities(m, store, sealed, names, access) for m in self.members]
        folds = [member.fold for member in self.members]
        if len(set(folds)) < len(folds):
            # Rows of two networks of one fold could not be told apart: their mean is one row.
            found, folds = [np.mean(found, axis=0)], [None]
        known = load_labels(store, sealed, names)
        columns = [self.targets.index(target) for target in targets]
        tables = [
            pd.DataFrame(
                {
                    "run": self.name,
                    "patient_id": sealed.test_ids,
                    "target": target,
                    "split": "test",
                    "fold": pd.array([fold] * len(sealed.test_ids), dtype="Int64"),
                    "label": known[:, n],
                    "probability": probabilities[:, column],
                },
                columns=list(COLUMNS),
            )
            for fold, probabilities in zip(folds, found, strict=True)
            for n, (target, column) in enumerate(zip(targets, columns, strict=True))
        ]
        return pd.concat(tables, ignore_index=True)

    def _probabilities(
        self,
        member: TestedMember,
        store: Store,
        sealed: Split,
        names: Sequence[str],
        access: TestAccess,
    ) -> NDArray[np.float64]:
        """Return float64 (N, T) of one network, as the mean takes them."""
        patients = load_patients(
            store, sealed, sealed.test_ids, names, rule=member.normalisation, access=access
        )
        encoder = member.trained.encoder
        if encoder is not None:
            patients = replace(patients, covariates=encoder.transform(patients.records))
        device = Worker.single("auto").device
        network = member.trained.network.to(device)
        logits = predict_logits(
            network,
            patients,
            np.arange(len(patients)),
            member.batch_size,
            device,
            autocast_dtype(member.precision, device),
        )
        found = 1 / (1 + np.exp(-logits.astype(np.float64)))
        return on_one_scale(found, self.targets, member.scales)


def load_labels(store: Store, sealed: Split, names: Sequence[str]) -> NDArray[np.int64]:
    """Return labels (N, T) of a cohort's patients, in the order of `sealed`."""
    rows = [store.index_of(patient_id) for patient_id in sealed.test_ids]
    columns = [store.targets.index(name) for name in names]
    return store.labels[np.ix_(rows, columns)].astype(np.int64)


def open_tested(url: str, splits: Sequence[str] = ()) -> TestedModel:
    """Open a run, a promoted model or an export of format safetensors.

    Parameters
    ----------
    splits
        See `radiotrain.evaluation.model.open_model`.

    Raises
    ------
    MissingPathError, SchemaError, DamagedFileError, InputError
        If there is none, or it cannot predict.
    """
    if files.exists(files.join(files.absolute(url), FILE_NAME)):
        return _open_export(url)
    return _open_run(open_model(url, splits))


def _open_run(model: Model) -> TestedModel:
    members, inputs, notes = [], [], []
    shapes: set[tuple[int, int, int, int]] = set()
    for url, scales in zip(model.members, model.scales, strict=True):
        folder, config, record = open_run(url)
        saved = check_best(read_best(folder), folder.best_weights, record)
        rows, columns, slices = map(int, saved["crop_shape"])
        shapes.add((int(saved["num_phases"]), rows, columns, slices))
        members.append(
            TestedMember(
                load_network(url),
                config.fold,
                config.train.batch_size,
                config.precision,
                config.train.normalisation,
                scales,
            )
        )
        try:
            inputs.append(read_inputs(url, record))
        except MissingPathError:
            notes.append(
                f"Run {model.name} does not say how its images were made, since an older version trained it:"
                " train it once more with its config.yaml, which adds inputs.json and does not train again."
            )
    if len(shapes) > 1:
        raise InputError(
            f"the networks of model {model.name} read crops of different shapes: promote again"
        )
    merged: TrainingInputs | None = merge_inputs(inputs) if inputs else None
    validation = None
    if model.promoted is not None or model.config.fold is not None:
        validation = model.kept_predictions()
    return TestedModel(
        name=model.name,
        url=model.url,
        targets=tuple(model.config.targets),
        members=tuple(members),
        image_shape=shapes.pop(),
        settings={} if merged is None else merged.settings,
        images=(
            None
            if merged is None
            else TrainingImages(merged.num_patients, merged.spans, merged.counts, "extremes")
        ),
        examinations=None if merged is None else frozenset((*merged.development, *merged.test)),
        validation=validation,
        points={},
        origin=(model.record.patients_fingerprint, model.record.split_fingerprint),
        configuration=model.configuration,
        model=model,
        notes=tuple(dict.fromkeys(notes)),
    )


def _open_export(url: str) -> TestedModel:
    found, description = load_exported_model(url), read_description(url)
    config = found.preprocessing
    folds = [member.fold for member in description.members]
    return TestedModel(
        name=found.name,
        url=files.absolute(url),
        targets=tuple(rule.target for rule in found.rules),
        members=tuple(
            TestedMember(
                m.trained, fold, _BATCH_SIZE_OF_EXPORTS, m.precision, found.normalisation, m.scales
            )
            for m, fold in zip(found.members, folds, strict=True)
        ),
        image_shape=(config.num_phases, *config.crop_shape),
        settings=config.model_dump(mode="json"),
        images=found.images,
        examinations=None,
        validation=None,
        points={rule.target: (_point_of(rule),) for rule in found.rules},
        origin=(found.store_fingerprint, description.origin.split_fingerprint),
        configuration=f"export, weights {found.digest}",
        model=None,
        notes=(
            (
                f"Model {found.name} is an export, which keeps nothing by which a patient could be recognised:"
                " whether patients of this cohort were in its training cohort is known only where the runs are"
                " tested, or a run of the same split beside it."
            ),
        ),
    )


def _point_of(rule: Rule) -> PointTransport:
    if rule.threshold is None or rule.validation is None:
        return PointTransport("Youden", rule.threshold, reason=rule.no_threshold)
    rates = rule.validation
    return PointTransport(
        "Youden",
        rule.threshold,
        RateTransport(rates.sensitivity, rates.sensitivity_ci95, None, None, None, None),
        RateTransport(rates.specificity, rates.specificity_ci95, None, None, None, None),
    )
