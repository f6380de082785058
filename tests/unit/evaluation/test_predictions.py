from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.errors import InputError, MissingPathError
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.predictions import (
    COLUMNS,
    read_predictions,
    validate_predictions,
    write_predictions,
)


def make_table(num: int = 4, **columns: Any) -> pd.DataFrame:
    """A good table of `num` test patients, with the columns given in place of its own."""
    values: dict[str, Any] = {
        "run": ["net"] * num,
        "patient_id": [f"{i:03d}" for i in range(num)],
        "target": ["ER"] * num,
        "split": ["test"] * num,
        "fold": [None] * num,
        "label": [i % 2 for i in range(num)],
        "probability": [i / num for i in range(num)],
    }
    return pd.DataFrame(values | columns)


def refusal(table: pd.DataFrame) -> str:
    """The sentence a table is refused with: one line, without a full stop inside."""
    with pytest.raises(InputError) as caught:
        validate_predictions(table)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert ". " not in sentence
    return sentence


def write_csv(folder: Path, *lines: str, header: str = ",".join(COLUMNS)) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def test_a_good_table_comes_back_in_its_types_without_other_columns() -> None:
    checked = validate_predictions(make_table(fold=["0", "1.0", 2, None]).assign(age=50))
    assert tuple(checked.columns) == COLUMNS
    assert checked["patient_id"].tolist() == ["000", "001", "002", "003"]
    assert checked["fold"].tolist() == [0, 1, 2, pd.NA]
    assert [str(t) for t in checked.dtypes[["fold", "label", "probability"]]] == [
        "Int64",
        "int64",
        "float64",
    ]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(column: str) -> None:
    sentence = refusal(make_table().drop(columns=column))
    assert f"no column {column!r}" in sentence
    assert f"expected {', '.join(COLUMNS)}" in sentence


@pytest.mark.parametrize(
    ("column", "written"), [("probability", "probabilty"), ("patient_id", "PatientID")]
)
def test_a_misspelt_column_is_hinted_at(column: str, written: str) -> None:
    sentence = refusal(make_table().rename(columns={column: written}))
    assert f"no column {column!r} (is it {written!r}?)" in sentence


def test_a_column_that_comes_twice_is_refused() -> None:
    table = pd.concat([make_table(), make_table()[["label"]]], axis=1)
    assert "has 2 columns 'label', expected one" in refusal(table)


@pytest.mark.parametrize("empty", [make_table(0), pd.DataFrame(columns=list(COLUMNS))])
def test_a_table_without_rows_is_refused(empty: pd.DataFrame) -> None:
    assert "has a header but no rows" in refusal(empty)


@pytest.mark.parametrize(
    ("column", "value", "got", "expected"),
    [
        ("probability", math.nan, "nan", "a number from 0 to 1"),
        ("probability", "NaN", "'NaN'", "a number from 0 to 1"),
        ("probability", math.inf, "inf", "a number from 0 to 1"),
        ("probability", "-Inf", "'-Inf'", "a number from 0 to 1"),
        ("probability", 1.0000001, "1.0000001", "a number from 0 to 1"),
        ("probability", -1e-9, "-1e-09", "a number from 0 to 1"),
        ("probability", "0,7", "'0,7'", "a number from 0 to 1"),
        ("probability", "", "empty", "a number from 0 to 1"),
        ("probability", None, "empty", "a number from 0 to 1"),
        ("probability", True, "True", "a number from 0 to 1"),
        ("label", 2, "2", "0, 1 or -1 (missing)"),
        ("label", 0.5, "0.5", "0, 1 or -1 (missing)"),
        ("label", math.nan, "nan", "0, 1 or -1 (missing)"),
        ("label", math.inf, "inf", "0, 1 or -1 (missing)"),
        ("label", "positive", "'positive'", "0, 1 or -1 (missing)"),
        ("label", "", "empty", "0, 1 or -1 (missing)"),
        ("label", True, "True", "0, 1 or -1 (missing)"),
        ("split", "val", "'val'", "train, validation or test"),
        ("split", "Test", "'Test'", "train, validation or test"),
        ("fold", -1, "-1", "an integer from 0 or empty"),
        ("fold", 1.5, "1.5", "an integer from 0 or empty"),
        ("fold", "first", "'first'", "an integer from 0 or empty"),
        ("run", " ", "empty", "a name"),
        ("target", math.nan, "nan", "a name"),
    ],
)
def test_a_bad_value_is_named_with_its_row_and_patient(
    column: str, value: Any, got: str, expected: str
) -> None:
    table = make_table().astype({column: object})
    table.loc[2, column] = value
    sentence = refusal(table)
    assert f"{column} in row 3 (patient '002') is {got}, expected {expected}" in sentence


