"""The collection's table of file paths, and where patients' folders are found."""

import shutil

import openpyxl
import pytest

from preprocessing.cohort.duke import phase_of, read_mapping
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.errors import InputError
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom

HEADER = ["original_path_and_filename", "classic_path", "descriptive_path", "sop_instance_UID"]
ROOT = "Duke-Breast-Cancer-MRI/Breast_MRI_001"


def rows(series="SERIES", original="pre", first=1):
    return [
        [
            f"DICOM_Images/Breast_MRI_001/{original}/Breast_MRI_001_{original}_{n:04d}.dcm",
            f"{ROOT}/STUDY/{series}/1-{n:03d}.dcm",
            f"{ROOT}/01-01-1990-NA/{series.lower()}/1-{n:03d}.dcm",
            f"1.2.{n}",
        ]
        for n in range(first, first + 3)
    ]


def table(path, content, header=HEADER):
    if path.suffix == ".csv":
        path.write_text("\n".join(",".join(row) for row in [header, *content]), "utf-8")
    else:
        book = openpyxl.Workbook()
        for row in [header, *content]:
            book.active.append(row)
        book.save(path)
    return path


@pytest.mark.parametrize("suffix", ["xlsx", "csv"])
def test_each_series_folder_has_its_phase_under_both_names(tmp_path, suffix):
    content = [*rows("A", "pre"), *rows("B", "post_1"), *rows("C", "T1")]
    known = read_mapping(table(tmp_path / f"mapping.{suffix}", content))
    assert known == {
        "Breast_MRI_001": {
            "STUDY/A": 0, "01-01-1990-NA/a": 0, "STUDY/B": 1, "01-01-1990-NA/b": 1,
            "STUDY/C": -1, "01-01-1990-NA/c": -1,
        }
    }  # fmt: skip


def test_a_folder_of_several_phases_is_told_file_by_file(tmp_path):
    content = [*rows("A", "pre", 1), *rows("A", "post_2", 4)]
    known = read_mapping(table(tmp_path / "mapping.csv", content))["Breast_MRI_001"]
    assert known["STUDY/A/1-003.dcm"] == 0
    assert known["STUDY/A/1-004.dcm"] == 2
    assert "STUDY/A" not in known


@pytest.mark.parametrize(
    ("path", "phase"),
    [
        ("x/Breast_MRI_001/pre/f.dcm", 0),
        ("x/Breast_MRI_001/post_4/f.dcm", 4),
        ("x\\Breast_MRI_001\\Post_1\\f.dcm", 1),
        ("x/Breast_MRI_001/T1/f.dcm", -1),
        ("x/pre.dcm", -1),
    ],
)
def test_phase_of_an_original_path(path, phase):
    assert phase_of(path) == phase


def test_a_table_without_its_columns_is_refused(tmp_path):
    path = table(tmp_path / "mapping.csv", [], header=["filename", "path"])
    with pytest.raises(InputError, match="no column 'original_path_and_filename', got"):
        read_mapping(path)


def test_a_patient_downloaded_twice_is_said_and_the_fuller_folder_used(tmp_path):
    write_phantom(tmp_path, PhantomSettings(patients=1, matrix=48, slices=16))
    whole = tmp_path / "Duke-Breast-Cancer-MRI" / "Breast_MRI_001"
    part = tmp_path / "Batch-1" / "Breast_MRI_001"
    shutil.copytree(whole, part)
    next(part.rglob("*.dcm")).unlink()
    (patient,) = read_cohort(tmp_path).patients
    assert [f.code for f in patient.findings] == ["several-folders"]
    assert patient.usable
    assert patient.examination.folder == whole


def test_a_second_table_of_file_paths_is_refused(tmp_path):
    write_phantom(tmp_path, PhantomSettings(patients=1, matrix=48, slices=16))
    for suffix in ("csv", "xlsx"):
        table(tmp_path / f"Breast-Cancer-MRI-filepath_filename-mapping.{suffix}", rows())
    with pytest.raises(InputError, match="2 tables that may be the table of file paths"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_the_table_may_have_another_delimiter(tmp_path, delimiter):
    lines = [delimiter.join(row) for row in [HEADER, *rows("A", "post_1")]]
    (tmp_path / "mapping.csv").write_text("\r\n".join(lines))
    assert read_mapping(tmp_path / "mapping.csv")["Breast_MRI_001"]["STUDY/A"] == 1
