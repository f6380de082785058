"""How large images and tumours are: what a person needs to choose a crop."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from preprocessing.cohort.cohort import Patient
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.pipeline.check_cohort import CheckedPatient, check_cohort, sizes_in_words


def checked(image: tuple[int, int, int], tumour: tuple[int, int, int]) -> CheckedPatient:
    patient = Patient(patient_id="P", phases=())
    return CheckedPatient(patient, (), image, tumour)


def test_of_a_phantom_are_those_of_its_boxes(tmp_path: Path) -> None:
    write_phantom(tmp_path / "cohort", PhantomSettings(patients=4, matrix=64, slices=24), workers=1)
    cohort = read_cohort(tmp_path / "cohort")
    for patient in check_cohort(cohort, PreprocessConfig()):
        assert patient.image_shape == (64, 64, 24)
        box = patient.patient.box
        assert box is not None
        # Pictures are turned and turned over, never sheared: the box keeps its sides.
        own = [stop - start for start, stop in zip(box.start, box.stop, strict=True)]
        assert sorted(patient.tumour_shape or ()) == sorted(own)
        assert patient.to_json()["image_shape"] == [64, 64, 24]


def test_a_box_that_leaves_the_image_counts_as_far_as_it_is_in_it(tmp_path: Path) -> None:
    volume = nib.Nifti1Image(np.ones((40, 30, 8), dtype=np.int16), np.eye(4))
    nib.save(volume, tmp_path / "pre.nii.gz")
    box = "box_row_start,box_row_stop,box_col_start,box_col_stop,box_slice_start,box_slice_stop"
    (tmp_path / "manifest.csv").write_text(
        f"patient_id,phase_0,{box},ER\n1,pre.nii.gz,2,90,3,13,0,8,1\n"
    )
    config = PreprocessConfig(num_phases=1)
    (patient,) = check_cohort(read_cohort(tmp_path), config)
    assert patient.image_shape == (30, 40, 8)
    assert patient.tumour_shape == (30, 10, 8)


def test_in_words() -> None:
    patients = [checked((112, 112, 8), (n, 2 * n, 4)) for n in range(1, 41)]
    said = sizes_in_words(patients, (96, 96, 8))
    assert said == (
        "rows × columns × slices: images 112×112×8; tumours at most 40×80×4, 95 % of them within"
        " 39×78×4; crops 96×96×8"
    )


@pytest.mark.parametrize(("crop", "is_larger"), [((112, 112, 8), False), ((112, 112, 9), True)])
def test_a_crop_larger_than_most_images_is_said(
    crop: tuple[int, int, int], is_larger: bool
) -> None:
    patients = [checked((112, 112, 8), (9, 9, 4))] * 3 + [checked((200, 200, 60), (9, 9, 4))]
    said = sizes_in_words(patients, crop)
    assert said is not None
    assert ("--crop-shape" in said) is is_larger
    assert re.search(r"images 112×112×8 to 200×200×60;", said)


def test_where_nobody_can_be_used_nothing_is_said() -> None:
    assert (
        sizes_in_words([CheckedPatient(Patient(patient_id="P", phases=()), ())], (1, 1, 1)) is None
    )
