"""What people type stays out of what is stored and said; what is technical stays in."""

import pytest

from preprocessing.cohort.values import identifies
from preprocessing.common.redaction import (
    shown_cell,
    shown_covariate,
    shown_file,
    shown_maker,
    shown_reason,
    shown_series,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ax dyn pre", "ax dyn pre"),
        ("ax dyn 1st pass", "ax dyn 1st pass"),
        ("Ax Vibrant MultiPhase", "Ax Vibrant MultiPhase"),
        ("sag bilateral T1 dynamics", "sag bilateral T1 dynamics"),
        ("ax 3d dyn MP Doe^J 1961-02-03", "ax 3d dyn MP …"),
        ("Ph2/ax dyn 20010203", "Ph2/ax dyn …"),
        ("post 4 03.02.61", "post 4 …"),
        ("Müller", "unnamed"),
        ("MRN73519284", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_series(text: str, shown: str) -> None:
    assert shown_series(text) == shown
    assert shown_series(shown) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [("1-01.dcm", "1-01.dcm"), ("IM-0001-0002.dcm",) * 2, ("Doe_003.dcm", "…_003.dcm")],
)
def test_files(name: str, shown: str) -> None:
    assert shown_file(name) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GE MEDICAL SYSTEMS", "GE MEDICAL SYSTEMS"),
        ("Philips Healthcare", "Philips Healthcare"),
        ("SIEMENS Doe", "SIEMENS …"),
        ("Doe", "other maker"),
        (" ", None),
    ],
)
def test_makers(text: str, shown: str | None) -> None:
    assert shown_maker(text) == shown


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (1.0, "'1.0'"),
        ("POS", "'POS'"),
        ("Doe", "a text of 3 characters"),
        ("123456789", "a text of 9 characters"),
        ("19610203", "a text of 8 characters"),
        (73519284, "a text of 8 characters"),
        ("030261", "a text of 6 characters"),
        (1961, "a text of 4 characters"),
        ("-1.5", "'-1.5'"),
        (512, "'512'"),
        (".", "a text of 1 characters"),
        ("", "''"),
        ("61-02-03", "a text of 8 characters"),
    ],
)
def test_cells(cell: object, shown: str) -> None:
    assert shown_cell(cell) == shown


def test_reasons_come_without_what_they_quote() -> None:
    error = ValueError("could not convert 'Doe^J'\nin /data/Doe/1.dcm: \"Doe\" 17")
    assert shown_reason(error) == "could not convert '…' in … '…' 17"
    assert shown_reason(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    "column",
    [
        "Patient Name",
        "DOB",
        "PatientID",
        "hospital no",
        "StudyInstanceUID",
        "date_of_birth",
        "MRN",
        "e-mail",
        "StudyDate",
    ],
)
def test_columns_that_identify_people(column: str) -> None:
    assert identifies(column)


@pytest.mark.parametrize(
    "column", ["age", "scanner_name", "Manufacturer Model Name", "liquid", "grade", "days_to_mri"]
)
def test_columns_that_do_not(column: str) -> None:
    assert not identifies(column, "3")
    for day in ("3/2/1961", "19610203", 19610203, 19610203.0):
        assert identifies(column, day)
    for number in ("19611303", "1961020", "196102034", "19610203.5"):
        assert not identifies(column, number)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("manufacturer", "Doe", "other maker"),
        ("Vendor", "Siemens Healthineers", "Siemens Healthineers"),
        ("model", "Optima MR450w", "Optima MR450w"),
        ("scanner", "Siemens Skyra, Doe", "Siemens Skyra, …"),
        ("scanner", "MRI-2", "MRI-2"),
        ("Manufacturer Model Name", "Signa HDxt", "Signa HDxt"),
        ("menopause", "peri", "peri"),
        ("menopause", "Doe", "other"),
        ("race", "african american", "african american"),
        ("sex", "F", "F"),
        ("histology", "invasive ductal carcinoma", "invasive ductal carcinoma"),
        ("histology", "ductal, see Doe^Jane 1961-02-03", "ductal, see …"),
        ("histology", "letter 73519284 by jane@doe.example", "letter … by …"),
        ("history", "x" * 101, "a text of 101 characters"),
        ("site", "ISPY2", "ISPY2"),
        ("age_years", 61.0, 61.0),
        ("model", None, None),
    ],
)
def test_covariates(column: str, value: str | float | None, shown: str | float | None) -> None:
    assert shown_covariate(column, value) == shown


def test_unknown_scanners_are_told_apart() -> None:
    first, second = shown_covariate("scanner", "Doe"), shown_covariate("scanner", "Roe")
    assert str(first).startswith("other model ")
    assert first != second
    assert first == shown_covariate("scanner", "Doe")
