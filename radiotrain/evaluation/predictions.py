"""Predictions table: the only input of the evaluation.

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

A column of labels may say false and true, no and yes, or negative and positive instead, and a column
of probabilities may have decimal commas, or a per cent sign behind every number.

Three more columns may be there; what a run has in them is the same in all its rows:

=================  =============================================================================
``configuration``  text or empty; runs with the same are one configuration trained again
``seed``           integer from 0, or empty
``averaging``      how runs of one configuration are averaged: ``calibrated`` on each one's
                   validation patients, or ``raw`` (as predicted; also where empty)
=================  =============================================================================

And one of a cross-validated test, in which each patient is tested by models that never saw the patient:

=========  =====================================================================================
``outer``  number from 1 of the outer part that a row's models belong to, or empty; all rows of a
           run and target have one, or none. In other parts a test patient trains or validates.
=========  =====================================================================================

Other columns are left out.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError, nearest, nearest_hint
from preprocessing.storage import files
from radiotrain.evaluation.tables import read_table
from radiotrain.runs.checked_files import to_parquet

COLUMNS = ("run", "patient_id", "target", "split", "fold", "label", "probability")
SPLITS = ("train", "validation", "test")
OPTIONAL_COLUMNS = ("configuration", "seed", "averaging", "outer")

_KEY = ["run", "patient_id", "target", "split", "fold"]


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read and check a predictions table.

    Parameters
    ----------
    path
        A text such as ``.csv``, ``.tsv`` or ``.csv.gz``, an ``.xlsx`` or a ``.parquet`` file, on a
        folder or an object store; see `table_files.read_table`.

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
        columns=COLUMNS,
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
            "run": rows.parse("run", _text, "a name", "str"),
            "patient_id": rows.patient_ids,
            "target": rows.parse("target", _text, "a name", "str"),
            "split": rows.parse("split", _split, _or(SPLITS), "str", hint=_split_hint),
            "fold": rows.parse("fold", _fold, "an integer from 0 or empty", "Int64"),
            "label": rows.parse("label", *_label_style(df["label"]), "int64"),
        }
    )
    checked["probability"] = _probabilities(rows, checked, df["probability"])
    for column in _optional(df):
        checked[column] = rows.parse(column, *_OPTIONAL[column])
    if "outer" in checked:
        checked = _with_outer(checked, name)
    _check_no_repeats(checked, name)
    _check_one_of_run(checked, name)
    _check_one_label(checked, name)
    _check_no_leak(checked, name)
    return checked


def refuse_untested(table: pd.DataFrame, name: str = "predictions table") -> None:
    """Refuse a validated table in which nothing was tested.

    Raises
    ------
    InputError
        If it has no test rows, or no label of a test patient.
    """
    tested = table[table["split"] == "test"]
    if tested.empty:
        counts = table["split"].value_counts()
        got = " and ".join(f"{counts[s]:,} of {s}" for s in SPLITS if s in counts)
        raise InputError(
            f"{name} has no test rows, got {got}, expected predictions of test patients with the split"
            " 'test': there is nothing to evaluate"
        )
    if (tested["label"] == MISSING_LABEL).all():
        raise InputError(
            f"{name} has no label of a test patient, got -1 (missing) in all {len(tested):,} test rows,"
            " expected 0 or 1: there is nothing to evaluate"
        )


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
            meant = nearest(column, other)
            hint = "" if meant is None else f" (is it {meant!r}?)"
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
        self.name = name
        self._df = df
        self.patient_ids: pd.Series[Any] = pd.Series(dtype="str")
        self.patient_ids = self.parse("patient_id", _text, "a text", "str")

    def parse(
        self,
        column: str,
        convert: Callable[[Any], Any],
        expected: str,
        dtype: Any,
        *,
        hint: Callable[[Any], str] = lambda value: "",
    ) -> pd.Series[Any]:
        """Convert a column, each value that occurs once."""
        codes, values = _distinct(self._df[column])
        converted, bad = [], []
        for i, value in enumerate(values):
            try:
                converted.append(convert(value))
            except (ValueError, TypeError, OverflowError):
                bad.append(i)
        if bad:
            raise self.error(column, np.flatnonzero(np.isin(codes, bad)), expected, hint)
        found: pd.Series[Any] = pd.Series(
            pd.Series(converted, dtype=dtype).array[codes], dtype=dtype
        )
        return found

    def error(
        self,
        column: str,
        wrong: NDArray[np.intp],
        expected: str,
        hint: Callable[[Any], str] = lambda value: "",
    ) -> InputError:
        """Return what to say of rows whose value cannot be used: one sentence, the first row named."""
        first = int(wrong[0])
        value = self._df[column].iloc[first]
        value = value.item() if isinstance(value, np.generic) else value
        patient = (
            f" (patient {_cut(self.patient_ids.iloc[first])})" if len(self.patient_ids) else ""
        )
        got = "empty" if _is_missing(value) else _cut(value)
        more, advice = "", "correct the row or delete it"
        if len(wrong) > 1:
            rows = "row" if len(wrong) == 2 else "rows"
            more = f" and cannot be used in {len(wrong) - 1} more {rows} either"
            advice = "correct the rows or delete them"
        return InputError(
            f"{self.name}: {column} in row {first + 1}{patient} is {got}{more}, expected"
            f" {expected}{hint(value)}: {advice}"
        )


def _distinct(column: pd.Series[Any]) -> tuple[NDArray[np.intp], list[Any]]:
    """Return the values that occur, and where each stands among them."""
    if column.dtype == object:  # where True and 1 are the same to a dictionary
        return np.arange(len(column)), column.tolist()
    codes, values = pd.factorize(column, use_na_sentinel=False)
    return codes, values.tolist()


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


_SPLIT_WORDS = {
    "train": ("train", "training", "development", "dev", "fit"),
    "validation": ("validation", "valid", "val", "tune", "tuning"),
    "test": ("test", "testing", "tests", "holdout", "hold-out", "held-out", "external"),
}


def _split_hint(value: Any) -> str:
    """Return which split may be meant, in parentheses; empty where nothing says so."""
    word = _word(value)
    meant = next((split for split, words in _SPLIT_WORDS.items() if word in words), None)
    return f" (did you mean {meant!r}?)" if meant else nearest_hint(word, SPLITS)


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


def _averaging(value: Any) -> str:
    word = _text_or_empty(value)
    if word not in ("", "raw", "calibrated"):
        raise ValueError
    return word


def _fold(value: Any) -> Any:
    if _is_empty(value):
        return pd.NA
    number = _integer(value)
    if number < 0:
        raise ValueError
    return number


def _outer(value: Any) -> Any:
    number = _fold(value)
    if number is not pd.NA and number < 1:
        raise ValueError
    return number


def _label(value: Any) -> int:
    number = _integer(value)
    if number not in (0, 1, MISSING_LABEL):
        raise ValueError
    return number


# Negative and positive, as words of one column.
_LABEL_WORDS = (
    ("false", "true"),
    ("f", "t"),
    ("no", "yes"),
    ("n", "y"),
    ("negative", "positive"),
    ("neg", "pos"),
    ("-", "+"),
)


def _label_style(column: pd.Series[Any]) -> tuple[Callable[[Any], int], str]:
    """Return how the labels of a column are read, and what is expected of each.

    Words are read where the whole column has those of one pair: of another among them, or among
    numbers, nothing says what it means.
    """
    used = {_word(v) for v in _distinct(column)[1] if not _is_empty(v)} - {str(MISSING_LABEL)}
    for words in _LABEL_WORDS:
        if used and used <= set(words):
            return partial(_label_of_word, words=words), f"{_or((*words, '-1'))} (missing)"
    return _label, "0, 1 or -1 (missing)"


def _label_of_word(value: Any, words: tuple[str, str]) -> int:
    word = _word(value)
    return MISSING_LABEL if word == str(MISSING_LABEL) else words.index(word)


def _word(value: Any) -> str:
    return str(value).strip().casefold()


_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?%?", re.IGNORECASE)
# Of a run's probabilities for a target: with fewer outside 0 to 1, single rows are wrong.
_SHARE_ON_OTHER_SCALE, _FEWEST_ON_OTHER_SCALE = 0.2, 2
_ROUNDING = 1e-3


def _probabilities(rows: _Rows, keys: pd.DataFrame, column: pd.Series[Any]) -> NDArray[np.float64]:
    """Return the column as numbers from 0 to 1."""
    values, is_percent = _numbers(column)
    if is_percent and np.nanmax(values, initial=0.0) <= 1:
        raise InputError(
            f"{rows.name}: probability has a per cent sign behind every number, and none is above"
            " 1 %, expected numbers from 0 to 1: leave out the signs if they are such numbers"
        )
    values = values / 100 if is_percent else values
    outside = np.isfinite(values) & ((values < 0) | (values > 1))
    if outside.any():
        _refuse_other_scale(rows.name, keys, values, outside)
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise rows.error("probability", wrong, "a number from 0 to 1")
    return values


def _numbers(column: pd.Series[Any]) -> tuple[NDArray[np.float64], bool]:
    """Return the numbers of a column, NaN for what is none, and whether they are percentages."""
    codes, values = _distinct(column)
    texts = [value.strip() for value in values if isinstance(value, str) and value.strip()]
    are_texts = len(texts) == len(values)
    is_percent = are_texts and all(text.endswith("%") for text in texts)
    # 0,5 among 0.5 may be a slip; where all decimals have commas, it is the writer's language.
    has_commas = are_texts and not any("." in text for text in texts)
    found = [_number(value, has_commas, is_percent) for value in values]
    return np.array(found, dtype=np.float64)[codes], is_percent


def _number(value: Any, has_commas: bool, is_percent: bool) -> float:
    if isinstance(value, bool | np.bool_):
        return math.nan
    if isinstance(value, str):
        value = value.strip()
        if has_commas and _DECIMAL_COMMA.fullmatch(value):
            value = value.replace(",", ".")
        value = value.removesuffix("%") if is_percent else value
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan


def _refuse_other_scale(
    name: str, keys: pd.DataFrame, values: NDArray[np.float64], outside: NDArray[np.bool_]
) -> None:
    """Say once of a whole run that its numbers are percentages, or no probabilities at all."""
    groups: Any = keys.groupby(["run", "target"], sort=False).indices
    for (run, target), rows in groups.items():
        numbers = values[rows][np.isfinite(values[rows])]
        fewest = max(_FEWEST_ON_OTHER_SCALE, _SHARE_ON_OTHER_SCALE * len(rows))
        if outside[rows].sum() < fewest:
            continue
        low, high = float(numbers.min()), float(numbers.max())
        if low >= -_ROUNDING and high <= 1 + _ROUNDING:
            continue
        kind, advice = "as scores do", "give probabilities"
        if low < 0:
            kind, advice = "as logits do", "give 1 / (1 + exp(-logit)) if they are logits"
        elif high <= 100:
            kind, advice = "as percentages do", "divide them by 100 if they are percentages"
        raise InputError(
            f"{name}: probability goes from {low:.6g} to {high:.6g} in run {_cut(run)}, target"
            f" {_cut(target)}, {kind}, expected numbers from 0 to 1: {advice}"
        )


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


# Conversion, what is expected, type.
_OPTIONAL: dict[str, tuple[Callable[[Any], Any], str, Any]] = {
    "configuration": (_text_or_empty, "a name or empty", "str"),
    "seed": (_fold, "an integer from 0 or empty", "Int64"),
    "averaging": (_averaging, "raw, calibrated or empty", "str"),
    "outer": (_outer, "an integer from 1 or empty", "Int64"),
}
_OF_RUN = ("configuration", "seed", "averaging")


def _with_outer(df: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the table without a column ``outer`` that is empty; refuse runs that have it in some rows."""
    if df["outer"].isna().all():
        return df.drop(columns="outer")
    for (run, target), empty in df["outer"].isna().groupby([df["run"], df["target"]], sort=False):
        if empty.any() and not empty.all():
            row = int(np.flatnonzero(empty.to_numpy())[0])
            raise InputError(
                f"{name}: run {run!r}, target {target!r} has an outer part in some rows and none in others"
                f" (first: patient {df['patient_id'][empty.index[row]]!r}), expected one in all of them or"
                " in none: name a single split's results as a run of their own"
            )
    return df


