"""Segmentations: on the images by their place, their largest piece, and never without a tumour."""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from preprocessing.cohort.cohort import Patient, VolumeFile
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.volume_files import open_file
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.storage.file_cache import FileCache
from preprocessing.store import REGION_TUMOUR
from tests.unit.preprocessing.lattice import (
    SIZE,
    TURNS,
    View,
    patient,
    tumour_mask,
    write_nifti,
)

CONFIG = PreprocessConfig(crop_shape=(10, 10, 8), num_phases=2, bias_engine="none")
VOXEL_MM3 = 0.7 * 0.8 * 1.5


def tells_place(path):
    return open_file(VolumeFile(path), FileCache()).has_place


@pytest.fixture
def stored(tmp_path):
    phases = tuple(
        VolumeFile(write_nifti(tmp_path / f"{n}.nii.gz", patient(n).astype(np.int32)))
        for n in range(2)
    )

    def process(path, **changes):
        found = Patient("p", phases=phases, mask=VolumeFile(path))
        return process_patient(found, 0, CONFIG.model_copy(update=changes))

    return process


def codes(record):
    return [f.code for f in record.findings]


def check_on_tumour(record, tensor):
    assert tensor is not None, record.findings
    marked = (tensor.region & REGION_TUMOUR) > 0
    assert marked.sum() == tumour_mask().sum()
    np.testing.assert_array_equal(tensor.images[1] - tensor.images[0] > 10_000, marked)


@pytest.mark.parametrize("turn", TURNS[::5], ids=str)
def test_a_mask_of_any_axes_and_extent_lies_on_the_tumour(stored, tmp_path, turn):
    whole = write_nifti(tmp_path / "m.nii.gz", tumour_mask(), View(axes=turn[0], flips=turn[1]))
    record, tensor = stored(whole)
    check_on_tumour(record, tensor)
    assert codes(record) == []
    part = View((3, 2, 5), (22, 24, 20), *turn)
    record, tensor = stored(write_nifti(tmp_path / "p.nii.gz", tumour_mask(), part))
    check_on_tumour(record, tensor)
    assert codes(record) == ["mask-aligned"]


def test_a_mask_with_slices_that_the_images_lack(tmp_path, stored):
    larger = tuple(n + 4 for n in SIZE)
    mask = np.zeros(larger, np.uint8)
    mask[: SIZE[0], : SIZE[1], : SIZE[2]] = tumour_mask()
    record, tensor = stored(write_nifti(tmp_path / "m.nii.gz", mask, View(high=larger)))
    check_on_tumour(record, tensor)
    assert codes(record) == ["mask-aligned"]
    mask[10, 9, SIZE[2] :] = 1
    record, tensor = stored(write_nifti(tmp_path / "m.nii.gz", mask, View(high=larger)))
    check_on_tumour(record, tensor)
    assert codes(record) == ["mask-aligned", "mask-cut"]
    assert "4 of 68 voxels" in record.findings[1].message


@pytest.mark.parametrize(
    ("view", "code"),
    [
        (View(shift_mm=(0.05, 0, 0)), None),
        (View(shift_mm=(0.25, 0, 0)), "mask-apart"),
        (View(shift_mm=(0.3, 0.35, 0)), "mask-differs"),
        (View(shift_mm=(0, 0, 0.7)), "mask-differs"),
        (View(shift_mm=(0, 0, 30.0)), "mask-differs"),
        (
            View(shift_mm=(0, 0, 18.0)),
            "mask-differs",
        ),  # all but its first slice is beside the images
        (View(spacing=(1.4, 0.8, 1.5)), "mask-differs"),
        (View(spacing=(9.0, 9.0, 9.0)), "mask-differs"),
    ],
)
def test_a_mask_whose_header_says_elsewhere(stored, tmp_path, view, code):
    record, tensor = stored(write_nifti(tmp_path / "m.nii.gz", tumour_mask(), view))
    if code == "mask-differs":
        assert tensor is None
        assert [f.code for f in record.findings if f.excludes] == [code]
    else:
        check_on_tumour(record, tensor)
        assert codes(record) == ([] if code is None else [code])


