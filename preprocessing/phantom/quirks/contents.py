"""Quirks of files: damaged, encoded otherwise, not images at all, named otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    RLELossless,
)

from preprocessing.phantom.quirks.written import (
    Written,
    edit,
    other_uid,
    pixels_of,
    save,
    set_pixels,
)

_SLOPE, _INTERCEPT = 0.5, -100
_SHARED_MEASURES = ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
_NOT_IN_ENHANCED = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SliceLocation",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
_IDENTITY = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "StudyInstanceUID",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "Manufacturer",
)


def _truncated(written: Written) -> None:
    path = written.phases[1][written.tumour_slice]
    content = path.read_bytes()
    num_pixels = dcmread(path).pixel_array.size
    path.write_bytes(content[:-num_pixels])  # half of them, of 2 bytes each


def _empty(written: Written) -> None:
    written.phases[2][written.tumour_slice].write_bytes(b"")


def _compressed(written: Written) -> None:
    edit(written.phases[0], _compress_rle)
    edit(written.phases[1], lambda data, _: _compress_by_gdcm(data, "JPEG2000"))
    edit(written.phases[2], lambda data, _: _compress_by_gdcm(data, "JPEG"))


def _compress_rle(data: Dataset, _: int) -> None:
    data.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)


def _compress_by_gdcm(data: Dataset, compressor: str) -> None:
    """Compress without loss by SimpleITK's GDCM, whose file lends its pixels to the data set."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    with tempfile.TemporaryDirectory() as folder:
        writer.SetFileName(str(Path(folder) / "slice.dcm"))
        writer.Execute(sitk.GetImageFromArray(pixels_of(data)))
        lent = dcmread(Path(folder) / "slice.dcm")
    data.file_meta.TransferSyntaxUID = lent.file_meta.TransferSyntaxUID
    data.BitsStored, data.HighBit = lent.BitsStored, lent.HighBit
    data.PixelData = lent.PixelData
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True


def _big_endian(written: Written) -> None:
    def little(data: Dataset, _: int) -> None:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

    edit(written.phases[1], little)
    for path in written.phases[0]:
        read = dcmread(path)
        # pydicom changes the order of bytes only of what was not read, and of pixels never.
        data = Dataset({element.tag: element for element in read})
        data.file_meta = read.file_meta
        data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data.PixelData = pixels_of(read).byteswap().tobytes()
        save(data, path)


def _not_an_image(written: Written) -> None:
    pre, post = written.phases[0][0], written.phases[1][0]
    state = _bare(pre, GrayscaleSoftcopyPresentationStateStorage, "PR")
    state.PresentationLUTShape = "IDENTITY"
    save(state, pre.with_name("0-1.dcm"))
    report = _bare(post, BasicTextSRStorage, "SR")
    report.ValueType = "CONTAINER"
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "UNVERIFIED"
    report.ContinuityOfContent = "SEPARATE"
    save(report, post.with_name("0-1.dcm"))
    pre.with_name("LICENSE").write_text("Not an image, nor DICOM.\n")


def _bare(image: Path, kind: str, modality: str) -> Dataset:
    """Return an object of the image's study that holds no image, in a series of its own."""
    source = dcmread(image)
    data = Dataset()
    data.file_meta = source.file_meta
    for keyword in _IDENTITY:
        data[keyword] = source[keyword]
    data.SOPClassUID, data.Modality = kind, modality
    data.SOPInstanceUID = other_uid(source.SOPInstanceUID, modality)
    data.SeriesInstanceUID = other_uid(source.SeriesInstanceUID, modality)
    data.SeriesNumber, data.InstanceNumber = 99, 1
    return data


def _multi_frame(written: Written) -> None:
    paths = written.phases[1]
    slices = [dcmread(path) for path in paths]
    data = dcmread(paths[0])
    data.SOPClassUID = EnhancedMRImageStorage
    data.NumberOfFrames = len(slices)
    data.SharedFunctionalGroupsSequence = [_shared_groups(data)]
    data.PerFrameFunctionalGroupsSequence = [_frame_groups(s) for s in slices]
    for keyword in (*_SHARED_MEASURES, *_NOT_IN_ENHANCED):
        if keyword in data:
            del data[keyword]
    data.PixelData = b"".join(s.PixelData for s in slices)
    for path in paths[1:]:
        path.unlink()
    save(data, paths[0])


def _shared_groups(data: Dataset) -> Dataset:
    measures, plane, groups = Dataset(), Dataset(), Dataset()
    for keyword in _SHARED_MEASURES:
        if keyword in data:
            measures[keyword] = data[keyword]
    plane.ImageOrientationPatient = data.ImageOrientationPatient
    groups.PixelMeasuresSequence, groups.PlaneOrientationSequence = [measures], [plane]
    return groups


def _frame_groups(data: Dataset) -> Dataset:
    content, plane, groups = Dataset(), Dataset(), Dataset()
    content.StackID, content.InStackPositionNumber = "1", data.InstanceNumber
    plane.ImagePositionPatient = data.ImagePositionPatient
    groups.FrameContentSequence, groups.PlanePositionSequence = [content], [plane]
    return groups


def _no_suffix(written: Written) -> None:
    for number, paths in enumerate(written.series, start=1):
        for index, path in enumerate(paths, start=1):
            path.rename(path.with_name(f"IM-{number:04d}-{index:04d}"))
    for path in sorted(written.phases[2][0].parent.iterdir()):
        uid = dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID
        path.rename(path.with_name(str(uid)))


def _unsigned(written: Written) -> None:
    def change(data: Dataset, _: int) -> None:
        # Exact in both directions: whole numbers become even ones.
        stored = (pixels_of(data).astype(np.int64) - _INTERCEPT) / _SLOPE
        data.PixelRepresentation = 0
        data.BitsStored, data.HighBit = 16, 15
        data.RescaleSlope, data.RescaleIntercept = _SLOPE, _INTERCEPT
        set_pixels(data, stored.astype(np.uint16))

    for paths in written.phases:
        edit(paths, change)


SPOIL: Mapping[str, Callable[[Written], None]] = {
    "truncated-file": _truncated,
    "zero-byte-file": _empty,
    "compressed": _compressed,
    "big-endian": _big_endian,
    "not-an-image": _not_an_image,
    "multi-frame": _multi_frame,
    "no-suffix": _no_suffix,
    "unsigned-wrap": _unsigned,
}
