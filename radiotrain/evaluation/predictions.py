"""The predictions table: the only input of the evaluation, whatever model made it.

One row is one prediction of one patient:

===============  =====================================================
``run``          text, which model
``patient_id``   text, leading zeros kept
``target``       text, e.g. ``ER``
``split``        ``train``, ``validation`` or ``test``
``fold``         integer from 0, or empty
``label``        0, 1 or -1 (missing)
``probability``  of label 1, from 0 to 1
===============  =====================================================

Two more columns may be there; what a run has in them is the same in all its rows:

=================  =============================================================================
``configuration``  text or empty; runs with the same are one configuration trained again
``seed``           integer from 0, or empty
=================  =============================================================================

Other columns are left out.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from preprocessing import files
from preprocessing.cohort import MISSING_LABEL
from preprocessing.errors import InputError, nearest_hint
from radiotrain.checked_parquet import to_parquet
from radiotrain.evaluation.table_files import read_table

COLUMNS = ("run", "patient_id", "target", "split", "fold", "label", "probability")
SPLITS = ("train", "validation", "test")
OPTIONAL_COLUMNS = ("configuration", "seed")

_KEY = ["run", "patient_id", "target", "split", "fold"]


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read and check a predictions table.

    Parameters
    ----------
    path
        A ``.csv`` or ``.parquet`` file, on a folder or an object store.

    Returns
    -------
    The columns `COLUMNS`, and of `OPTIONAL_COLUMNS` those that are there, one row a prediction,
    checked by `validate_predictions`.

    Raises
    ------
    MissingPathError
        If there is no such file.
    InputError
        If it is no such table.
    """
    table = read_table(
        path,
        "predictions table",
        f"UTF-8 text with commas and the header {','.join(COLUMNS)}",
    )
    return validate_predictions(table, name=f"predictions table {path}")


def validate_predictions(df: pd.DataFrame, *, name: str = "predictions table") -> pd.DataFrame:
    """Return the table in its canonical types, or say what is wrong with it.

    Parameters
    ----------
    df
        At least the columns `COLUMNS`, as text or numbers.
    name
        What messages call the table.

    Returns
    -------
    Text, Int64 (fold, seed), int64 (label) and float64 (probability) columns, rows in the same
    order. An empty ``configuration`` is an empty text.

    Raises
    ------
    InputError
        At the first missing column, value that cannot be used, repeated prediction, patient
        in two splits, patient with two labels, or run with two configurations or seeds.
    """
    _check_columns(list(df.columns), name)
    if df.empty:
        raise InputError(f"{name} has a header but no rows, expected one row for each prediction")
    rows = _Rows(name, df)
    checked = pd.DataFrame(
        {
            "run": pd.Series(rows.parse("run", _text, "a name"), dtype="str"),
            "patient_id": pd.Series(rows.patient_ids, dtype="str"),
            "target": pd.Series(rows.parse("target", _text, "a name"), dtype="str"),
            "split": pd.Series(rows.parse("split", _split, _or(SPLITS)), dtype="str"),
            "fold": pd.Series(
                rows.parse("fold", _fold, "an integer from 0 or empty"), dtype="Int64"
            ),
            "label": pd.Series(rows.parse("label", _label, "0, 1 or -1 (missing)"), dtype="int64"),
            "probability": pd.Series(
                rows.parse("probability", _probability, "a number from 0 to 1"), dtype="float64"
            ),
        }
    )
    for column in _optional(df):
        parsed = _OPTIONAL[column]
        checked[column] = pd.Series(rows.parse(column, *parsed.how), dtype=parsed.dtype)
    _check_no_repeats(checked, name)
    _check_one_of_run(checked, name)
    _check_one_label(checked, name)
    _check_no_leak(checked, name)
    return checked


def write_predictions(df: pd.DataFrame, url: str | Path) -> None:
    """Write a table whole or not at all, as CSV or Parquet by the name's ending."""
    buffer = io.BytesIO()
    if str(url).lower().endswith(".csv"):
        df.to_csv(buffer, index=False)
    else:
        buffer.write(to_parquet(df))
    files.write_bytes(str(url), buffer.getvalue())


def _check_columns(found: list[Hashable], name: str) -> None:
    names = [str(c) for c in found]
    for column in COLUMNS:
        if column not in names:
            other = [n for n in names if n not in COLUMNS]
            hint = nearest_hint(column, other).replace("did you mean", "is it")
            if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
                hint = "; its values are not separated by commas"
            raise InputError(
                f"{name} has no column {column!r}{hint}: got {', '.join(names)};"
                f" expected {', '.join(COLUMNS)}"
            )
    for column in (*COLUMNS, *OPTIONAL_COLUMNS):
        if names.count(column) > 1:
            raise InputError(f"{name} has {names.count(column)} columns {column!r}, expected one")


def _optional(df: pd.DataFrame) -> list[str]:
    return [column for column in OPTIONAL_COLUMNS if column in df.columns]


_LARGEST = 2**53
_LONGEST_SHOWN = 100