def test_a_mask_whose_header_says_some_voxels_away_is_believed(stored, tmp_path):
    """It was drawn on other images, or the header is right: in no case is it where the index is."""
    record, tensor = stored(
        write_nifti(tmp_path / "m.nii.gz", tumour_mask(), View(shift_mm=(2.1, 0, 0)))
    )
    assert codes(record) == ["mask-aligned"]
    marked = (tensor.region & REGION_TUMOUR) > 0
    np.testing.assert_array_equal(
        np.roll(tensor.images[1] - tensor.images[0] > 10_000, 3, axis=1), marked
    )


def test_a_mask_of_finer_voxels_is_taken_at_the_nearest_where_that_is_asked_for(stored, tmp_path):
    finer = np.repeat(np.repeat(tumour_mask(), 2, axis=0), 2, axis=1)
    view = View(high=finer.shape, spacing=(0.35, 0.4, 1.5), shift_mm=(-0.175, -0.2, 0))
    path = write_nifti(tmp_path / "m.nii.gz", finer, view)
    record, tensor = stored(path)
    assert tensor is None
    assert codes(record) == ["mask-differs"]
    record, tensor = stored(path, align="resample")
    check_on_tumour(record, tensor)
    assert codes(record) == ["mask-resampled"]


# Headers without a place.


@pytest.mark.parametrize("how", ["codes", "identity", "nrrd", "nrrd-no-origin", "itk", "itk-nifti"])
def test_a_mask_without_a_place_is_taken_voxel_by_voxel_and_said(stored, tmp_path, how):
    voxels = np.ascontiguousarray(tumour_mask().T)  # ITK's order
    if how == "codes":
        path = write_nifti(tmp_path / "m.nii.gz", tumour_mask(), codes=0)
    elif how == "identity":
        path = write_nifti(tmp_path / "m.nii.gz", tumour_mask(), affine=np.eye(4))
    elif how in ("itk", "itk-nifti"):
        path = tmp_path / ("m.mha" if how == "itk" else "m.nii.gz")
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    else:
        path = tmp_path / "m.nrrd"
        place = (
            ""
            if how == "nrrd"
            else "space: left-posterior-superior\nspace directions: (2,0,0) (0,2,0) (0,0,2)\n"
        )
        sizes = " ".join(map(str, SIZE))
        head = f"NRRD0004\ntype: uint8\ndimension: 3\n{place}sizes: {sizes}\nencoding: raw\n\n"
        path.write_bytes(head.encode() + voxels.tobytes())
    assert not tells_place(path)
    record, tensor = stored(path)
    check_on_tumour(record, tensor)
    assert "mask-without-place" in codes(record)
    smaller = write_nifti(tmp_path / "s.nii.gz", tumour_mask()[:-1], View(), affine=np.eye(4))
    record, tensor = stored(smaller)
    assert record.exclusion_code == "mask-differs"


def test_headers_with_a_place(tmp_path):
    assert tells_place(write_nifti(tmp_path / "m.nii.gz", tumour_mask()))
    image = sitk.GetImageFromArray(tumour_mask())
    image.SetOrigin((0, 0, 1))
    for name in ("m.nrrd", "m.mha"):
        sitk.WriteImage(image, str(tmp_path / name))
        assert tells_place(tmp_path / name)
    only_qform = nibabel.Nifti1Image(tumour_mask(), None)
    only_qform.set_qform(np.diag([-1, -1, 2, 1]), 1)
    only_qform.set_sform(None, 0)
    nibabel.save(only_qform, tmp_path / "q.nii")
    assert tells_place(tmp_path / "q.nii")


# Pieces.


def with_pieces(*boxes):
    mask = tumour_mask()
    for low, high in boxes:
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


LARGE = ((16, 8, 9), (19, 11, 13))  # 36 voxels beside the tumour's 64
SPECK = ((1, 1, 1), (2, 2, 3))
FAR = ((23, 21, 0), (26, 24, 4))


