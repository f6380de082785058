"""``inputs.json``: origin of a run's images, and software versions.

It is kept with the run, so that a new patient's images can be made in the same way, and compared
with those that the network knows, when the store is not at hand. Of single patients it holds the
extremes, and digests of their voxels that tell nothing about them.
"""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.common.json_values import parse_values
from preprocessing.common.redaction import OTHER_MAKER
from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest
from preprocessing.store import PatientRecord, Store
from radiotrain.data.storage import READERS
from radiotrain.runs.checked_files import read_json
from radiotrain.runs.run_folder import RunRecord
from radiotrain.split.split import Split

SCHEMA_VERSION = 2
# Of int16, which the brightest voxel of each patient has.
_LARGEST = 32767
_FIELDS_T = (0.2, 0.35, 0.5, 1.0, 1.5, 3.0, 7.0)


@dataclass(frozen=True)
class Span:
    """The values of one number among training patients.

    Parameters
    ----------
    num_known
        Patients whose value is known.
    """

    low: float
    median: float
    high: float
    num_known: int


@dataclass(frozen=True)
class TrainingInputs:
    """What ``inputs.json`` says.

    Parameters
    ----------
    settings
        Of preprocessing, as the store has them.
    cohort
        Where the patients came from, as the store has it.
    store_fingerprint
        Of the split's patients there; other patients of the store do not matter.
    num_patients
        Training patients.
    spans
        Name of a number, see `numbers_of`, to its values among them.
    split_fingerprint, fold
        Whose training patients they are.
    counts
        Name of a property, see `properties_of`, to its values and how many patients have each.
    development, test
        Digests of the examinations of the split's patients, as far as the store has them: one that
        is predicted again is recognised, and the test set stays sealed.
    """

    settings: Mapping[str, Any]
    cohort: Mapping[str, Any]
    store_fingerprint: str
    split_fingerprint: str
    fold: int | None
    num_patients: int
    spans: Mapping[str, Span]
    counts: Mapping[str, Mapping[str, int]]
    development: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION


def describe_inputs(store: Store, split: Split, fold: int | None) -> TrainingInputs:
    """Return how a store's images were made, and how the training patients of a fold were imaged.

    Parameters
    ----------
    fold
        That validates; None where none does.
    """
    indices = [store.index_of(patient_id) for patient_id in split.train_ids(fold)]
    numbers, properties = measure_images(store, indices)
    return TrainingInputs(
        settings=dict(store.spec.settings),
        cohort=dict(store.spec.cohort),
        store_fingerprint=split.patients_fingerprint,
        split_fingerprint=split.fingerprint,
        fold=fold,
        num_patients=len(indices),
        spans={
            name: _span([values[name] for values in numbers if name in values])
            for name in sorted({name for values in numbers for name in values})
        },
        counts={
            name: dict(
                Counter(values[name] for values in properties if name in values).most_common()
            )
            for name in sorted({name for values in properties for name in values})
        },
        development=_digests(store, split.development_ids),
        test=_digests(store, split.test_ids),
    )


def measure_images(
    store: Store, indices: Sequence[int]
) -> tuple[list[dict[str, float]], list[dict[str, str]]]:
    """Return the `numbers_of` and the `properties_of` each of some patients; reads their bias fields."""
    records = [store.records[i] for i in indices]
    fields: list[NDArray[np.float32] | None] = [None] * len(indices)
    if has_bias_field(store.spec.settings):
        with ThreadPoolExecutor(READERS) as pool:
            fields = list(pool.map(store.read_bias_field, indices))
    numbers = [
        numbers_of(record, field, store.spec.settings)
        for record, field in zip(records, fields, strict=True)
    ]
    return numbers, [properties_of(record.covariates) for record in records]


def has_bias_field(settings: Mapping[str, Any]) -> bool:
    """Tell whether a bias field was divided out under these settings."""
    return bool(settings) and settings.get("bias_engine") != "none"


