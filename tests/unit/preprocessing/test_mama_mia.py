import csv

import fsspec
import numpy as np
import openpyxl
import pytest

from preprocessing.cohort import mama_mia
from preprocessing.cohort.options import TableOptions
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.pipeline.check_cohort import check_cohort, common_num_phases
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.store import REGION_TUMOUR
from tests.unit.preprocessing.mama_mia_tree import (
    ROW,
    SPACING_MM,
    WORKBOOK,
    anatomy,
    row,
    write_case,
    write_rows,
)

CONFIG = PreprocessConfig(crop_shape=(8, 8, 6), num_phases=3, bias_engine="none")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "mama"
    write_case(root, "duke_001")
    write_rows(root, [row("DUKE_001")])
    return root


def read_one(root, patient_id="DUKE_001"):
    (found,) = (p for p in read_cohort(root).patients if p.patient_id == patient_id)
    return found


def codes(patient, *, excluding=False):
    return [f.code for f in patient.findings if f.excludes or not excluding]


def test_phases_labels_and_covariates(root):
    cohort = read_cohort(root)
    assert (cohort.layout, cohort.targets) == ("mama-mia", ("ER", "PR", "HER2", "HR"))
    (patient,) = cohort.patients
    assert patient.patient_id == "DUKE_001"
    assert [p.name for p in patient.phases] == [f"duke_001_000{n}.nii.gz" for n in range(3)]
    assert patient.mask.path == root / "segmentations" / "expert" / "duke_001.nii.gz"
    assert patient.labels == {"ER": 1, "PR": 0, "HER2": 0, "HR": 1}
    assert patient.findings == ()
    assert common_num_phases(cohort) == 3
    assert next(check_cohort(cohort, CONFIG)).usable


def test_every_column_is_a_covariate_but_names_uids_and_days(root):
    told = {"patient_name": "x", "StudyInstanceUID": "1.2.3", "diagnosed": "13/10/1984 08:00"}
    write_rows(root, [row("DUKE_001", **told)])
    assert read_one(root).covariates == {
        "dataset": "DUKE",
        "pcr": 0.0,
        "days_to_death": None,
        "tumor_subtype": "luminal",
        "age_years": 51.0,
        "menopause": "post",
        "view": "axial",
        "num_phases": 3.0,
        "field_strength_t": 1.5,
        "pixel_spacing": "[0.7, 0.8]",
        "slice_thickness_mm": 1.1,
        "manufacturer": "SIEMENS",
        "model": "Skyra",
        "acquisition_times": "[0, 165, 288]",
    }


def test_the_tensor_is_the_anatomy_and_the_box_is_the_masks(root):
    record, tensor = process_patient(read_one(root), 0, CONFIG)
    assert record.status == "stored"
    marked = (tensor.region & REGION_TUMOUR) > 0
    for phase in range(3):
        volume, tumour = (a.swapaxes(0, 1) for a in anatomy(phase))  # rows back, columns left
        np.testing.assert_array_equal(tensor.images[phase][marked], volume[tumour > 0])
    start, stop = record.box_in_crop
    assert tuple(b - a for a, b in zip(start, stop, strict=True)) == (4, 3, 2)
    found = np.argwhere(marked)
    np.testing.assert_array_equal(found.min(axis=0), start)
    np.testing.assert_array_equal(found.max(axis=0) + 1, stop)


@pytest.mark.parametrize("axes", ["LAI", "RAS", "PIL", "PIR", "ASR", "SPL", "RIP"])
def test_a_case_comes_out_the_same_whatever_way_it_was_written(root, axes):
    """Sagittal files (third axis to the left or right) must be the axial anatomy, voxel for voxel."""
    write_case(root, "ispy1_1001", axes=axes)
    axial, other = (process_patient(p, i, CONFIG) for i, p in enumerate(read_cohort(root).patients))
    assert axial[0].status == other[0].status == "stored"
    np.testing.assert_array_equal(other[1].images, axial[1].images)
    np.testing.assert_array_equal(other[1].region, axial[1].region)
    assert other[0].box_in_crop == axial[0].box_in_crop
    x_mm, y_mm, z_mm = SPACING_MM
    assert other[0].spacing_mm == pytest.approx((y_mm, x_mm, z_mm), rel=1e-5)


