import openpyxl
import pytest

from preprocessing.cohort import Box, Finding
from preprocessing.errors import InputError
from preprocessing.readers.duke_tables import read_boxes, read_clinical

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
