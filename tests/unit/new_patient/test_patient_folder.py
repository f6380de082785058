"""From a folder to a patient: order of phases, region, and what is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from preprocessing.cohort.cohort import Box, VolumeFile
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.storage.file_cache import FileCache
from radiotrain.inference.prepare import Region, order_phase_files, read_patient
from tests.unit.preprocessing.volume_writers import mask, nifti, nrrd, phase

BOX = Region(box=Box((1, 1, 1), (3, 3, 3)))


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["b_0001.nii.gz", "b_0000.nii.gz", "b_0002.nii.gz"], [1, 0, 2]),
        (["post_1.nrrd", "post_2.nrrd", "pre.nrrd"], [2, 0, 1]),
        (["phase_10.nii", *(f"phase_{n}.nii" for n in range(10))], [*range(1, 11), 0]),
        (["p_1.mha", "p_2.mha"], [0, 1]),
        (["anything.nii"], [0]),
    ],
)
def test_names_tell_the_order(names: list[str], ordered: list[int]) -> None:
    assert order_phase_files(names) == tuple(names[n] for n in ordered)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.nii", "b.nii"], "do not tell the phases"),
        (["a_1.nii", "b_1.nii"], "do not tell the phases"),
        (["a_0.nii", "a_2.nii"], "phases 0, 2, expected 0, 1, 2"),
        (["a_2.nii", "a_3.nii"], "phases 2, 3, expected 0, 1, 2"),
    ],
)
def test_names_that_do_not_tell_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        order_phase_files(names)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read")
    return folder


def test_the_only_mask_in_the_folder_is_the_region_and_no_phase(tmp_path: Path) -> None:
    make(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "x_tumour_mask.nii.gz")
    patient = read_patient(tmp_path, Region())
    assert [p.path.name for p in patient.phases] == ["x_0000.nii.gz", "x_0001.nii.gz"]  # type: ignore[union-attr]
    assert patient.mask == VolumeFile(tmp_path / "x_tumour_mask.nii.gz")
    assert patient.box is None


def test_a_box_wins_over_a_mask_that_lies_there(tmp_path: Path) -> None:
    make(tmp_path, "x_0000.nii.gz", "seg.nii.gz")
    patient = read_patient(tmp_path, BOX)
    assert patient.mask is None
    assert patient.box == BOX.box
    assert len(patient.phases) == 1


def test_a_named_segmentation_in_the_folder_is_no_phase(tmp_path: Path) -> None:
    make(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "drawn.nii.gz")
    region = Region(segmentation=VolumeFile(tmp_path / "drawn.nii.gz"))
    assert len(read_patient(tmp_path, region).phases) == 2


@pytest.mark.parametrize(
    ("names", "region", "words"),
    [
        ((), BOX, "is empty"),
        (("a_0.nii",), Region(), "no tumour location given"),
        (("a_0.nii", "mask_1.nii", "mask_2.nii"), Region(), "holds 2 segmentations"),
        (("a_0.nii",), Region(segmentation=VolumeFile(Path("/none.nii"))), "no segmentation at"),
    ],
)
def test_what_cannot_be_a_patient_is_said_in_a_sentence(
    tmp_path: Path, names: tuple[str, ...], region: Region, words: str
) -> None:
    with pytest.raises((InputError, MissingPathError), match=words):
        read_patient(make(tmp_path, *names), region)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = make(tmp_path, "a.dcm") / "a.dcm"
    with pytest.raises(MissingPathError, match="is a file"):
        read_patient(file, BOX)
    with pytest.raises(MissingPathError, match="is not there"):
        read_patient(tmp_path / "none", BOX)


def test_one_file_of_all_phases_and_a_segmentation_of_slicer(tmp_path: Path) -> None:
    nifti(tmp_path / "dce.nii.gz", np.stack([phase(0), phase(1), phase(2)], axis=-1))
    nrrd(tmp_path / "tumour.seg.nrrd", mask(), extra=["Segment0_LabelValue:=1"])
    patient = read_patient(tmp_path, Region())
    config = PreprocessConfig(num_phases=3, crop_shape=(16, 16, 8), bias_engine="none")
    opened = open_patient(patient, config, FileCache())
    assert isinstance(opened, OpenedPatient)
    for number, volume in enumerate(opened.volumes):
        voxels = volume.read(Box((0, 0, 0), volume.grid.shape)).swapaxes(0, 1)
        np.testing.assert_array_equal(voxels, phase(number))
    assert opened.mask is not None
    np.testing.assert_array_equal(opened.mask.swapaxes(0, 1), mask() > 0)


def test_a_segmentation_as_nifti_among_dicom_images(tmp_path: Path) -> None:
    make(tmp_path, "series/1.dcm", "mask.nii.gz")
    patient = read_patient(tmp_path, Region())
    assert patient.phases == ()
    assert patient.examination is not None
    assert patient.mask == VolumeFile(tmp_path / "mask.nii.gz")


def test_a_segmentation_in_a_folder_of_its_own(tmp_path: Path) -> None:
    images, seg = tmp_path / "images", tmp_path / "SEG"
    make(images, "0.nii", "1.nii")
    make(seg, "1-1.dcm")
    patient = read_patient(images, Region(segmentation=VolumeFile(seg)))
    assert patient.mask == VolumeFile(seg / "1-1.dcm")
    make(seg, "1-2.dcm")
    with pytest.raises(InputError, match="folder of 2 files"):
        read_patient(images, Region(segmentation=VolumeFile(seg)))


def test_names_of_files_are_not_told(tmp_path: Path) -> None:
    make(tmp_path, "Smith.nii", "Miller.nii")
    with pytest.raises(InputError) as error:
        read_patient(tmp_path, Region(box=Box((0, 0, 0), (1, 1, 1))))
    assert "Smith" not in str(error.value)