@pytest.mark.parametrize("value", ["", None, math.nan, 7.0])
def test_a_patient_without_a_name_is_refused(value: Any) -> None:
    table = make_table().astype({"patient_id": object})
    table.loc[1, "patient_id"] = value
    assert "patient_id in row 2 is " in refusal(table)


@pytest.mark.parametrize("fold", [None, 0])
def test_a_prediction_that_comes_twice_is_refused(fold: int | None) -> None:
    table = make_table(patient_id=["a", "b", "c", "b"], label=1, fold=[fold] * 4)
    sentence = refusal(table)
    assert "rows 2 and 4 both predict patient 'b'" in sentence
    assert f"fold {'empty' if fold is None else fold}" in sentence


def test_one_prediction_a_fold_is_no_repetition() -> None:
    table = make_table(patient_id=["a", "a", "b", "b"], fold=[0, 1, 0, 1], label=[1, 1, 0, 0])
    assert len(validate_predictions(table)) == 4


@pytest.mark.parametrize(
    ("splits", "folds", "words"),
    [
        (["train", "test"], [0, 0], "train and test"),
        (["train", "validation"], [0, 0], "train and validation"),
        (["validation", "test"], [0, 1], "validation and test"),
        (["train", "test"], [None, None], "train and test"),
        (["train", "validation"], [None, 1], "train and validation"),
    ],
)
def test_a_patient_on_two_sides_is_a_leak(
    splits: list[str], folds: list[int | None], words: str
) -> None:
    table = make_table(
        patient_id=["a", "b", "c", "a"],
        split=["test", "test", "test", "test"],
        label=1,
        fold=[0, 0, 0, 0],
    ).astype({"fold": object})
    table.loc[[0, 3], "split"] = splits
    table["fold"] = [folds[0], 0, 0, folds[1]]
    sentence = refusal(table)
    assert f"patient 'a' is in {words} of run 'net', target 'ER'" in sentence


def test_blanks_around_a_patient_id_do_not_hide_a_leak() -> None:
    table = make_table(2, patient_id=["P1", "P1 "], split=["test", "train"], label=1)
    assert "patient 'P1' is in train and test" in refusal(table)


def test_changing_from_training_to_validation_between_folds_is_cross_validation() -> None:
    table = make_table(
        patient_id=["a", "a", "b", "b"],
        split=["train", "validation", "validation", "train"],
        fold=[0, 1, 0, 1],
        label=[1, 1, 0, 0],
    )
    assert validate_predictions(table)["split"].tolist() == table["split"].tolist()


def test_the_same_patient_may_be_split_otherwise_for_another_run_or_target() -> None:
    table = make_table(
        3,
        run=["one", "two", "one"],
        target=["ER", "ER", "PR"],
        patient_id="a",
        split=["test", "train", "validation"],
        label=1,
    )
    assert len(validate_predictions(table)) == 3


@pytest.mark.parametrize("labels", [(0, 1), (-1, 1)])
def test_two_labels_for_a_patient_are_refused(labels: tuple[int, int]) -> None:
    table = make_table(2, patient_id=["a", "a"], fold=[0, 1], label=list(labels))
    assert f"patient 'a' has the 'ER' labels {labels[0]} and {labels[1]}" in refusal(table)


