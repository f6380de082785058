"""A small MAMA-MIA tree, written as the data set is laid out."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from preprocessing.check import common_num_phases
from preprocessing.config import PreprocessConfig
from preprocessing.errors import InputError, MissingPathError
from preprocessing.patient import process_patient
from preprocessing.readers import read_cohort
from preprocessing.store import REGION_TUMOUR

CONFIG = PreprocessConfig(crop_shape=(8, 8, 6), num_phases=3, bias_engine="none")
ROW = {"dataset": "DUKE", "age": 51, "er": 1, "pr": 0, "her2": 0, "hr": 1, "menopause": "post"}
# Voxel axes of an axial file as nibabel writes it: to the right, to the front, to the head.
AXIAL = np.diag([-1.0, -1.0, 1.0, 1.0])


def anatomy(phase=0):
    """(x to the left, y to the back, z to the head), nowhere symmetric; and where the tumour is."""
    x, y, z = np.indices((14, 12, 10))
    volume = (100 + 7 * x + 3 * y + 11 * z + 50 * phase * (x > 7)).astype(np.int16)
    tumour = np.zeros(volume.shape, dtype=np.uint8)
    tumour[8:11, 3:7, 4:6] = 1
    return volume, tumour


def save(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def turned(array, plane):
    """The same anatomy as an axial or a sagittal file, with the affine that says so."""
    affine = AXIAL.copy()
    if plane == "sagittal":  # axes to the back, to the feet, to the right: z and x run backwards
        array = array.transpose(1, 2, 0)[:, ::-1, ::-1]
        x, _, z = 14, 12, 10
        # RAS: x left is negative, y back is negative.
        affine = np.array(
            [[0, 0, 1, -(x - 1)], [-1, 0, 0, 0], [0, -1, 0, z - 1], [0, 0, 0, 1]], dtype=float
        )
    return np.ascontiguousarray(array), affine


def write_case(root, case, *, folder=None, plane="axial", phases=(0, 1, 2), segmented="expert"):
    folder = folder or case.upper()
    for phase in phases:
        array, affine = turned(anatomy(phase)[0], plane)
        save(root / "images" / folder / f"{case}_{phase:04d}.nii.gz", array, affine)
    if segmented:
        array, affine = turned(anatomy()[1], plane)
        save(root / "segmentations" / segmented / f"{case}.nii.gz", array, affine)


def write_rows(root, rows, sheet="dataset_info"):
    root.mkdir(exist_ok=True)
    with pd.ExcelWriter(root / "clinical_and_imaging_info.xlsx") as book:
        pd.DataFrame(rows).to_excel(book, sheet_name=sheet, index=False)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "mama"
    write_case(root, "duke_001")
    write_rows(root, [{"patient_id": "DUKE_001", **ROW}])
    return root


def codes(patient):
    return [f.code for f in patient.findings]


def test_phases_labels_and_covariates(root):
    cohort = read_cohort(root)
    assert (cohort.layout, cohort.targets) == ("mama-mia", ("ER", "PR", "HER2", "HR"))
    (patient,) = cohort.patients
    assert patient.patient_id == "DUKE_001"
    assert [p.name for p in patient.phases] == [f"duke_001_000{n}.nii.gz" for n in range(3)]
    assert patient.labels == {"ER": 1, "PR": 0, "HER2": 0, "HR": 1}
    assert patient.covariates == {"dataset": "DUKE", "age_years": 51.0, "menopause": "post"}
    assert patient.findings == ()
    assert common_num_phases(cohort) == 3


def test_the_tensor_is_the_anatomy_around_the_tumour(root):
    record, tensor = process_patient(read_cohort(root).patients[0], 0, CONFIG)
    volume, tumour = (a.transpose(1, 0, 2) for a in anatomy(1))  # rows to the back, columns left
    marked = (tensor.region & REGION_TUMOUR) > 0
    assert marked.sum() == tumour.sum()
    np.testing.assert_array_equal(tensor.images[1][marked], volume[tumour > 0])
    assert record.spacing_mm == (1.0, 1.0, 1.0)


def test_sagittal_cases_come_out_as_axial_ones(tmp_path, root):
    write_case(root, "ispy1_1001", plane="sagittal")
    axial, sagittal = read_cohort(root).patients
    _, one = process_patient(axial, 0, CONFIG)
    record, other = process_patient(sagittal, 1, CONFIG)
    assert record.status == "stored", record.findings
    np.testing.assert_array_equal(other.images, one.images)
    np.testing.assert_array_equal(other.region, one.region)


def test_upper_and_lower_case_may_vary(tmp_path):
    root = tmp_path / "mama"
    write_case(root, "DUKE_002", folder="duke_002")
    write_rows(root, [{"patient_id": "Duke_002", **ROW}])
    (patient,) = read_cohort(root).patients
    assert patient.patient_id == "DUKE_002"
    assert patient.labels["ER"] == 1
    assert patient.usable


def test_receptors_that_a_trial_does_not_give_are_missing(tmp_path, root):
    write_case(root, "ispy2_7")
    given = {"patient_id": "ISPY2_7", "dataset": "ISPY2", "hr": 1, "her2": 1}
    write_rows(root, [{"patient_id": "DUKE_001", **ROW}, given])
    labels = read_cohort(root).patients[1].labels
    assert labels == {"ER": -1, "PR": -1, "HER2": 1, "HR": 1}


def test_automatic_segmentation_stands_in_and_is_said(root):
    write_case(root, "nact_1", segmented="automatic")
    patient = read_cohort(root).patients[1]
    assert codes(patient) == ["segmentation-automatic", "no-clinical-row"]
    assert patient.usable
    assert patient.mask.path.parent.name == "automatic"
    write_case(root, "nact_1", segmented="expert")
    assert read_cohort(root).patients[1].mask.path.parent.name == "expert"


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"segmented": None}, "no-segmentation"),
        ({"phases": (0, 2)}, "phase-missing"),
        ({"phases": (1, 2)}, "phase-missing"),
    ],
)
def test_what_excludes_a_case(root, case, expected):
    write_case(root, "duke_003", **case)
    patient = read_cohort(root).patients[1]
    assert expected in [f.code for f in patient.findings if f.excludes]


def test_rows_without_images_and_empty_folders(root):
    (root / "images" / "DUKE_009").mkdir()
    write_rows(root, [{"patient_id": i, **ROW} for i in ("DUKE_001", "DUKE_008")])
    patients = {p.patient_id: p for p in read_cohort(root).patients}
    assert "no-images" in codes(patients["DUKE_008"])
    assert "no-images" in codes(patients["DUKE_009"])
    assert not patients["DUKE_009"].usable


def test_two_folders_of_one_case_are_said(root):
    write_case(root, "duke_001", folder="duke_001")
    assert codes(read_cohort(root).patients[0]) == ["several-folders"]


def test_damaged_images_are_a_finding(root):
    path = root / "images" / "DUKE_001" / "duke_001_0001.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    record, tensor = process_patient(read_cohort(root).patients[0], 0, CONFIG)
    assert tensor is None
    assert [f.code for f in record.findings] == ["image-unreadable"]


def test_identifying_columns_stay_behind(root):
    told = {"date_of_birth": "1961-02-03", "patient_name": "x", "StudyInstanceUID": "1.2.3"}
    write_rows(root, [{"patient_id": "DUKE_001", **ROW, **told}])
    assert set(read_cohort(root).patients[0].covariates) == {"dataset", "age_years", "menopause"}


def test_a_missing_workbook_is_named(root):
    (root / "clinical_and_imaging_info.xlsx").unlink()
    with pytest.raises(MissingPathError, match=r"no clinical_and_imaging_info\.xlsx in"):
        read_cohort(root)


@pytest.mark.parametrize(
    ("rows", "sheet", "message"),
    [
        ([{"patient_id": "DUKE_001", **ROW}], "data_info", "no sheet 'dataset_info' .did you mean"),
        ([{"patient": "DUKE_001", **ROW}], "dataset_info", "no column 'patient_id'"),
        ([{"patient_id": "DUKE_001", **ROW}] * 2, "dataset_info", "patient DUKE_001 twice"),
    ],
)
def test_a_workbook_that_cannot_be_used_is_refused(root, rows, sheet, message):
    write_rows(root, rows, sheet)
    with pytest.raises(InputError, match=message):
        read_cohort(root)