def _key_of(df: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    return [*columns, *(["outer"] if "outer" in df else [])]


def _check_one_of_run(df: pd.DataFrame, name: str) -> None:
    for column in (c for c in _OF_RUN if c in df):
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
    key = _key_of(df, _KEY)
    repeated = np.flatnonzero(df.duplicated(key).to_numpy())
    if not len(repeated):
        return
    second = int(repeated[0])
    several = df[df.duplicated(key, keep=False)]
    groups = several.groupby(key, dropna=False, sort=False).ngroup()
    first = int(groups.index[groups == groups.loc[second]][0])
    run, patient, target, split, fold = df[_KEY].astype(object).to_numpy()[second]
    raise InputError(
        f"{name}: rows {first + 1} and {second + 1} both predict patient {patient!r} (run {run!r},"
        f" target {target!r}, split {split}, fold {'empty' if fold is pd.NA else fold}),"
        " expected one row: delete one"
    )


def _check_one_label(df: pd.DataFrame, name: str) -> None:
    key = ["run", "target", "patient_id"]
    labels_of = df[[*key, "label"]].drop_duplicates()
    wrong = labels_of[labels_of.duplicated(key, keep=False)]
    if wrong.empty:
        return
    run, target, patient = wrong[key].to_numpy()[0]
    rows = df[(df["run"] == run) & (df["target"] == target) & (df["patient_id"] == patient)]
    labels = " and ".join(str(v) for v in sorted(set(rows["label"])))
    raise InputError(
        f"{name}: patient {patient!r} has the {target!r} labels {labels} in run {run!r},"
        " expected one label for a patient: correct the table"
    )


def _check_no_leak(df: pd.DataFrame, name: str) -> None:
    """Refuse a patient who is on two sides of a split.

    Between outer parts a patient may be on any side; within one, as without: between the folds of a cross-validation a patient changes from training to validation;
    within one fold nobody is both, and a test patient is never anything else. An empty fold
    counts as all of them.
    """
    key = _key_of(df, ["run", "target", "patient_id"])
    splits_of = df[[*key, "split"]].drop_duplicates()
    if not splits_of.duplicated(key).any():
        return
    crossing = df[df.groupby(key, dropna=False)["split"].transform("nunique") > 1]
    in_one_fold = crossing.groupby([*key, "fold"], dropna=False)["split"].transform("nunique") > 1
    leaking = crossing[in_one_fold | crossing["fold"].isna() | (crossing["split"] == "test")]
    if leaking.empty:
        return
    run, target, patient = leaking[key[:3]].to_numpy()[0]
    rows = df[(df["run"] == run) & (df["target"] == target) & (df["patient_id"] == patient)]
    words = " and ".join(s for s in SPLITS if s in set(rows["split"]))
    raise InputError(
        f"{name}: patient {patient!r} is in {words} of run {run!r}, target {target!r}:"
        " expected every patient on one side only, so these predictions leak;"
        " split by patient and train again"
    )