def test_leading_zeros_and_words_like_na_stay_patient_ids(tmp_path: Path) -> None:
    names = ["007", "7", "NA", "null", "1e5", "-0"]
    path = write_csv(tmp_path, *(f"net,{name},ER,test,,0,0.5" for name in names))
    assert read_predictions(path)["patient_id"].tolist() == names


def test_blanks_after_the_commas_are_no_part_of_the_values(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "net, 007, ER, test, , 1, 0.5", header=", ".join(COLUMNS))
    row = read_predictions(path).iloc[0]
    assert row[["run", "patient_id", "target", "split"]].tolist() == ["net", "007", "ER", "test"]


def test_a_byte_order_mark_from_a_spreadsheet_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "TABLE.CSV"
    path.write_bytes(b"\xef\xbb\xbf" + (",".join(COLUMNS) + "\nnet,1,ER,test,,0,.5\n").encode())
    assert read_predictions(path)["run"].tolist() == ["net"]


_NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.sampled_from(',"\n'), max_size=6
).map(str.strip)
_ROUND_TRIP = st.lists(
    st.tuples(_NAMES.filter(bool), st.none() | st.integers(0, 9), st.floats(0, 1)),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row[0],
)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@settings(max_examples=30, deadline=None)
@given(rows=_ROUND_TRIP)
def test_what_is_written_is_read_again(
    ending: str,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int | None, float]],
) -> None:
    table = validate_predictions(
        make_table(
            len(rows),
            patient_id=[row[0] for row in rows],
            fold=[row[1] for row in rows],
            probability=[row[2] for row in rows],
        )
    )
    path = tmp_path_factory.mktemp("round") / f"table.{ending}"
    write_predictions(table, path)
    pd.testing.assert_frame_equal(read_predictions(path), table, check_exact=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as CSV"),
        (b"run,patient_id\nnet,1,extra\n", "cannot be read as CSV"),
        (b"run,patient_id\nnet,\xff\n", "cannot be read as CSV"),
        (b'run,patient_id\nnet,"1\n', "cannot be read as CSV"),
        (b"run;patient_id\nnet;1\n", "no column 'target': got run, patient_id; expected"),
        (b"run:patient_id\nnet:1\n", "no column 'run': got run:patient_id; expected"),
        (",".join(COLUMNS).encode() + b"\n", "has a header but no rows"),
        (",".join(COLUMNS).encode() + b"\nnet,1,ER,test\n", "label in row 1 (patient '1')"),
    ],
    ids=[
        "no content",
        "ragged",
        "not UTF-8",
        "open quote",
        "semicolons",
        "colons",
        "header only",
        "short",
    ],
)
def test_a_file_that_is_no_such_table_is_named(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_predictions(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_predictions(validate_predictions(make_table()), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="is damaged, it does not match its checksum"):
        read_predictions(path)


def test_a_missing_file_a_folder_and_another_ending_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="no predictions table at"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder, expected"):
        read_predictions(tmp_path / "folder.csv")
    with pytest.raises(InputError, match=r"ends in '.ods', expected .csv, .tsv, .txt, .csv.gz"):
        read_predictions(tmp_path / "table.ods")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_the_folds_does_not_change_a_patients_score(
    probabilities: list[float], shuffler: Any
) -> None:
    def score(values: list[float]) -> float:
        num = len(values)
        table = make_table(num, patient_id="a", label=1, fold=list(range(num)), probability=values)
        return float(patient_scores(validate_predictions(table), "net", "ER", "test").scores[0])

    shuffled = list(probabilities)
    shuffler.shuffle(shuffled)
    assert score(shuffled) == score(probabilities)
    assert score(probabilities) == pytest.approx(np.mean(probabilities), abs=1e-15)


@pytest.mark.parametrize("probability", [0.1, 0.7, 1 / 3])
def test_folds_that_agree_average_to_what_they_agree_on(probability: float) -> None:
    table = make_table(3, patient_id="a", label=1, fold=[0, 1, 2], probability=probability)
    patients = patient_scores(validate_predictions(table), "net", "ER", "test")
    assert patients.scores.tolist() == [probability]
    assert (patients.fewest_predictions, patients.most_predictions) == (3, 3)