def numbers_of(
    record: PatientRecord, bias_field: NDArray[np.float32] | None, settings: Mapping[str, Any]
) -> dict[str, float]:
    """Return the numbers that tell one patient's images from others'; what is not known is left out.

    ``spacing_row_mm`` … of the patient's own voxels; ``tumour_row_mm`` … and ``tumour_longest_mm``, of
    the box as far as the crop holds it; ``phase_1_time_s`` … after the pre-contrast; ``brightest``,
    the largest stored value, in the store's units; ``bias_ratio``, the field's largest value in the
    crop over its smallest.

    Parameters
    ----------
    bias_field
        float32 (r, c, s), the log field; None where nothing was corrected.
    settings
        Of preprocessing.
    """
    found: dict[str, float] = {}
    own = record.details.get("own_spacing_mm")
    if own is None and settings.get("resample_mm") is None:
        own = record.spacing_mm
    axes = ("row", "column", "slice")
    if own is not None:
        found |= {f"spacing_{axis}_mm": float(v) for axis, v in zip(axes, own, strict=True)}
    if record.spacing_mm is not None and record.box_in_crop is not None:
        start, stop = record.box_in_crop
        sides = [(b - a) * mm for a, b, mm in zip(start, stop, record.spacing_mm, strict=True)]
        found |= {f"tumour_{axis}_mm": float(v) for axis, v in zip(axes, sides, strict=True)}
        found["tumour_longest_mm"] = float(max(sides))
    for n, time_s in enumerate(record.phase_times_s):
        if n and time_s is not None:
            found[f"phase_{n}_time_s"] = float(time_s)
    if record.scale is not None:
        found["brightest"] = float(record.scale) * _LARGEST
    if bias_field is not None:
        found["bias_ratio"] = math.exp(float(np.ptp(bias_field)))
    return found


def properties_of(covariates: Mapping[str, str | float | None]) -> dict[str, str]:
    """Return the scanner: ``manufacturer``, ``model`` and ``field_strength``, as far as known."""
    found: dict[str, str] = {}
    manufacturer, model = covariates.get("manufacturer"), covariates.get("model")
    if isinstance(manufacturer, str) and manufacturer.strip():
        # "GE", "GE MEDICAL SYSTEMS": tables and images write one maker in several ways.
        is_other = manufacturer == OTHER_MAKER
        found["manufacturer"] = OTHER_MAKER if is_other else manufacturer.split()[0].casefold()
    if isinstance(model, str) and model.strip():
        found["model"] = " ".join(model.split()).casefold()
    try:
        strength = float(str(covariates.get("field_strength_t")))
    except ValueError:
        strength = math.nan
    if strength > 0:
        nearest = min(_FIELDS_T, key=lambda field: abs(math.log(strength / field)))
        # Headers say 1.494 for 1.5 T, 2.8936 for 3 T.
        is_near = abs(strength / nearest - 1) < 0.1
        found["field_strength"] = f"{nearest if is_near else strength:g} T"
    return found


def read_inputs(run_url: str, record: RunRecord) -> TrainingInputs:
    """Return what a run's folder keeps of its images.

    Parameters
    ----------
    record
        Of the run.

    Raises
    ------
    MissingPathError
        If it keeps nothing: runs of older versions do not.
    SchemaError, DamagedFileError
        If another version wrote it, or it is not what was written.
    InputError
        If it is that of another run.
    """
    where = _file(run_url)
    again = f"run 'radiotrain train --config {files.join(files.absolute(run_url), 'config.yaml')}'"
    try:
        values = read_json(where, SCHEMA_VERSION, f"remove it and {again} once")
    except FileNotFoundError:
        raise MissingPathError(
            f"run {files.absolute(run_url)} does not say how its images were made, since it was trained"
            f" by an older version: {again} once where its store is; it adds inputs.json and does"
            " not train again"
        ) from None
    found = parse_values(TrainingInputs, values, where, f"remove it and {again} once")
    if (found.split_fingerprint, found.fold) != (record.split_fingerprint, record.fold):
        raise InputError(
            f"{where} was written for another run than the one beside it: remove it and {again} once"
        )
    return found


def write_inputs(run_url: str, inputs: TrainingInputs) -> None:
    """Write ``inputs.json``."""
    files.write_text(_file(run_url), dump_with_digest(asdict(inputs), in_order=True))


def keeps_inputs(run_url: str) -> bool:
    """Tell whether a run's folder has ``inputs.json``."""
    return files.exists(_file(run_url))


def _digests(store: Store, patient_ids: Sequence[str]) -> tuple[str, ...]:
    records = (store.records[store.index_of(patient_id)] for patient_id in patient_ids)
    return tuple(sorted(str(d) for r in records if (d := r.details.get("volume_digest"))))


def _span(values: Sequence[float]) -> Span:
    return Span(min(values), float(np.median(values)), max(values), len(values))


def _file(run_url: str) -> str:
    return files.join(files.absolute(run_url), "inputs.json")


_PACKAGES = ("radiotrain", "torch", "monai", "numpy", "zarr", "pandas", "scikit-learn")


def software_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a run's numbers."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions
