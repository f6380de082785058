"""Encode clinical covariates as numbers, from training patients.

Axis legend: N patients, K encoded columns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.store import PatientRecord
from radiotrain.data.leaky_columns import reason_by_values, reason_to_refuse

_Value = str | float | None


@dataclass(frozen=True)
class _Column:
    """How one covariate becomes columns: its number or categories, and whether it is missing."""

    name: str
    categories: tuple[str, ...]
    mean: float
    sd: float
    has_missing: bool

    @property
    def is_number(self) -> bool:
        return not self.categories

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the encoded columns."""
        named = [f"{self.name}={c}" for c in self.categories] or [self.name]
        return (*named, f"{self.name} missing") if self.has_missing else tuple(named)

    def encode(self, value: _Value) -> list[float]:
        """Return a patient's values of `outputs`."""
        known: float | str | None
        if self.is_number:
            known = _as_number(value)
            encoded = [0.0 if known is None else (known - self.mean) / self.sd]
        else:
            known = None if value is None else _as_text(value)
            known = known if known in self.categories else None
            encoded = [float(known == c) for c in self.categories]
        return [*encoded, float(known is None)] if self.has_missing else encoded


@dataclass(frozen=True)
class CovariateEncoder:
    """From patients' covariates to numbers, as learnt from the training patients.

    A number is standardised by mean and standard deviation; a missing one becomes the mean. A text
    becomes one column a category; a missing or unknown one is in none of them. Where a value can
    be missing, a column of 0 and 1 says that it is.
    """

    columns: tuple[_Column, ...]

    @staticmethod
    def fit(
        records: Sequence[PatientRecord], names: Sequence[str], allowed: Sequence[str] = ()
    ) -> CovariateEncoder:
        """Learn how to encode covariates.

        Parameters
        ----------
        records
            Of the training patients of a fold, and of nobody else.
        names
            Covariates to use, in the order of their columns.
        allowed
            Covariates whose names are not asked what they tell.

        Raises
        ------
        InputError
            If a covariate is not there, says nothing, or may not be used.
        """
        repeated = sorted({name for name in names if list(names).count(name) > 1})
        if repeated:
            raise InputError(f"covariate {repeated[0]!r} is named twice: name it once")
        known = sorted({name for record in records for name in record.covariates})
        for name in names:
            check_covariate_name(name, known, allowed)
        return CovariateEncoder(tuple(_fit_column(records, name) for name in names))

    @property
    def num_columns(self) -> int:
        """K."""
        return len(self.column_names)

    @property
    def column_names(self) -> tuple[str, ...]:
        """What each encoded column is."""
        return tuple(output for column in self.columns for output in column.outputs)

    def transform(self, records: Sequence[PatientRecord]) -> NDArray[np.float32]:
        """Return float32 (N, K) of any patients, without learning from them."""
        rows = [
            [number for c in self.columns for number in c.encode(record.covariates.get(c.name))]
            for record in records
        ]
        return np.array(rows, dtype=np.float32).reshape(len(records), self.num_columns)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"columns": [asdict(column) for column in self.columns]}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CovariateEncoder:
        """Rebuild an encoder from `to_json`."""
        columns = values["columns"]
        return CovariateEncoder(
            tuple(_Column(**{**c, "categories": tuple(c["categories"])}) for c in columns)
        )


def plain_name(name: str) -> str:
    """Return a covariate's name in lower case, its other characters single underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def check_covariate_name(name: str, known: Sequence[str], allowed: Sequence[str] = ()) -> None:
    """Refuse a covariate that the store lacks, or that would tell what is to be predicted.

    Parameters
    ----------
    allowed
        Covariates to take all the same.

    Raises
    ------
    InputError
        If it is one; of an unknown name, the nearest is named.
    """
    reason = None if name in allowed else reason_to_refuse(name)
    if reason is not None:
        raise InputError(
            f"covariate {name!r} is refused, as {reason}: expected what is known when the images"
            f" are made, such as age_years or menopause; {how_to_allow(name)}"
        )
    if name not in known:
        allowed = ", ".join(known) or "no covariates"
        raise InputError(
            f"the training patients have no covariate {name!r}{nearest_hint(name, known)}, expected"
            f" some of {allowed}: correct network.covariates"
        )


def check_covariate_values(
    records: Sequence[PatientRecord],
    labels: Mapping[str, NDArray[np.integer]],
    names: Sequence[str],
    allowed: Sequence[str] = (),
) -> None:
    """Refuse covariates whose values alone tell a target; see `radiotrain.data.leaky_columns`.

    Parameters
    ----------
    records
        Of the training patients.
    labels
        Of the same patients, by target: (N,) of 0, 1 or -1.
    allowed
        Covariates to take all the same.

    Raises
    ------
    InputError
        If one is.
    """
    for name in names:
        values = [record.covariates.get(name) for record in records]
        reason = None if name in allowed else reason_by_values(values, labels)
        if reason is not None:
            raise InputError(
                f"covariate {name!r} is refused, as {reason} that train: expected what does not follow"
                f" from the target; {how_to_allow(name)}"
            )


def how_to_allow(name: str) -> str:
    """Return how a covariate is used that was refused."""
    return f"if it is known before and may be used, set network.allow_covariates to [{name}]"


def _fit_column(records: Sequence[PatientRecord], name: str) -> _Column:
    values = [record.covariates.get(name) for record in records]
    known = [v for v in values if v is not None and not _is_missing(v)]
    numbers = [n for v in known if (n := _as_number(v)) is not None]
    texts = sorted({_as_text(v) for v in known})
    if len(texts) < 2:
        got = f"the single value {texts[0]!r}" if texts else "no value"
        raise InputError(
            f"covariate {name!r} has {got} in the training patients, expected two or more: leave it"
            " out of network.covariates"
        )
    has_missing = len(known) < len(values)
    if len(numbers) == len(known):
        mean, sd = float(np.mean(numbers)), float(np.std(numbers))
        return _Column(name, (), mean, sd, has_missing)
    # As many categories as patients are names or places, which a network would memorise.
    if len(texts) > max(2, len(known) // 2):
        raise InputError(
            f"covariate {name!r} has {len(texts)} different texts in {len(known)} training patients,"
            " expected a category that patients share: leave it out of network.covariates"
        )
    # A text that no training patient has may come later: it is missing then.
    return _Column(name, tuple(texts), 0.0, 1.0, has_missing)


def _is_missing(value: str | float) -> bool:
    return not value.strip() if isinstance(value, str) else math.isnan(value)


def _as_number(value: _Value) -> float | None:
    """Return a number, also one that a workbook holds as text; None where it is none."""
    try:
        number = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _as_text(value: str | float) -> str:
    """Return a category's text: 1, 1.0 and "1" are the same one."""
    number = _as_number(value)
    return f"{number:g}" if number is not None else str(value).strip()