class _Rows:
    """The raw rows of a table, able to say which one is wrong."""

    def __init__(self, name: str, df: pd.DataFrame) -> None:
        self._name = name
        self._df = df
        self.patient_ids: list[Any] = []
        self.patient_ids = self.parse("patient_id", _text, "a text")

    def parse(self, column: str, convert: Callable[[Any], Any], expected: str) -> list[Any]:
        values = self._df[column].tolist()
        converted = []
        for i, value in enumerate(values):
            try:
                converted.append(convert(value))
            except (ValueError, TypeError, OverflowError):
                raise self._error(i, column, value, expected) from None
        return converted

    def _error(self, i: int, column: str, value: Any, expected: str) -> InputError:
        patient = f" (patient {_cut(self.patient_ids[i])})" if self.patient_ids else ""
        got = "empty" if _is_missing(value) else _cut(value)
        return InputError(
            f"{self._name}: {column} in row {i + 1}{patient} is {got}, expected {expected}:"
            " correct the row or delete it"
        )


def _cut(value: Any) -> str:
    """Return a value for a sentence, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()  # else 'P1' and 'P1 ' would be two patients, and a leak unseen
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise ValueError


def _split(value: Any) -> str:
    word = str(value).strip()
    if word not in SPLITS:
        raise ValueError
    return word


def _integer(value: Any) -> int:
    """Return 1 for 1, 1.0, "1" and "1.0" (pandas writes integers so beside empty cells)."""
    if isinstance(value, bool | np.bool_):
        raise TypeError
    number = float(value)
    # Larger ones, of which floats have only some, are neither folds, seeds nor labels.
    if not number.is_integer() or abs(number) > _LARGEST:
        raise ValueError
    return int(number)


def _is_empty(value: Any) -> bool:
    return _is_missing(value) or (isinstance(value, float) and math.isnan(value))


def _text_or_empty(value: Any) -> str:
    return "" if _is_empty(value) else _text(value)


def _fold(value: Any) -> Any:
    if _is_empty(value):
        return pd.NA
    number = _integer(value)
    if number < 0:
        raise ValueError
    return number


def _label(value: Any) -> int:
    number = _integer(value)
    if number not in (0, 1, MISSING_LABEL):
        raise ValueError
    return number


def _probability(value: Any) -> float:
    if isinstance(value, bool | np.bool_):
        raise TypeError
    number = float(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError
    return number


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


class _Parsed(NamedTuple):
    """How an optional column is read: conversion, what is expected, type."""

    convert: Callable[[Any], Any]
    expected: str
    dtype: Any

    @property
    def how(self) -> tuple[Callable[[Any], Any], str]:
        return self.convert, self.expected


_OPTIONAL = {
    "configuration": _Parsed(_text_or_empty, "a name or empty", "str"),
    "seed": _Parsed(_fold, "an integer from 0 or empty", "Int64"),
}


def _check_one_of_run(df: pd.DataFrame, name: str) -> None:
    for column in _optional(df):
        num = df.groupby("run", sort=False)[column].nunique(dropna=False)
        wrong = num[num > 1]
        if wrong.empty:
            continue
        run = wrong.index[0]
        values = df.loc[df["run"] == run, column].drop_duplicates().tolist()
        got = " and ".join("none" if _is_empty(v) else repr(v) for v in values[:2])
        raise InputError(
            f"{name}: run {run!r} has the {column} {got}, expected one in all its rows:"
            " name each training as a run of its own"
        )


def _check_no_repeats(df: pd.DataFrame, name: str) -> None:
    groups = df.groupby(_KEY, dropna=False, sort=False).ngroup().to_numpy()
    _, first_of_group = np.unique(groups, return_index=True)
    repeated = np.setdiff1d(np.arange(len(df)), first_of_group)
    if not len(repeated):
        return
    second = int(repeated[0])
    first = int(np.flatnonzero(groups == groups[second])[0])
    run, patient, target, split, fold = df[_KEY].astype(object).to_numpy()[second]
    raise InputError(
        f"{name}: rows {first + 1} and {second + 1} both predict patient {patient!r} (run {run!r},"
        f" target {target!r}, split {split}, fold {'empty' if fold is pd.NA else fold}),"
        " expected one row: delete one"
    )


def _check_one_label(df: pd.DataFrame, name: str) -> None:
    num_labels = df.groupby(["run", "target", "patient_id"], sort=False)["label"].nunique()
    wrong = num_labels[num_labels > 1]
    if wrong.empty:
        return
    run, target, patient = wrong.index[0]
    rows = df[(df["run"] == run) & (df["target"] == target) & (df["patient_id"] == patient)]
    labels = " and ".join(str(v) for v in sorted(set(rows["label"])))
    raise InputError(
        f"{name}: patient {patient!r} has the {target!r} labels {labels} in run {run!r},"
        " expected one label for a patient: correct the table"
    )


def _check_no_leak(df: pd.DataFrame, name: str) -> None:
    """Refuse a patient who is on two sides of a split.

    Between the folds of a cross-validation a patient changes from training to validation;
    within one fold nobody is both, and a test patient is never anything else. An empty fold
    counts as all of them.
    """
    key = ["run", "target", "patient_id"]
    crossing = df[df.groupby(key)["split"].transform("nunique") > 1]
    in_one_fold = crossing.groupby([*key, "fold"], dropna=False)["split"].transform("nunique") > 1
    leaking = crossing[in_one_fold | crossing["fold"].isna() | (crossing["split"] == "test")]
    if leaking.empty:
        return
    run, target, patient = leaking[key].to_numpy()[0]
    rows = df[(df["run"] == run) & (df["target"] == target) & (df["patient_id"] == patient)]
    words = " and ".join(s for s in SPLITS if s in set(rows["split"]))
    raise InputError(
        f"{name}: patient {patient!r} is in {words} of run {run!r}, target {target!r}:"
        " expected every patient on one side only, so these predictions leak;"
        " split by patient and train again"
    )