def test_the_largest_piece_is_the_tumour(stored, tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", with_pieces(LARGE, SPECK))
    record, tensor = stored(path)
    check_on_tumour(record, tensor)
    assert codes(record) == ["several-lesions", "stray-voxels"]
    several, stray = (f.message for f in record.findings)
    assert f"2 lesions, of {64 * VOXEL_MM3:.3g}, {36 * VOXEL_MM3:.3g} mm³" in several
    assert "1 stray piece" in stray
    assert "2 voxels" in stray
    assert [b - a for a, b in zip(*record.box_in_crop, strict=True)] == [4, 4, 4]


def test_all_lesions_are_the_tumour_where_that_is_asked_for(stored, tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", with_pieces(LARGE, SPECK))
    record, tensor = stored(path, lesions="all")
    assert codes(record) == ["several-lesions", "stray-voxels"]
    assert ((tensor.region & REGION_TUMOUR) > 0).sum() == 100
    assert [b - a for a, b in zip(*record.box_in_crop, strict=True)] == [4, 10, 4]


def test_pieces_that_touch_by_a_corner_are_one(stored, tmp_path):
    path = write_nifti(tmp_path / "m.nii.gz", with_pieces(((13, 12, 13), (15, 14, 15))))
    record, tensor = stored(path)
    assert codes(record) == []
    assert ((tensor.region & REGION_TUMOUR) > 0).sum() == 72


def test_lesions_with_none_in_the_middle_are_not_stored(stored, tmp_path):
    """The crop between two lesions holds neither."""
    mask = with_pieces(FAR)
    mask[tuple(slice(*s) for s in ((9, 13), (8, 12), (9, 13)))] = 0
    mask[0:3, 0:3, 18:22] = 1
    path = write_nifti(tmp_path / "m.nii.gz", mask)
    record, tensor = stored(path, lesions="all")
    assert tensor is None
    assert codes(record) == ["several-lesions", "box-larger-than-crop", "tumour-not-in-crop"]
    record, tensor = stored(path)
    assert tensor is not None
    assert "though the second is about as large" in record.findings[0].message


@pytest.mark.parametrize("turn", TURNS[::11], ids=str)
def test_of_two_equal_lesions_one_is_taken_whatever_way_axes_run(stored, tmp_path, turn):
    mask = with_pieces(((16, 8, 9), (20, 12, 13)))
    path = write_nifti(tmp_path / "m.nii.gz", mask, View(axes=turn[0], flips=turn[1]))
    record, tensor = stored(path)
    check_on_tumour(record, tensor)
    assert codes(record) == ["several-lesions"]


def test_single_voxels_have_no_largest(stored, tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[9, 8, 9] = mask[12, 11, 12] = 1
    record, tensor = stored(write_nifti(tmp_path / "m.nii.gz", mask))
    assert codes(record) == ["mask-scattered"]
    assert ((tensor.region & REGION_TUMOUR) > 0).sum() == 2


def test_one_voxel_is_said(stored, tmp_path):
    mask = np.zeros(SIZE, np.uint8)
    mask[9, 8, 9] = 1
    record, tensor = stored(write_nifti(tmp_path / "m.nii.gz", mask))
    assert codes(record) == ["tumour-one-voxel"]
    assert ((tensor.region & REGION_TUMOUR) > 0).sum() == 1


@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (1 - tumour_mask(), "mask-implausible"),
        (np.ones(SIZE, np.uint8), "mask-full"),
        (np.zeros(SIZE, np.uint8), "mask-empty"),
    ],
    ids=["inverted", "full", "empty"],
)
def test_a_mask_of_no_tumour(stored, tmp_path, mask, code):
    record, tensor = stored(write_nifti(tmp_path / "m.nii.gz", mask))
    assert tensor is None
    assert codes(record) == [code]


@pytest.mark.parametrize("region", ["mask", "box"])
def test_a_tumour_that_coarser_voxels_lose_is_not_stored_without_one(stored, tmp_path, region):
    """Nearest voxels of 5 mm see nothing of a single one of 0.7 mm; its box always is one."""
    mask = np.zeros(SIZE, np.uint8)
    mask[9, 8, 9] = 1
    path = write_nifti(tmp_path / "m.nii.gz", mask)
    record, tensor = stored(path, resample_mm=(5.0, 5.0, 5.0), region=region, crop_shape=(2, 2, 2))
    if region == "mask":
        assert tensor is None
        assert codes(record) == ["tumour-one-voxel", "tumour-not-in-crop"]
    else:
        assert ((tensor.region & REGION_TUMOUR) > 0).sum() == 1
