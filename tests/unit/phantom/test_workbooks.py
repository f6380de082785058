"""Both workbooks: as TCIA ships them, and as the package's own reader takes them."""

import zipfile
from collections import Counter

import openpyxl
import pytest

from preprocessing.cohort.cohort import Box
from preprocessing.cohort.duke import read_boxes, read_clinical
from preprocessing.phantom import workbooks
from preprocessing.phantom.patient import draw_labels, draw_patient
from preprocessing.phantom.settings import PhantomSettings

ER, PR, HER2, SUBTYPE, SIDE, BILATERAL = 23, 24, 25, 26, 36, 38
DECOYS = {44: "ER", 45: "PR", 46: "HER2"}


def cells_of(path, sheet):
    book = openpyxl.load_workbook(path, data_only=True)
    try:
        return [list(row) for row in book[sheet].iter_rows(values_only=True)]
    finally:
        book.close()


@pytest.fixture(scope="module")
def clinical(cohort):
    """All cells of sheet Data."""
    return cells_of(cohort.folder / workbooks.CLINICAL_NAME, "Data")


def test_sheets_are_named_as_dukes(cohort):
    clinical = openpyxl.load_workbook(cohort.folder / workbooks.CLINICAL_NAME)
    assert clinical.sheetnames == ["Data", "Legend", "Column Explanations"]
    assert openpyxl.load_workbook(cohort.folder / workbooks.BOXES_NAME).sheetnames == ["Sheet1"]


def test_three_header_rows_and_98_columns_come_before_the_patients(cohort, clinical):
    assert {len(row) for row in clinical} == {98}
    assert [row[0] for row in clinical[:3]] == ["Patient Information", "Patient ID", None]
    assert [row[0] for row in clinical[3:]] == [p.patient_id for p in cohort.patients]


def test_columns_are_where_duke_has_them(clinical):
    names = clinical[1]
    expected = {0: "Patient ID", ER: "ER", PR: "PR", HER2: "HER2", SUBTYPE: "Mol Subtype"}
    expected |= {SIDE: "Tumor Location", BILATERAL: "Bilateral Information"}
    assert {i: str(names[i]).strip() for i in expected} == expected


def test_receptors_of_the_other_side_stand_by_as_decoys(clinical):
    groups, names, codes = clinical[:3]
    assert groups[ER] == "Tumor Characteristics"
    for column, target in DECOYS.items():
        assert names[column] is None
        assert codes[column].startswith(f"{target} (for the other side)")
        assert {row[column] for row in clinical[3:]} == {"NP"}


def test_header_cells_keep_dukes_newlines_and_trailing_spaces(clinical):
    cells = [c for row in clinical[:3] for c in row if isinstance(c, str)]
    assert any("\n" in c for c in cells)
    assert any(c != c.strip() for c in cells)


def test_headers_are_the_real_ones_cell_by_cell(clinical, real_data):
    path = real_data / "duke_tables" / workbooks.CLINICAL_NAME
    if not path.exists():
        pytest.skip(f"no {workbooks.CLINICAL_NAME} among the real files")
    real = openpyxl.load_workbook(path, read_only=True)
    assert real.sheetnames == ["Data", "Legend", "Column Explanations"]
    headers = real["Data"].iter_rows(max_row=3, values_only=True)
    for theirs, ours in zip(headers, clinical[:3], strict=True):
        # The real sheet has an empty 99th column.
        assert list(theirs[:98]) == ours
        assert not any(theirs[98:])
    real.close()


def test_box_headers_are_the_real_ones(cohort, real_data):
    path = real_data / "duke_tables" / workbooks.BOXES_NAME
    if not path.exists():
        pytest.skip(f"no {workbooks.BOXES_NAME} among the real files")
    real = cells_of(path, "Sheet1")
    ours = cells_of(cohort.folder / workbooks.BOXES_NAME, "Sheet1")
    assert ours[0] == real[0]
    assert [type(c) for c in ours[1]] == [type(c) for c in real[1]]


