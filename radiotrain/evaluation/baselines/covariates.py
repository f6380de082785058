"""Covariates as features: clinical and acquisition.

Axis legend: N patients, K encoded columns.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import PatientRecord
from radiotrain.data.covariates import plain_name
from radiotrain.data.leaky_columns import reason_by_values, reason_to_refuse

Kind = Literal["clinical", "acquisition", "refused"]

FEWEST_OF_A_CATEGORY = 5
"""A category of fewer patients is nobody's: a model would memorise these patients."""

# What was decided about the examination, not about the patient. Matched in names in lower case
# whose other characters are single underscores.
ACQUISITION_PATTERNS: tuple[str, ...] = (
    # who and where: a hospital's patients differ, and so do its scanners
    r"manufacturer|vendor|scanner|(^|_)model(_|$)|station|software|device",
    r"(^|_)(site|institution|hospital|centre|center|dataset|collection|cohort|source)(_|$)",
    # the machine and its sequence
    r"field_strength|(^|_)(field|tesla|b0)(_t)?(_|$)|coil",
    r"repetition|echo|flip|(^|_)(tr|te|fa|ti|nex)(_ms|_deg)?(_|$)|bandwidth|sequence|protocol",
    r"fat_sup|acceleration|parallel_imaging",
    # the grid of voxels
    r"slice|spacing|pixel|voxel|thickness|resolution|matrix|(^|_)(rows?|columns?|fov)(_|$)",
    r"image_(rows|columns|position|orientation)|field_of_view|reconstruction",
    r"orientation|acquisition|plane(_|$)|patient_position|(^|_)(prone|supine)(_|$)",
    # what was injected, and when images were made
    r"contrast|gadolinium|bolus|injection|num_phases|phase_times?|scan_times?",
    r"series|study|(^|_)scan(_|$)|bilateral_mri|year_of_(scan|mri|exam)",
)


@dataclass(frozen=True)
class Column:
    """One covariate as numbers.

    Parameters
    ----------
    categories
        Texts that become one column of 0 and 1 each; empty where the covariate is a number.
    """

    name: str
    categories: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        return tuple(f"{self.name}={c}" for c in self.categories) or (self.name,)

    def encode(self, value: str | float | None) -> list[float]:
        """Return a patient's values of `outputs`, NaN where the covariate is missing."""
        if not self.categories:
            return [as_number(value)]
        text = as_text(value)
        return [math.nan if text is None else float(text == c) for c in self.categories]


@dataclass(frozen=True)
class Usable:
    """Clinical covariates that a baseline may read.

    Parameters
    ----------
    columns
        Those that can be used, and tell no target.
    told
        Name to why, of those that are left out as their values tell a target.
    """

    columns: tuple[Column, ...]
    told: Mapping[str, str]


def kind_of(name: str, allowed: Collection[str] = ()) -> Kind:
    """Tell what a covariate is; what no list names is clinical.

    Refused is what training refuses too: what is derived from the receptors, or known only after
    treatment, and is not among those that were allowed by name.
    """
    if name not in allowed and reason_to_refuse(name) is not None:
        return "refused"
    if any(re.search(pattern, plain_name(name)) for pattern in ACQUISITION_PATTERNS):
        return "acquisition"
    return "clinical"


def usable_clinical(
    records: Sequence[PatientRecord],
    labels: Mapping[str, NDArray[np.integer]],
    allowed: Collection[str] = (),
) -> Usable:
    """Return the clinical covariates that can be used and whose values tell no target.

    Parameters
    ----------
    records
        Of the development patients.
    labels
        Of the same patients, by target: (N,) of 0, 1 or -1.
    allowed
        Covariates that may be used all the same.
    """
    columns, told = [], {}
    for column in choose_columns(records, "clinical", allowed):
        values = [record.covariates.get(column.name) for record in records]
        reason = None if column.name in allowed else reason_by_values(values, labels)
        if reason is None:
            columns.append(column)
        else:
            told[column.name] = reason
    return Usable(tuple(columns), told)


def choose_columns(
    records: Sequence[PatientRecord], kind: Kind, allowed: Collection[str] = ()
) -> tuple[Column, ...]:
    """Return the covariates of one kind that can be used, learnt without any label.

    Parameters
    ----------
    records
        Of the development patients.
    allowed
        Covariates that are not refused by name.

    Returns
    -------
    One a covariate of two or more values; of a text with as many values as patients, none.
    """
    names = sorted({name for record in records for name in record.covariates})
    columns = (
        make_column(name, [record.covariates.get(name) for record in records])
        for name in names
        if kind_of(name, allowed) == kind
    )
    return tuple(column for column in columns if column is not None)


def make_column(name: str, values: Sequence[str | float | None]) -> Column | None:
    """Return how a covariate of these values is encoded; None where it tells nobody apart."""
    texts = [text for value in values if (text := as_text(value)) is not None]
    if len(set(texts)) < 2:
        return None
    if not any(math.isnan(as_number(text)) for text in texts):
        return Column(name, ())
    counts = Counter(texts)
    shared = tuple(sorted(text for text, num in counts.items() if num >= FEWEST_OF_A_CATEGORY))
    # Two categories that are all there is say the same thing twice.
    return (
        Column(name, shared[1:] if len(shared) == len(counts) == 2 else shared) if shared else None
    )


def encode(
    records: Sequence[PatientRecord], columns: Sequence[Column]
) -> list[Mapping[str, float]]:
    """Return each patient's numbers by name."""
    return [
        {
            output: number
            for column in columns
            for output, number in zip(
                column.outputs, column.encode(record.covariates.get(column.name)), strict=True
            )
        }
        for record in records
    ]


def as_number(value: str | float | None) -> float:
    """Return a number, also one that a workbook holds as text; NaN where it is none."""
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def as_text(value: str | float | None) -> str | None:
    """Return a category's text: 1, 1.0 and "1" are the same one; None where it is missing."""
    number = as_number(value)
    if not math.isnan(number):
        return f"{number:g}"
    text = value.strip() if isinstance(value, str) else ""
    return text or None