def test_upper_and_lower_case_may_vary(tmp_path):
    root = tmp_path / "mama"
    write_case(root, "DUKE_002", folder="duke_002")
    write_case(root, "Nact_01", folder="NACT_01", segmented=None)
    (root / "segmentations" / "expert" / "DUKE_002.nii.gz").rename(
        root / "segmentations" / "expert" / "Duke_002.NII.GZ"
    )
    write_rows(root, [row("nact_01"), row("Duke_002")])
    patients = read_cohort(root).patients
    assert [p.patient_id for p in patients] == ["DUKE_002", "NACT_01"]
    assert patients[0].labels["ER"] == 1
    assert patients[0].findings == ()
    assert len(patients[1].phases) == 3


def test_receptors_that_a_trial_does_not_give_are_missing(root):
    write_case(root, "ispy2_7")
    given = {"patient_id": "ISPY2_7", "dataset": "ISPY2", "hr": 1, "her2": 1}
    write_rows(root, [row("DUKE_001"), given])
    patient = read_one(root, "ISPY2_7")
    assert patient.labels == {"ER": -1, "PR": -1, "HER2": 1, "HR": 1}
    assert patient.findings == ()


def test_a_label_that_is_neither_is_missing_and_said(root):
    write_rows(root, [row("DUKE_001", her2="equivocal")])
    patient = read_one(root)
    assert patient.labels["HER2"] == -1
    assert codes(patient) == ["label-unknown"]
    assert patient.usable


def test_automatic_segmentation_stands_in_and_is_said(root):
    write_case(root, "nact_01", segmented="automatic")
    patient = read_one(root, "NACT_01")
    assert codes(patient) == ["no-clinical-row", "segmentation-automatic"]
    assert patient.usable
    assert set(patient.labels.values()) == {-1}
    record, _ = process_patient(patient, 0, CONFIG)
    assert record.status == "stored"
    assert "segmentation-automatic" in [f.code for f in record.findings]
    write_case(root, "nact_01", segmented="expert")
    assert read_one(root, "NACT_01").mask.path.parent.name == "expert"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"segmented": None}, "no-segmentation"),
        ({"phases": (0, 2)}, "phase-missing"),
        ({"phases": (1, 2)}, "phase-missing"),
        ({"phases": ()}, "no-images"),
    ],
)
def test_what_excludes_a_case(root, case, expected):
    (root / "images" / "DUKE_003").mkdir()
    write_case(root, "duke_003", **case)
    write_rows(root, [row("DUKE_001"), row("DUKE_003")])
    assert codes(read_one(root, "DUKE_003"), excluding=True) == [expected]
    assert read_one(root).usable


def test_a_row_without_images_is_excluded(root):
    write_rows(root, [row("DUKE_001"), row("DUKE_008")])
    patient = read_one(root, "DUKE_008")
    assert "no-images" in codes(patient, excluding=True)
    assert patient.labels["ER"] == 1


def test_without_any_images_all_are_excluded(root):
    for path in (root / "images" / "DUKE_001").iterdir():
        path.unlink()
    (root / "images" / "DUKE_001").rmdir()
    (patient,) = read_cohort(root).patients
    assert codes(patient) == ["no-images"]


def test_phases_that_were_not_downloaded_are_said(root):
    write_rows(root, [row("DUKE_001", num_phases=5)])
    patient = read_one(root)
    assert codes(patient) == ["phases-incomplete"]
    assert patient.usable


def test_of_two_folders_of_one_case_the_fullest_is_used(root):
    write_case(root, "DUKE_001", folder="Duke_001", phases=(0, 1, 2, 3), segmented=None)
    write_rows(root, [row("DUKE_001", num_phases=4)])
    patient = read_one(root)
    assert codes(patient) == ["several-folders"]
    assert {p.path.parent.name for p in patient.phases} == {"Duke_001"}


def test_one_row_a_case(root):
    write_rows(root, [row("DUKE_001"), row("duke_001", er=0), row("DUKE_002")])
    assert codes(read_one(root), excluding=True) == ["patient-repeated"]


def test_only_the_cases_own_images_are_its_phases(root):
    folder = root / "images" / "DUKE_001"
    for name in ("._duke_001_0000.nii.gz", "duke_002_0001.nii.gz", "DUKE_001_0002.nii", "a.txt"):
        (folder / name).write_bytes(b"other")
    (root / "images" / ".cache").mkdir()
    (root / "segmentations" / "expert" / "._duke_001.nii.gz").write_bytes(b"other")
    patient = read_one(root)
    assert codes(patient) == ["images-misplaced", "image-repeated"]
    assert "DUKE_002_0001" in patient.findings[0].message
    assert "duke_001_0002.nii.gz" in patient.findings[1].message
    assert [p.name[-11:-7] for p in patient.phases[:2]] == ["0000", "0001"]


