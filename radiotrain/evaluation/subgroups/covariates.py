"""Read covariates of patients from a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from preprocessing.common.errors import InputError, nearest
from radiotrain.evaluation.tables import read_table

Value = str | float | None

_ID = "patient_id"
_MISSING = {"", "nc", "np", "na", "n/a", "nan", "none", "unknown", "not known"}


@dataclass(frozen=True)
class Facts:
    """Covariates and labels of patients, tested ones and others.

    Parameters
    ----------
    covariates
        Patient to name to value, None or absent where it is missing.
    labels
        Target to patient to 0, 1 or -1.
    source
        What it was read from, for messages.
    """

    covariates: Mapping[str, Mapping[str, Value]]
    labels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    source: str = "the patients' table"

    def beside(self, other: Facts) -> Facts:
        """Return the facts of both; of what both say, the other's."""
        ids = [*self.covariates, *(i for i in other.covariates if i not in self.covariates)]
        both = {i: {**self.covariates.get(i, {}), **other.covariates.get(i, {})} for i in ids}
        source = f"{self.source} and {other.source}"
        return Facts(both, {**self.labels, **other.labels}, source)


def read_patients(path: str | Path) -> Facts:
    """Read a table of patients: the column ``patient_id``, and one for each covariate.

    Parameters
    ----------
    path
        A text such as ``.csv``, an ``.xlsx`` or a ``.parquet`` file; see `table_files.read_table`.

    Raises
    ------
    MissingPathError
        If there is no such file.
    InputError
        If it is no such table, or a patient has two rows.
    """
    expected = "a header with patient_id and one column for each covariate"
    return facts_of_table(read_table(path, "patients' table", expected), f"patients' table {path}")


def facts_of_table(table: pd.DataFrame, name: str) -> Facts:
    """Return the facts in a table.

    Raises
    ------
    InputError
        If it has no patients, no covariates, or two rows of a patient.
    """
    columns = [str(c).strip() for c in table.columns]
    if _ID not in columns:
        meant = nearest(_ID, columns)
        hint = "" if meant is None else f" (is it {meant!r}?)"
        raise InputError(
            f"{name} has no column {_ID!r}{hint}: got {', '.join(columns)}; expected it and one"
            " column for each covariate"
        )
    repeated = [c for c in columns if columns.count(c) > 1]
    if repeated:
        raise InputError(f"{name} has two columns {repeated[0]!r}, expected one: rename one")
    if len(columns) == 1 or table.empty:
        what = "no rows" if table.empty else "no column but patient_id"
        raise InputError(f"{name} has {what}, expected patients with covariates such as age_years")
    found: dict[str, dict[str, Value]] = {}
    table = table.set_axis(columns, axis=1)
    for column in columns:
        table[column] = _with_points(table[column]) if column != _ID else table[column]
    for i, row in enumerate(table.to_dict("records"), start=1):
        given = row.pop(_ID)
        patient = _patient_id(given)
        if not patient:
            is_number = isinstance(given, float) and np.isfinite(given)
            got, advice = (
                (repr(given), "write ids as text") if is_number else ("empty", "delete it")
            )
            raise InputError(f"{name}: patient_id in row {i} is {got}, expected a name: {advice}")
        if patient in found:
            raise InputError(
                f"{name} has two rows of patient {patient!r}, expected one: delete one"
            )
        found[patient] = {str(key): _value(value) for key, value in row.items()}
    return Facts(found, {}, name)


_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_MAYBE_THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}")


def _with_points(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of numbers that has decimal commas with points; ``1,234`` alone tells nothing."""
    texts = [value.strip() for value in column.tolist() if isinstance(value, str)]
    known = [text for text in texts if text.lower() not in _MISSING]
    commas = [text for text in known if _DECIMAL_COMMA.fullmatch(text)]
    are_numbers = all(text in commas or re.fullmatch(r"[+-]?\d+", text) for text in set(known))
    if not commas or not are_numbers or all(map(_MAYBE_THOUSANDS.fullmatch, commas)):
        return column
    return column.map(lambda value: value.replace(",", ".") if isinstance(value, str) else value)


def _patient_id(value: Any) -> str:
    if isinstance(value, int | np.integer):
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def _value(value: Any) -> Value:
    """Return a number or a text; None where the cell says that it is not known."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.integer | np.floating):
        return float(value) if np.isfinite(value) else None
    text = str(value).strip() if value is not None and value is not pd.NA else ""
    return None if text.lower() in _MISSING else text