def test_labels_come_back_through_the_reader(cohort):
    rows = read_clinical(cohort.folder / workbooks.CLINICAL_NAME).rows
    assert list(rows) == [p.patient_id for p in cohort.patients]
    for patient in cohort.patients:
        assert rows[patient.patient_id].labels == patient.truth["labels"]
        assert rows[patient.patient_id].findings == ()


def test_covariates_come_back_decoded(cohort):
    rows = read_clinical(cohort.folder / workbooks.CLINICAL_NAME).rows
    ages = []
    for patient in cohort.patients:
        covariates, header = rows[patient.patient_id].covariates, patient.phases[0].first
        assert covariates["manufacturer"] == header.Manufacturer
        assert covariates["model"] == header.ManufacturerModelName
        assert covariates["field_strength_t"] == float(header.MagneticFieldStrength)
        # Read through its code book "L=left R=right" or left as it is.
        assert str(covariates["side"])[0].upper() == patient.truth["tumour"]["side"]
        ages.append(covariates["age_years"])
    assert 24 <= min(ages) < max(ages) <= 88


def test_boxes_come_back_through_the_reader(cohort):
    boxes = read_boxes(cohort.folder / workbooks.BOXES_NAME).boxes
    assert list(boxes) == [p.patient_id for p in cohort.patients]
    for patient in cohort.patients:
        slices, rows, columns = patient.box
        start = (rows.start, columns.start, slices.start)
        assert boxes[patient.patient_id] == Box(start, (rows.stop, columns.stop, slices.stop))


def test_boxes_count_from_one_inside_the_images(cohort):
    header, *rows = cells_of(cohort.folder / workbooks.BOXES_NAME, "Sheet1")
    for row in rows:
        box = dict(zip(header[1:], row[1:], strict=True))
        for axis, size in {"Row": 64, "Column": 64, "Slice": 24}.items():
            assert 1 <= box[f"Start {axis}"] <= box[f"End {axis}"] <= size


def test_what_is_unknown_is_written_in_all_of_dukes_ways(clinical):
    found = Counter(cell for row in clinical[3:] for cell in row)
    for nothing in ("NC", "NP", "NA", None):
        assert found[nothing] >= len(clinical) - 3, nothing


def test_molecular_subtype_follows_from_the_receptors(clinical):
    seen = set()
    for row in clinical[3:]:
        hormone, her2 = bool(row[ER] or row[PR]), bool(row[HER2])
        assert row[SUBTYPE] == {(1, 0): 0, (1, 1): 1, (0, 1): 2, (0, 0): 3}[hormone, her2]
        seen.add(row[SUBTYPE])
    assert len(seen) >= 3


def test_technical_columns_at_dukes_matrix_are_all_in_the_code_books():
    settings = PhantomSettings(patients=12, matrix=512, slices=160)
    for number, labels in enumerate(draw_labels(settings), start=1):
        patient = draw_patient(settings, number, labels)
        row = workbooks.clinical_row(patient, settings)
        # Acquisition matrix 12 and slice thickness 13 have few values in the code book.
        coded = [row[i] for i in (2, 3, 4, 5, 6, 8, 9, 14, 15, 17, 18)]
        assert all(isinstance(code, int) for code in coded), row
        assert (row[14], row[15]) == (2, 2)
        assert (row[16] is None) == (patient.protocol.scanner.vendor == "Siemens")


def test_image_position_told_is_that_of_the_first_instance(cohort, clinical):
    for patient, row in zip(cohort.patients, clinical[3:], strict=True):
        told = [float(v) for v in row[7].split(" X ")]
        assert told == pytest.approx(list(patient.phases[0].first.ImagePositionPatient), abs=1e-4)


@pytest.mark.parametrize("name", [workbooks.CLINICAL_NAME, workbooks.BOXES_NAME])
def test_workbook_holds_no_time_of_writing(cohort, name):
    with zipfile.ZipFile(cohort.folder / name) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} <= {1980, 1990}
    properties = openpyxl.load_workbook(cohort.folder / name).properties
    assert properties.created.year == properties.modified.year == 1990
