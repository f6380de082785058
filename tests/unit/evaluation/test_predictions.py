from __future__ import annotations

import gzip
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.common.errors import InputError, MissingPathError
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.predictions import (
    COLUMNS,
    read_predictions,
    refuse_untested,
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


_ROWS = "net{0}007{0}ER{0}test{0}{0}1{0}0{1}5\nnet{0}7{0}ER{0}test{0}{0}0{0}0{1}25\n"


def _is_read(path: Path) -> None:
    table = read_predictions(path)
    assert table["patient_id"].tolist() == ["007", "7"]
    assert table["label"].tolist() == [1, 0]
    assert table["probability"].tolist() == [0.5, 0.25]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".TXT", ".csv.gz"])
def test_a_text_is_read_whatever_separates_its_values(
    tmp_path: Path, mark: str, ending: str
) -> None:
    path = tmp_path / f"table{ending}"
    content = (mark.join(COLUMNS) + "\n" + _ROWS.format(mark, ".")).encode()
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    _is_read(path)


@pytest.mark.parametrize("mark", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("first", ["", "sep={}\r\n"])
def test_a_spreadsheets_text_with_decimal_commas_is_read(
    tmp_path: Path, mark: str, encoding: str, first: str
) -> None:
    path = tmp_path / "table.csv"
    text = first.format(mark) + mark.join(COLUMNS) + "\n" + _ROWS.format(mark, ",")
    path.write_bytes(text.encode(encoding))
    _is_read(path)


def _workbook(path: Path, rows: list[list[Any]], hidden: int | None = None) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in [list(COLUMNS), *rows]:
        sheet.append(row)
    if hidden is not None:
        sheet.row_dimensions[hidden].hidden = True
    book.save(path)


def test_a_workbook_is_read_with_its_leading_zeros(tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    rows = [
        ["net", "007", "ER", "test", None, True, 0.5],
        ["net", "7", "ER", "test", None, False, 0.25],
    ]
    _workbook(path, rows)
    _is_read(path)
    path.rename(path.with_suffix(".csv"))  # told by its content
    _is_read(path.with_suffix(".csv"))


def test_a_workbook_with_hidden_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.xlsx"
    _workbook(path, [["net", "7", "ER", "test", None, 1, 0.5]], hidden=2)
    with pytest.raises(InputError, match="has 1 hidden rows: show or delete them first"):
        read_predictions(path)


def test_a_parquet_file_keeps_what_pandas_calls_its_index(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    make_table().set_index(["run", "patient_id"]).to_parquet(path)
    assert read_predictions(path)["patient_id"].tolist() == ["000", "001", "002", "003"]


def test_a_broken_gzip_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"run,patient_id\n" * 50)[:-9])
    with pytest.raises(InputError, match="cannot be unpacked"):
        read_predictions(path)


@pytest.mark.parametrize(
    "labels",
    [
        [True, False, True, False],
        ["True", "FALSE", " true", "false "],
        ["yes", "no", "Yes", "No"],
        ["positive", "negative", "Positive", "NEGATIVE"],
        ["pos", "neg", "pos", "neg"],
        ["+", "-", "+", "-"],
        ["y", "n", "y", "n"],
        ["1.0", "0.0", "1", "0"],
    ],
)
def test_words_of_one_pair_are_labels(labels: list[Any]) -> None:
    assert validate_predictions(make_table(label=labels))["label"].tolist() == [1, 0, 1, 0]


def test_a_label_among_words_may_be_missing() -> None:
    table = make_table(label=["yes", "-1", "no", -1])
    assert validate_predictions(table)["label"].tolist() == [1, -1, 0, -1]


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (
            ["yes", "negative", "yes", "negative"],
            "label in row 1 (patient '000') is 'yes' and cannot",
        ),
        (
            ["1", "0", "positive", "0"],
            "label in row 3 (patient '002') is 'positive', expected 0, 1",
        ),
        (
            [True, None, False, True],
            "label in row 2 (patient '001') is empty, expected false, true",
        ),
        (
            [1, 2, 1, 2],
            "label in row 2 (patient '001') is 2 and cannot be used in 1 more row either",
        ),
    ],
)
def test_labels_in_several_ways_are_refused_once(labels: list[Any], got: str) -> None:
    assert got in refusal(make_table(label=labels))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        ([12.5, 90, 0.4, 77], "probability goes from 0.4 to 90 in run 'net', target 'ER', as perc"),
        (
            [-3.1, 0.2, 2.2, 0.7],
            "probability goes from -3.1 to 2.2 in run 'net', target 'ER', as log",
        ),
        ([300.0, 0, 800, 5], "probability goes from 0 to 800 in run 'net', target 'ER', as scores"),
        ([0.2, 1.0000001, 1.0000001, 0.5], "probability in row 2 (patient '001') is 1.0000001 and"),
        (["12%", "90%", "110%", "250 %"], "probability goes from 0.12 to 2.5 in run"),
        (["0.1%", "0.9%", "0.5%", "1%"], "none is above 1 %"),
        (["0,5", "0.25", "0,5", "0"], "probability in row 1 (patient '000') is '0,5' and cannot"),
        (["50%", "0.25", "0.5", "0"], "probability in row 1 (patient '000') is '50%', expected"),
        ([math.nan, 0.5, math.nan, math.nan], "is nan and cannot be used in 2 more rows either"),
    ],
)
def test_a_column_on_another_scale_is_refused_once(values: list[Any], got: str) -> None:
    assert got in refusal(make_table(probability=values))


def test_the_run_on_another_scale_is_named_though_the_others_are_right() -> None:
    right, wrong = make_table(40), make_table(40, run="scores", probability=list(range(40)))
    sentence = refusal(pd.concat([right, wrong], ignore_index=True))
    assert "goes from 0 to 39 in run 'scores', target 'ER', as percentages do" in sentence


def test_percentages_with_their_sign_are_read() -> None:
    table = make_table(probability=["12%", "90.5 %", "0%", "100%"])
    assert validate_predictions(table)["probability"].tolist() == [0.12, 0.905, 0.0, 1.0]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("val", "validation"),
        ("Test", "test"),
        ("testing", "test"),
        ("dev", "train"),
        ("tset", "test"),
    ],
)
def test_the_split_that_is_meant_is_named_once(written: str, meant: str) -> None:
    sentence = refusal(make_table(split=written))
    assert f"is '{written}' and cannot be used in 3 more rows either" in sentence
    assert f"expected train, validation or test (did you mean '{meant}'?)" in sentence


def test_a_table_in_which_nothing_was_tested_is_refused() -> None:
    table = validate_predictions(make_table(split=["train", "validation", "train", "train"]))
    with pytest.raises(InputError, match="has no test rows, got 3 of train and 1 of validation"):
        refuse_untested(table)
    with pytest.raises(
        InputError, match=r"has no label of a test patient, got -1 \(missing\) in all 4"
    ):
        refuse_untested(validate_predictions(make_table(label=-1)))
    refuse_untested(validate_predictions(make_table()))


def test_a_large_table_is_checked_by_its_columns() -> None:
    """Row by row it took 20 s a million rows, and each table is checked three times."""
    num = 60_000
    ids = [f"P{i}" for i in range(num)]
    labels = np.arange(num) % 2
    table = make_table(num, patient_id=ids, label=labels, probability=labels / 2)
    start = time.process_time()
    validate_predictions(table.astype({"fold": "Int64", "run": "str"}))
    assert time.process_time() - start < 1.0


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
