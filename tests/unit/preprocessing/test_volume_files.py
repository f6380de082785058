"""NIfTI, NRRD and MetaImage files as phases: every voxel, its place, or a finding that is true."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import struct
from pathlib import Path
from typing import Any, cast

import fsspec
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from upath import UPath

from preprocessing.cohort.cohort import Box, Finding, VolumeFile
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.images.volume_files import FileVolume, num_volumes, open_file, phase_openers
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.pipeline.check_cohort import common_num_phases
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.storage.file_cache import FileCache, file_cache
from tests.unit.preprocessing.volume_writers import (
    DIRECTIONS,
    SHAPE,
    affine,
    manifest,
    mask,
    nifti,
    nrrd,
    phase,
)

CONFIG = PreprocessConfig(crop_shape=(16, 16, 8), num_phases=2, bias_engine="none")
PHASES = np.stack([phase(0), phase(1), phase(2)], axis=-1)


def opened(path: Path) -> FileVolume:
    return open_file(VolumeFile(path), FileCache())


def refusal(path: Path) -> Finding:
    with pytest.raises(UnreadableImageError) as error:
        opened(path)
    assert error.value.finding.excludes
    return error.value.finding


def voxels_of(volume: FileVolume) -> NDArray[np.float32]:
    """In the file's own axes."""
    return volume.read(Box((0, 0, 0), volume.grid.shape)).swapaxes(0, 1)


def f32(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def i16(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}h", *values)


def open_only(folder: Path, row: str) -> OpenedPatient | tuple[Finding, ...]:
    nifti(folder / "m.nii", mask())
    cohort = read_cohort(manifest(folder, row))
    return open_patient(cohort.patients[0], CONFIG, FileCache())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_either_byte_order_packed_or_not(tmp_path: Path, name: str, order: str) -> None:
    volume = opened(nifti(tmp_path / name, phase(1), order=order))
    np.testing.assert_array_equal(voxels_of(volume), phase(1))
    np.testing.assert_allclose(volume.grid.matrix[:, [1, 0, 2, 3]], affine()[:3], atol=1e-5)
    assert volume.findings == ()


def test_the_content_tells_whether_it_is_packed(tmp_path: Path) -> None:
    plain = nifti(tmp_path / "plain.nii", phase(1))
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "plain.nii.gz").write_bytes(plain.read_bytes())
    for name in ("packed.nii", "plain.nii.gz"):
        np.testing.assert_array_equal(voxels_of(opened(tmp_path / name)), phase(1))


@pytest.mark.parametrize(("slope", "gain"), [(0.0, 1.0), (np.nan, 1.0), (2.0, 2.0)])
def test_a_slope_of_nothing_scales_nothing(tmp_path: Path, slope: float, gain: float) -> None:
    path = nifti(tmp_path / "a.nii", phase(1).astype(np.int16), changes={112: f32(slope, 0)})
    np.testing.assert_array_equal(voxels_of(opened(path)), phase(1) * gain)


def test_a_pair_of_header_and_image(tmp_path: Path) -> None:
    content = nifti(tmp_path / "a.nii", phase(1), changes={108: f32(0), 344: b"ni1\0"}).read_bytes()
    (tmp_path / "b.hdr").write_bytes(content[:348])
    (tmp_path / "b.img").write_bytes(content[352:])
    np.testing.assert_array_equal(voxels_of(opened(tmp_path / "b.hdr")), phase(1))
    (tmp_path / "b.img").unlink()
    assert refusal(tmp_path / "b.hdr").code == "image-missing"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({80: f32(np.nan)}, "spacing-implausible"),
        ({80: f32(0)}, "spacing-implausible"),
        ({80: f32(-0.8)}, "spacing-implausible"),
        ({80: f32(1e20)}, "spacing-implausible"),
        ({88: f32(1e-9)}, "spacing-implausible"),
        ({123: b"\x03"}, "spacing-implausible"),  # 0.8 µm
        ({42: i16(0)}, "image-empty"),
        ({42: i16(-5)}, "image-empty"),
        ({42: i16(32000, 32000, 32000)}, "image-too-large"),
        ({42: i16(31)}, "image-unreadable"),
        ({40: i16(9)}, "image-unreadable"),
        ({40: i16(0)}, "image-unreadable"),
        ({70: i16(32, 64)}, "image-not-scalar"),
        ({70: i16(128, 24)}, "image-not-scalar"),
        ({70: i16(2304, 32)}, "image-not-scalar"),
        ({70: i16(999, 32)}, "image-unreadable"),
        ({108: f32(np.nan)}, "image-unreadable"),
        ({108: f32(1e30)}, "image-unreadable"),
        ({108: f32(0)}, "image-unreadable"),  # the header would be taken for voxels
        ({344: b"ni1\0"}, "image-unreadable"),
        ({112: f32(np.inf)}, "image-unreadable"),
        ({112: f32(1e38)}, "not-finite"),
        ({280: f32(np.nan)}, "geometry-impossible"),
        ({292: f32(1e30)}, "geometry-impossible"),
        ({280: f32(0, 0, 0)}, "spacing-implausible"),
        ({284: f32(0.3)}, "image-sheared"),
        ({344: b"no!!"}, "image-unreadable"),
    ],
)
def test_headers_that_cannot_be(
    tmp_path: Path, changes: dict[int, bytes], code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refusal(nifti(tmp_path / "a.nii", phase(0), changes=changes)).code == code
    assert capfd.readouterr() == ("", "")


def test_shorter_than_the_header_says(tmp_path: Path) -> None:
    content = nifti(tmp_path / "a.nii", phase(0)).read_bytes()
    big = nifti(tmp_path / "b.nii", phase(0), changes={42: i16(1000, 1000, 1500)}).read_bytes()
    for name, damaged in {
        "short.nii": content[:-100],
        "header.nii": content[:200],
        "cut.nii.gz": gzip.compress(content)[:3000],
        "small-but-says-much.nii.gz": gzip.compress(big[:400]),
        "text.nii.gz": b"hello",
        "empty.nii": b"",
    }.items():
        (tmp_path / name).write_bytes(damaged)
        assert refusal(tmp_path / name).code == "image-unreadable", name


@pytest.mark.parametrize("shape", [(1, 1, 1), (30, 28), (30,), (1, 1, 5), (30, 28, 12, 1, 3)])
def test_what_has_no_three_dimensions(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = nifti(tmp_path / "a.nii", np.ones(shape, np.float32))
    assert refusal(path).code == "image-not-3d"


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_units_of_length_are_those_of_itk(tmp_path: Path, scale: int) -> None:
    mm = {1: 1000.0, 2: 1.0, 3: 0.001}[scale]
    to_lps = affine() / mm
    to_lps[3, 3], to_lps[:3, 3] = 1, 0
    path = nifti(tmp_path / "a.nii", phase(0), to_lps, changes={123: bytes([scale])})
    expected = sitk.ReadImage(str(path)).GetSpacing()
    np.testing.assert_allclose(opened(path).grid.spacing_mm, expected, rtol=1e-5)


def turned(axis: int, degrees: float) -> NDArray[np.float64]:
    found, angle = np.eye(3), np.radians(degrees)
    i, j = [n for n in range(3) if n != axis]
    found[i, i] = found[j, j] = np.cos(angle)
    found[i, j], found[j, i] = -np.sin(angle), np.sin(angle)
    return found


PLACES = {
    "same": np.eye(3),
    "mirrored": np.diag([-1.0, 1, 1]),
    "turned": turned(2, 10),
    "turned a hair": turned(2, 0.001),
    "swapped": np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]]),
}


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (2, 2), (4, 1)])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("stretched", [1.0, 1.3])
def test_of_two_placements_the_one_of_itk(
    tmp_path: Path, codes: tuple[int, int], place: str, stretched: float
) -> None:
    q_code, s_code = codes
    image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), None)
    header = image.header
    one, other = np.eye(4), np.eye(4)
    one[:3, :3] = PLACES["same"] * [0.7, 0.8, 2]
    other[:3, :3] = PLACES[place] @ np.diag([0.7, 0.8, 2]) * stretched
    other[:3, 3] = [3, 0, 0] if place == "turned" else [0, 0, 0]
    header.set_qform(one, q_code)
    header.set_sform(other, s_code)
    header.set_zooms((0.7, 0.8, 2))
    header["qform_code"], header["sform_code"] = codes
    header["magic"], header["vox_offset"] = b"n+1", 352
    path = tmp_path / "a.nii"
    path.write_bytes(header.binaryblock + bytes(4) + np.zeros((3, 4, 5), np.int16).tobytes())
    expected = sitk.ReadImage(str(path))
    directions = np.array(expected.GetDirection()).reshape(3, 3) * expected.GetSpacing()
    volume = opened(path)
    matrix = volume.grid.matrix[:, [1, 0, 2, 3]]
    np.testing.assert_allclose(matrix[:, :3], directions, atol=1e-4)
    np.testing.assert_allclose(matrix[:, 3], expected.GetOrigin(), atol=1e-4)
    found = {f.code for f in volume.findings}
    assert not any(f.excludes for f in volume.findings)
    if codes == (0, 0):
        assert found == {"no-geometry"}
    elif stretched == 1.0 and (place in ("same", "turned a hair") or 0 in codes):
        assert found == set()
    elif s_code:
        assert found == {"nifti-transforms-differ"}


@pytest.mark.parametrize(
    ("axis", "kinds", "directions"),
    [
        (3, "domain domain domain list", f"{DIRECTIONS} none"),
        (3, "space space space time", f"{DIRECTIONS} none"),
        (3, "space space space time", f"{DIRECTIONS} (nan,nan,nan)"),
        (3, "domain domain domain none", f"{DIRECTIONS} none"),
        (3, "domain domain domain ???", f"{DIRECTIONS} none"),
        (3, "", f"{DIRECTIONS} none"),
        (0, "list domain domain domain", f"none {DIRECTIONS}"),
        (1, "domain list domain domain", "(0.8,0,0) none (0,0.8,0) (0,0,2)"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_nrrd_of_several_volumes_holds_the_phases(
    tmp_path: Path, axis: int, kinds: str, directions: str, packed: bool
) -> None:
    voxels = np.moveaxis(PHASES, 3, axis)
    nrrd(tmp_path / "a.nrrd", voxels, kinds=kinds, directions=directions, packed=packed)
    found = open_only(tmp_path, "p,a.nrrd,,,m.nii,,1")
    assert isinstance(found, OpenedPatient)
    assert found.num_phases_found == 3
    for number, volume in enumerate(found.volumes):
        assert isinstance(volume, FileVolume)
        np.testing.assert_array_equal(voxels_of(volume), phase(number))
        np.testing.assert_allclose(volume.grid.matrix[:, [1, 0, 2, 3]], affine()[:3], atol=1e-6)


@pytest.mark.parametrize(
    ("axis", "kinds"),
    [
        (0, "RGB-color domain domain domain"),
        (0, "3-vector domain domain domain"),
        (0, "vector domain domain domain"),
        (3, "domain domain domain vector"),
        (0, ""),
    ],
)
def test_three_values_a_voxel_may_be_colours(tmp_path: Path, axis: int, kinds: str) -> None:
    directions = f"none {DIRECTIONS}" if axis == 0 else f"{DIRECTIONS} none"
    nrrd(tmp_path / "a.nrrd", np.moveaxis(PHASES, 3, axis), kinds=kinds, directions=directions)
    found = open_only(tmp_path, "p,a.nrrd,,,m.nii,,1")
    assert isinstance(found, tuple)
    assert [f.code for f in found] == ["image-not-scalar"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"directions": "(0.8,0,0) (0,0,0) (0,0,2)"}, "spacing-implausible"),
        ({"directions": "(0.8,0,0) (nan,nan,nan) (0,0,2)"}, "spacing-implausible"),
        ({"directions": "(0.8,0,0) (0,1e20,0) (0,0,2)"}, "spacing-implausible"),
        ({"directions": "(0.8,0,0) (0.4,0.8,0) (0,0,2)"}, "image-sheared"),
        ({"directions": "(0.8,0,0) (0.8,0,0) (0,0,2)"}, "image-sheared"),
        ({"origin": (1e30, 0, 0)}, "geometry-impossible"),
        ({"extra": ['space units: "um" "um" "um"']}, "spacing-implausible"),
        ({"kinds": "list domain domain"}, "image-not-3d"),
        ({"extra": ["sizes: 3000 3000 3000"]}, "image-too-large"),
        ({"extra": ["sizes: 30 28 13"]}, "image-unreadable"),
        ({"extra": ["sizes: 30 x 13"]}, "image-unreadable"),
    ],
)
def test_nrrd_headers_that_cannot_be(
    tmp_path: Path, options: dict[str, Any], code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    finding = refusal(nrrd(tmp_path / "a.nrrd", phase(0), **options))
    assert finding.code == code
    assert "0x" not in finding.message
    assert capfd.readouterr() == ("", "")


def test_nrrd_that_tells_no_place_is_said_to(tmp_path: Path) -> None:
    path = nrrd(
        tmp_path / "a.nrrd", phase(0), directions="", space="", extra=["spacings: 0.8 0.8 2"]
    )
    volume = opened(path)
    assert [(f.code, f.excludes) for f in volume.findings] == [("no-geometry", False)]
    np.testing.assert_array_equal(voxels_of(volume), phase(0))


@pytest.mark.parametrize("suffix", ["mha", "mhd"])
def test_meta_images(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    image = sitk.GetImageFromArray(phase(1).transpose(2, 1, 0))
    image.SetSpacing((0.8, 0.8, 2.0))
    path = tmp_path / f"a.{suffix}"
    sitk.WriteImage(image, str(path))
    np.testing.assert_array_equal(voxels_of(opened(path)), phase(1))
    voxels = path if suffix == "mha" else tmp_path / "a.raw"
    voxels.write_bytes(voxels.read_bytes()[:-500])
    assert refusal(path).code == "image-unreadable"
    assert capfd.readouterr() == ("", "")


def test_segmentations_are_no_phases(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.seg.nrrd", mask(), extra=["Segment0_LabelValue:=1"])
    assert refusal(path).code == "image-is-segmentation"


def test_single_dicom_files_are_no_phases(tmp_path: Path) -> None:
    """One slice is no volume, and frames of one file may be slices, phases or both."""
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(200))
    assert refusal(tmp_path / "a.dcm").code == "image-is-dicom"


def test_on_an_object_store(tmp_path: Path) -> None:
    """Headers are read where they lie; other files that they name are not."""
    nifti(tmp_path / "four.nii.gz", PHASES)
    nrrd(tmp_path / "four.nrrd", PHASES, kinds="domain domain domain list", directions=f"{DIRECTIONS} none")  # fmt: skip
    nrrd(tmp_path / "a.nhdr", phase(0), data_file="a.raw")
    store = fsspec.filesystem("memory")
    for path in sorted(tmp_path.iterdir()):
        store.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    with file_cache() as cache:
        for name in ("four.nii.gz", "four.nrrd"):
            source = VolumeFile(cast(Path, UPath(f"memory://bucket/{name}")))
            assert num_volumes(source) == 3
            np.testing.assert_array_equal(voxels_of(phase_openers(source, cache)[1]()), phase(1))
        with pytest.raises(UnreadableImageError) as error:
            open_file(VolumeFile(cast(Path, UPath("memory://bucket/a.nhdr"))), cache)
    assert error.value.finding.code == "image-detached"


def test_other_formats_are_named_as_such(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((4, 5), np.uint8))
    sitk.WriteImage(image, str(tmp_path / "a.png"))
    assert "no NIfTI, NRRD" in refusal(tmp_path / "a.png").message


def test_pipes_sockets_devices_and_folders_are_not_opened(tmp_path: Path) -> None:
    """A pipe would be waited for, for ever."""
    os.mkfifo(tmp_path / "a.nii.gz")
    os.mkfifo(tmp_path / "b.nrrd")
    (tmp_path / "c.nii").symlink_to("/dev/zero")
    (tmp_path / "d.nii").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "e.mha"))
    for name in ("a.nii.gz", "b.nrrd", "c.nii", "d.nii", "e.mha"):
        assert refusal(tmp_path / name).code == "not-a-file", name
    for cells in ("a.nii.gz,,,m.nii", "x.nii,a.nii.gz,,m.nii", "x.nii,y.nii,,a.nii.gz"):
        nifti(tmp_path / "x.nii", phase(0))
        nifti(tmp_path / "y.nii", phase(1))
        found = open_only(tmp_path, f"p,{cells},,1")
        assert isinstance(found, tuple)
        assert [f.code for f in found] == ["not-a-file"]
    assert common_num_phases(read_cohort(manifest(tmp_path, "p,a.nii.gz,,,m.nii,,1"))) == 1


def test_what_cannot_be_read_is_not_said_to_be_one_phase(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"")
    found = open_only(tmp_path, "p,a.dcm,,,m.nii,,1")
    assert isinstance(found, tuple)
    assert [f.code for f in found] == ["image-unreadable"]


def test_four_dimensional_nifti_is_the_phases_in_order(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii.gz", PHASES)
    for number in range(3):
        nifti(tmp_path / f"one_{number}.nii.gz", phase(number))
    nifti(tmp_path / "m.nii", mask())
    path = manifest(
        tmp_path,
        "four,a.nii.gz,,,m.nii,,1",
        "three,one_0.nii.gz,one_1.nii.gz,one_2.nii.gz,m.nii,,0",
    )
    cohort = read_cohort(path)
    assert common_num_phases(cohort) == 3
    for choice in ("first", "last"):
        config = PreprocessConfig(
            crop_shape=(16, 16, 8), num_phases=2, phase_choice=choice, bias_engine="none"
        )
        (four, tensor), (_, expected) = (
            process_patient(patient, 0, config) for patient in cohort.patients
        )
        assert tensor is not None
        assert expected is not None
        np.testing.assert_array_equal(tensor.images, expected.images)
        assert four.phase_times_s == (None, None)
        assert four.findings == ()
    assert four.phase_names == ("….nii.gz, volume 1", "….nii.gz, volume 3")


@pytest.mark.parametrize(
    ("units", "step", "times"),
    [
        (10, 60.0, (0.0, 60.0)),
        (2, 60.0, (None, None)),
        (10, 1.0, (None, None)),
        (18, 60.0, (None, None)),
    ],
)
def test_times_are_told_in_seconds_or_not_at_all(
    tmp_path: Path, units: int, step: float, times: tuple[float | None, ...]
) -> None:
    nifti(tmp_path / "a.nii", PHASES, changes={123: bytes([units]), 92: f32(step)})
    nifti(tmp_path / "m.nii", mask())
    patient = read_cohort(manifest(tmp_path, "p,a.nii,,,m.nii,,1")).patients[0]
    record, _ = process_patient(patient, 0, CONFIG)
    assert record.phase_times_s == times


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ((30, 28, 12, 1, 3), "image-not-3d"),
        ((30, 28, 1, 12), "phases-unclear"),
        ((30, 28, 3, 12), "phases-unclear"),
    ],
)
def test_fourth_axes_that_are_no_phases(tmp_path: Path, shape: tuple[int, ...], code: str) -> None:
    nifti(tmp_path / "a.nii", np.ones(shape, np.float32))
    found = open_only(tmp_path, "p,a.nii,,,m.nii,,1")
    assert isinstance(found, tuple)
    assert [f.code for f in found] == [code]


def test_all_phases_in_one_file_and_others_beside_it(tmp_path: Path) -> None:
    nifti(tmp_path / "a.nii", PHASES)
    nifti(tmp_path / "b.nii", phase(1))
    for cells in ("a.nii,b.nii", "b.nii,a.nii"):
        found = open_only(tmp_path, f"p,{cells},,m.nii,,1")
        assert isinstance(found, tuple)
        assert [f.code for f in found] == ["phases-in-one-file"]
        assert "3 volumes" in found[0].message


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
def test_axes_of_length_one_at_the_end_are_none(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = nifti(tmp_path / "a.nii", phase(1).reshape(shape))
    np.testing.assert_array_equal(voxels_of(opened(path)), phase(1))


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("LPS", (1, 1, 1)),
        ("right-anterior-superior", (-1, -1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
        ("LAS", (1, -1, 1)),
    ],
)
def test_spaces_of_nrrd(tmp_path: Path, space: str, signs: tuple[int, int, int]) -> None:
    volume = opened(nrrd(tmp_path / "a.nrrd", phase(0), space=space))
    expected = np.diag(signs) @ affine()[:3]
    np.testing.assert_allclose(volume.grid.matrix[:, [1, 0, 2, 3]], expected, atol=1e-6)
    assert volume.findings == ()


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed"])
def test_spaces_that_are_not_the_patients(tmp_path: Path, space: str) -> None:
    volume = opened(nrrd(tmp_path / "a.nrrd", phase(0), space=space))
    assert [f.code for f in volume.findings] == ["no-geometry"]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_packed_voxels_that_are_damaged(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One byte of the stream, or of its checksum: never other voxels without a word."""
    path = tmp_path / name
    if name == "a.mha":
        image = sitk.GetImageFromArray(phase(1).transpose(2, 1, 0))
        sitk.WriteImage(image, str(path), useCompression=True)
    elif name == "a.nrrd":
        nrrd(path, phase(1), packed=True)
    else:
        nifti(path, phase(1))
    np.testing.assert_array_equal(voxels_of(opened(path)), phase(1))
    content = path.read_bytes()
    for at in (-2, -6, -len(content) // 3, -len(content) // 2):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 or None :])
        with contextlib.suppress(UnreadableImageError):
            np.testing.assert_array_equal(voxels_of(opened(path)), phase(1))
    path.write_bytes(content[: -len(content) // 3])
    assert refusal(path).code == "image-unreadable"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("CompressedDataSize = ", "Comment = ", "image-unreadable"),
        ("NDims = 3", "NDims = 4", "image-unreadable"),
        ("Offset = 0 0 0", "Offset = nan 0 0", "geometry-impossible"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 1 nan 1", "spacing-implausible"),
        ("TransformMatrix = 1 0 0 0", "TransformMatrix = 0 0 0 0", "image-unreadable"),
        ("MET_FLOAT", "MET_FLOAT_ARRAY", "image-unreadable"),
        ("DimSize = 30 28 12", "DimSize = 30 28 13", "image-unreadable"),
    ],
)
def test_meta_image_headers_that_cannot_be(
    tmp_path: Path, old: str, new: str, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(phase(1).transpose(2, 1, 0)), str(path), True)
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    assert refusal(path).code == code
    assert capfd.readouterr() == ("", "")