@pytest.mark.parametrize(
    "place", ["images/DUKE_001/duke_001_0001", "segmentations/expert/duke_001"]
)
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_damaged_files_are_a_finding(root, place, share):
    path = root / f"{place}.nii.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    record, tensor = process_patient(read_one(root), 0, CONFIG)
    assert tensor is None
    assert record.status == "excluded"
    assert [f.code for f in record.findings] == ["image-unreadable"]
    assert path.name in record.findings[0].message


def test_a_cohort_on_an_object_store_is_the_same(root):
    store = fsspec.filesystem("memory")
    store.put(str(root), "/mama-mia", recursive=True)
    try:
        (remote,) = read_cohort("memory://mama-mia").patients
        record, tensor = process_patient(remote, 0, CONFIG)
    finally:
        store.rm("/mama-mia", recursive=True)
    local = read_one(root)
    expected_record, expected = process_patient(local, 0, CONFIG)
    assert (remote.labels, remote.covariates) == (local.labels, local.covariates)
    assert record.to_json() == expected_record.to_json()
    np.testing.assert_array_equal(tensor.images, expected.images)


def test_every_folder_is_listed_once(root, monkeypatch):
    write_case(root, "duke_002")
    listed = []
    listing = mama_mia._listing
    monkeypatch.setattr(mama_mia, "_listing", lambda f: listed.append(f) or listing(f))
    mama_mia.read(root)
    assert len(listed) == len(set(listed)) == 5  # images, two segmentations, two cases


def test_a_manifest_beside_images_and_segmentations_is_a_manifest(root):
    assert mama_mia.recognises(root)
    (root / WORKBOOK).unlink()
    assert mama_mia.recognises(root)
    (root / "manifest.csv").write_text("patient_id\n")
    assert not mama_mia.recognises(root)
    assert not mama_mia.recognises(root / "manifest.csv")


def test_a_missing_workbook_is_named(root):
    (root / WORKBOOK).unlink()
    with pytest.raises(MissingPathError, match=r"no clinical_and_imaging_info\.xlsx in .*Synapse"):
        read_cohort(root)


@pytest.mark.parametrize(
    ("rows", "sheet", "message"),
    [
        (
            [row("DUKE_001")],
            "data_info",
            r"no sheet 'dataset_info' \(did .*, got legend, data_info",
        ),
        (
            [{"patient": "DUKE_001", **ROW}],
            "dataset_info",
            r"'patient_id' \(did you mean 'patient'",
        ),
        ([{"patient_id": "DUKE_001", "her2": 1, "hr": 1}], "dataset_info", "column 'er', expected"),
        ([], "dataset_info", "no column 'patient_id', expected patient_id, er, pr, her2, hr: down"),
    ],
)
def test_a_workbook_that_cannot_be_used_is_refused(root, rows, sheet, message):
    write_rows(root, rows, sheet)
    with pytest.raises(InputError, match=message) as error:
        read_cohort(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("length", [0, 500])
def test_a_damaged_workbook_is_refused(root, length):
    path = root / WORKBOOK
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"cannot be read .*: download it"):
        read_cohort(root)


def test_a_csv_copy_of_the_sheet_is_read_and_a_second_table_refused(root):
    original = read_one(root)
    book = openpyxl.load_workbook(root / WORKBOOK)
    copy = root / "clinical_and_imaging_info.csv"
    with copy.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(book["dataset_info"].iter_rows(values_only=True))
    with pytest.raises(InputError, match=r"info\.csv' and 'clinical_and_imaging_info\.xlsx'"):
        read_cohort(root)
    (root / WORKBOOK).unlink()
    assert read_one(root) == original


def test_columns_and_words_as_the_user_says(root):
    values = row("DUKE_001", her2="weak")
    values["oestrogen"] = values.pop("er")
    write_rows(root, [values])
    options = TableOptions.parse(["ER=oestrogen"], ["HER2:weak=0"])
    (patient,) = read_cohort(root, options).patients
    assert patient.labels == {"ER": 1, "PR": 0, "HER2": 0, "HR": 1}
    assert "oestrogen" not in patient.covariates
