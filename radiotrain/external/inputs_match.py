"""Compare the images of a cohort with those of the training.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from preprocessing.common.config import ADDED_SETTINGS, PreprocessConfig
from preprocessing.common.errors import InputError
from preprocessing.store import PatientRecord
from radiotrain.evaluation.baselines.covariates import as_text
from radiotrain.evaluation.external_results import RangeRow
from radiotrain.evaluation.withheld import withheld, withheld_text
from radiotrain.inference.out_of_range import RangeCheck, TrainingImages, compare

# Of the settings of preprocessing: with another value, networks read another quantity or another scale.
_DECISIVE = ("resample_mm", "phase_images")
# Compared by the shape of images.
_SHAPE = ("crop_shape", "num_phases")


def check_shape(
    model: str,
    wanted: tuple[int, int, int, int],
    found: tuple[int, int, int, int],
    store: str,
    phase_names: Sequence[str],
) -> None:
    """Refuse images of another shape than a model's networks read.

    Parameters
    ----------
    wanted, found
        (P, R, C, S).
    phase_names
        Of a patient of the cohort, as far as known.

    Raises
    ------
    InputError
        If they are of another shape.
    """
    if wanted[0] != found[0]:
        names = f" ({', '.join(phase_names)})" if phase_names else ""
        what = f"preprocess the cohort with --num-phases {wanted[0]}"
        if found[0] > wanted[0]:
            example = ",".join(map(str, range(wanted[0])))
            what += f", or name the ones to read with --phases, e.g. --phases {example}"
        raise InputError(
            f"model {model} reads {wanted[0]} phases, store {store} has {found[0]}{names}: {what}"
        )
    if wanted[1:] != found[1:]:
        raise InputError(
            f"model {model} reads crops of {_shape(wanted[1:])} voxels, store {store} has"
            f" {_shape(found[1:])}: preprocess the cohort with --crop-shape"
            f" {' '.join(map(str, wanted[1:]))}"
        )


def setting_differences(
    model: str, wanted: Mapping[str, Any], found: Mapping[str, Any], store: str
) -> tuple[str, ...]:
    """Return a sentence for each setting of preprocessing that differs from training's.

    Parameters
    ----------
    wanted, found
        Settings of the training store and of the cohort's.

    Raises
    ------
    InputError
        If one differs with which the networks cannot be right.
    """
    if not wanted or not found:
        which = "the training store" if not wanted else "the cohort's store"
        return (
            (
                f"Model {model}: {which} does not say how its images were made, so preprocessing was compared by"
                " the shape of images alone."
            ),
        )
    # What a version did not know yet, it did as the default does, or as ADDED_SETTINGS say.
    defaults = {**PreprocessConfig().model_dump(mode="json"), **ADDED_SETTINGS}
    wanted, found = {**defaults, **wanted}, {**defaults, **found}
    different = [
        name
        for name in dict.fromkeys((*wanted, *found))
        if name not in _SHAPE and _plain(wanted.get(name)) != _plain(found.get(name))
    ]
    decisive = [name for name in different if name in _DECISIVE]
    if decisive:
        got = "; ".join(
            f"{name} is {_plain(found.get(name))}, expected {_plain(wanted.get(name))}"
            for name in decisive
        )
        raise InputError(
            f"model {model} cannot be right on the images of store {store} ({got}): preprocess the cohort"
            " with the settings of the training store"
        )
    return tuple(
        f"Model {model}: the cohort was preprocessed with {name} {_plain(found.get(name))}, the training"
        f" cohort with {_plain(wanted.get(name))}: a difference in results may come from that."
        for name in different
    )


def check_covariates(
    model: str, names: Sequence[str], records: Sequence[PatientRecord], store: str
) -> tuple[str, ...]:
    """Return sentences on covariates that a late-fusion network reads and some patients do not have.

    Raises
    ------
    InputError
        If no patient of the cohort has one.
    """
    notes = []
    for name in names:
        num = sum(as_text(record.covariates.get(name)) is not None for record in records)
        if not num:
            there = sorted({key for record in records for key in record.covariates})
            raise InputError(
                f"model {model} reads the covariate {name!r} beside the images, which no patient of store"
                f" {store} has, but {', '.join(there) or 'none'}: add it to the cohort's table (another name"
                f" with --column {name}=THEIRS) and preprocess again"
            )
        if num < len(records):
            notes.append(
                f"Model {model} reads {name}, which is missing in {len(records) - num} of {len(records)}"
                " patients of this cohort: these were predicted as with a missing value."
            )
    return tuple(notes)


def unseen_categories(
    model: str, categories: Mapping[str, Sequence[str]], records: Sequence[PatientRecord]
) -> tuple[str, ...]:
    """Return sentences on categories of a covariate that no training patient had.

    Parameters
    ----------
    categories
        Covariate to the texts that the network knows.
    """
    notes = []
    for name, known in categories.items():
        values = [as_text(record.covariates.get(name)) for record in records]
        num = sum(value is not None and value not in known for value in values)
        if num:
            notes.append(
                f"Model {model} reads {name}, of which {num} of {len(records)} patients of this cohort have"
                " a value that no training patient had: these were predicted as of none of the known"
                " categories."
            )
    return tuple(notes)


def image_ranges(
    numbers: Sequence[Mapping[str, float]],
    properties: Sequence[Mapping[str, str]],
    images: TrainingImages,
    num_phases: int,
) -> tuple[RangeRow, ...]:
    """Compare how the cohort's patients were imaged with how the training patients were.

    Parameters
    ----------
    numbers, properties
        From `radiotrain.runs.provenance.measure_images`, one a patient.
    """
    each = [
        {c.name: c for c in compare(n, p, images, num_phases, num_phases)}
        for n, p in zip(numbers, properties, strict=True)
    ]
    rows = []
    for name in dict.fromkeys(name for found in each for name in found):
        known = [f[name] for f in each if name in f and f[name].verdict is not RangeCheck.unknown]
        if name == "phases" or not known:
            continue
        values = [n[name] for n in numbers if name in n]
        text = _spread(values) if values else _counts(p[name] for p in properties if name in p)
        num = sum(c.verdict is not RangeCheck.inside for c in known)
        rows.append(RangeRow(known[0].label, known[0].training, text, len(known), num))
    return tuple(rows)


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}, median {float(np.median(values)):.3g}"


def _counts(values: Iterator[str]) -> str:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    hidden = withheld([num for _, num in ordered])
    return ", ".join(
        f"{value} ({withheld_text(num) if k in hidden else num})"
        for k, (value, num) in enumerate(ordered[:8])
    )


def _shape(values: Sequence[int]) -> str:
    return " × ".join(map(str, values))


def _plain(value: Any) -> str:
    return json.dumps(value)
