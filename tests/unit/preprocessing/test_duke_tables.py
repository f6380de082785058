import csv
import shutil

import openpyxl
import pytest

from preprocessing.cohort.cohort import Box, Finding
from preprocessing.cohort.duke import read_boxes, read_clinical
from preprocessing.cohort.options import TableOptions
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.errors import InputError

GROUPS = ["Patient Information", "MRI Technical Information", "Tumor Characteristics"]
NAMES = ["Patient ID", "Manufacturer", "ER", "PR", "HER2", "Date of Birth (Days)"]
CODES = [None, "GE MEDICAL SYSTEMS=0, SIEMENS=2", "{0 = neg,\n1 = pos}", None, None, None]
# As TCIA's workbook has them: about the other breast.
DECOYS = ["ER (for the other side)\n{0 = neg}", "PR (for the other side)"]


def workbook(path, rows, sheet="Data"):
    book = openpyxl.Workbook()
    book.active.title = sheet
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path


def three_row(path, patients):
    header = [
        ["Patient Information"],
        [*NAMES, "For Other Side If Bilateral", None],
        [*CODES, *DECOYS],
    ]
    return workbook(path, [*header, *patients])


PATIENT = ["Breast_MRI_001", 2, 0, 1, 2, -14610, 1, 1]


@pytest.mark.parametrize("kind", ["three rows", "one row"])
def test_labels_are_read_by_name_whatever_the_header(tmp_path, kind):
    path = tmp_path / "clinical.xlsx"
    if kind == "three rows":
        three_row(path, [PATIENT])
    else:
        workbook(path, [[" Patient ID ", *NAMES[1:], *DECOYS], PATIENT])
    row = read_clinical(path).rows["Breast_MRI_001"]
    assert row.labels == {"ER": 0, "PR": 1, "HER2": -1}
    assert row.covariates["age_years"] == 40.0
    assert [f.code for f in row.findings] == ["label-unknown"]  # HER2 borderline
    if kind == "three rows":
        assert row.covariates["manufacturer"] == "SIEMENS"


@pytest.mark.parametrize("nothing", [None, "NC", "NP", "NA", " "])
def test_nothing_is_written_in_many_ways(tmp_path, nothing):
    patient = ["Breast_MRI_001", nothing, nothing, 1, 0, nothing, 1, 1]
    row = read_clinical(three_row(tmp_path / "c.xlsx", [patient])).rows["Breast_MRI_001"]
    assert row.labels == {"ER": -1, "PR": 1, "HER2": 0}
    assert row.findings == ()
    assert row.covariates["manufacturer"] is None
    assert row.covariates["age_years"] is None


def test_workbook_without_er_is_refused_by_name(tmp_path):
    path = workbook(tmp_path / "c.xlsx", [["Patient ID", "E.R.", "PR", "HER2"], PATIENT[:4]])
    with pytest.raises(InputError, match=r"no column 'ER' \(did you mean 'E\.R\.'\?\)"):
        read_clinical(path)


def test_what_is_no_workbook_is_refused(tmp_path):
    (tmp_path / "c.xlsx").write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        read_clinical(tmp_path / "c.xlsx")
    with pytest.raises(InputError, match="no column 'Patient ID'"):
        read_clinical(workbook(tmp_path / "d.xlsx", [["a"], ["b"]]))


def test_patient_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="Breast_MRI_001 twice"):
        read_clinical(three_row(tmp_path / "c.xlsx", [PATIENT, PATIENT]))


def test_boxes_become_half_open_from_zero(tmp_path):
    header = ["Patient ID", "Start Row", "End Row", "Start Column", "End Column", "Start Slice",
              "End Slice"]  # fmt: skip
    path = workbook(
        tmp_path / "b.xlsx",
        [header, ["p1", 234, 271, 308, 341, 89, 112], ["p2", 1, "x", 3, 4, 5, 6]],
        sheet="Sheet1",
    )
    boxes = read_boxes(path).boxes
    assert boxes["p1"] == Box((233, 307, 88), (271, 341, 112))
    assert isinstance(boxes["p2"], Finding)
    assert boxes["p2"].code == "box-unreadable"


CLINICAL, BOXES = "Clinical_and_Other_Features", "Annotation_Boxes"
BOX_HEADER = ["Patient ID", "Start Row", "End Row", "Start Column", "End Column", "Start Slice",
              "End Slice"]  # fmt: skip


def write_csv(path, rows, delimiter=","):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def cohort_folder(folder, suffix="xlsx"):
    header = [["Patient Information"], [*NAMES, None, None], [*CODES, *DECOYS]]
    boxes = [BOX_HEADER, ["Breast_MRI_001", 234, 271, 308, 341, 89, 112]]
    for name, rows in ((CLINICAL, [*header, PATIENT]), (BOXES, boxes)):
        if suffix == "xlsx":
            workbook(folder / f"{name}.xlsx", rows)
        else:
            write_csv(folder / f"{name}.csv", rows, suffix)
    return folder


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_copies_are_read_as_the_workbooks(tmp_path, delimiter):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (original,) = read_cohort(cohort_folder(tmp_path / "a")).patients
    (copy,) = read_cohort(cohort_folder(tmp_path / "b", delimiter)).patients
    assert copy == original
    assert copy.labels == {"ER": 0, "PR": 1, "HER2": -1}
    assert copy.box == Box((233, 307, 88), (271, 341, 112))
    assert (copy.covariates["age_years"], copy.covariates["manufacturer"]) == (40.0, "SIEMENS")


@pytest.mark.parametrize(
    ("name", "second"),
    [
        (CLINICAL, f"{CLINICAL} (1).xlsx"),
        (CLINICAL, f"{CLINICAL} - Copy.xlsx"),
        (CLINICAL, f"Copy of {CLINICAL}.xlsx"),
        (CLINICAL, f"{CLINICAL}.xlsm"),
        (CLINICAL, "clinical_new.xlsx"),
        (BOXES, "Annotation_Boxes_old.xlsx"),
    ],
)
def test_a_second_workbook_is_refused_by_name(tmp_path, name, second):
    cohort_folder(tmp_path)
    shutil.copy(tmp_path / f"{name}.xlsx", tmp_path / second)
    with pytest.raises(InputError, match="holds 2 tables that may be") as error:
        read_cohort(tmp_path)
    assert repr(second) in str(error.value)
    assert repr(f"{name}.xlsx") in str(error.value)
    (tmp_path / second).unlink()
    for other in (f"~${name}.xlsx", f"._{name}.xlsx", f"{name}.pdf"):
        (tmp_path / other).write_bytes(b"no workbook")
    assert len(read_cohort(tmp_path).patients) == 1


def test_another_table_about_the_clinic_is_no_second_one(tmp_path):
    cohort_folder(tmp_path)
    write_csv(tmp_path / "clinical_dictionary.csv", [["column", "meaning"], ["ER", "receptor"]])
    assert len(read_cohort(tmp_path).patients) == 1


@pytest.mark.parametrize("doubled", ["ER", "Patient ID", "er"])
def test_a_needed_column_twice_is_refused(tmp_path, doubled):
    path = workbook(tmp_path / "c.xlsx", [[*NAMES, doubled], [*PATIENT[:6], 1]])
    with pytest.raises(InputError, match="has 2 columns for"):
        read_clinical(path)


def test_one_may_be_a_score_in_her2_but_two_is_the_code_books_borderline(tmp_path):
    rows = [[f"Breast_MRI_00{i}", 2, 0, 1, her2, -14610] for i, her2 in enumerate([0, 1, 2])]
    found = read_clinical(workbook(tmp_path / "c.xlsx", [NAMES, *rows])).rows
    assert [row.labels["HER2"] for row in found.values()] == [0, 1, -1]
    rows.append(["Breast_MRI_009", 2, 0, 1, 3, -14610])
    with pytest.raises(InputError, match=r"column HER2 .* has 1 \(1 cell\) beside '3'"):
        read_clinical(workbook(tmp_path / "d.xlsx", [NAMES, *rows]))


def test_columns_of_either_table_may_have_other_names(tmp_path):
    workbook(tmp_path / f"{CLINICAL}.xlsx", [["ID", *NAMES[1:]], PATIENT[:6]])
    boxes = [["Patient ID", "Row from", *BOX_HEADER[2:]], ["Breast_MRI_001", 2, 3, 4, 5, 6, 7]]
    workbook(tmp_path / f"{BOXES}.xlsx", boxes)
    options = TableOptions.parse(["patient_id=ID", "box_row_start=Row from"])
    (patient,) = read_cohort(tmp_path, options).patients
    assert (patient.labels["PR"], patient.box) == (1, Box((1, 3, 5), (3, 5, 7)))
    with pytest.raises(InputError, match="no table of the cohort has a column 'Estrogen'"):
        read_cohort(
            tmp_path, TableOptions.parse(["patient_id=ID", "box_row_start=Row from", "ER=Estrogen"])
        )


def test_a_manifest_beside_the_workbooks_is_asked_about(tmp_path):
    cohort_folder(tmp_path)
    (tmp_path / "manifest.csv").write_text("patient_id\n")
    with pytest.raises(
        InputError, match=r"several layouts \(duke and manifest\): name the manifest"
    ):
        read_cohort(tmp_path)


def test_an_own_manifest_of_dukes_images_is_a_manifest(tmp_path):
    (tmp_path / "Breast_MRI_001").mkdir()
    write_csv(tmp_path / "clinical.csv", [["a"], ["b"]])
    (tmp_path / "manifest.csv").write_text("patient_id,phase_0,mask,ER\np,a.nii,m.nii,1\n")
    assert read_cohort(tmp_path).layout == "manifest"


def test_rows_without_a_patient_are_counted(tmp_path):
    path = three_row(tmp_path / "c.xlsx", [PATIENT, [None, 2, 1, 1, 1, -14610]])
    found = read_clinical(path)
    assert list(found.rows) == ["Breast_MRI_001"]
    assert found.notes[0] == "1 rows have no patient id: they are left out"
    assert "no patient id" not in str(
        read_clinical(three_row(tmp_path / "d.xlsx", [PATIENT])).notes
    )
