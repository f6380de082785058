"""Errors of real downloads, made in the files that a patient has."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    RLELossless,
)

from preprocessing.phantom.dicom_writer import file_name, make_uid, series_folder
from preprocessing.phantom.patient import PhantomPatient
from preprocessing.phantom.scanner import Series
from preprocessing.phantom.truth import TumourTruth

Change = Callable[[Dataset, int], None]


@dataclass(frozen=True)
class Written:
    """One patient's files, before the quirk.

    Parameters
    ----------
    root
        The patient's folder.
    folders
        Of each series, in the protocol's order.
    """

    root: Path
    folders: tuple[Path, ...]
    patient: PhantomPatient
    tumour: TumourTruth

    @property
    def series(self) -> list[list[Path]]:
        """Every series' files, in order of InstanceNumber."""
        pairs = zip(self.patient.protocol.series, self.folders, strict=True)
        return [
            [folder / self.name(series, i) for i in _indices(series)] for series, folder in pairs
        ]

    @property
    def phases(self) -> list[list[Path]]:
        """The dynamic series' files, pre-contrast first, in order of InstanceNumber."""
        kinds = [series.phase for series in self.patient.protocol.series]
        return [paths for kind, paths in zip(kinds, self.series, strict=True) if kind is not None]

    @property
    def tumour_slice(self) -> int:
        """A slice through the tumour's middle."""
        return (self.tumour.start[0] + self.tumour.stop[0]) // 2

    def name(self, series: Series, index: int, total: int | None = None) -> str:
        """Return the name of a file of a series of `total` files, or as many as it has."""
        total = total or series.stack.slices
        return file_name(index, total, zero_padded=self.patient.zero_padded)


def _indices(series: Series) -> range:
    return range(series.stack.slices)


def edit(paths: Iterable[Path], change: Change) -> None:
    """Change each data set in place; `change` is told how many came before."""
    for index, path in enumerate(paths):
        data = dcmread(path)
        change(data, index)
        save(data, path)


def save(data: Dataset, path: Path) -> None:
    """Write a data set, in the transfer syntax that its file meta information tells."""
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.save_as(path, enforce_file_format=True)


def other_uid(uid: str, purpose: str) -> UID:
    """Return a UID for another object made of the one with `uid`."""
    return make_uid(uid, purpose)


def pixels_of(data: Dataset) -> NDArray[np.integer]:
    """Return (R, C) stored values of a data set that no quirk has changed."""
    kind = "<i2" if data.PixelRepresentation else "<u2"
    return np.frombuffer(data.PixelData, kind).reshape(data.Rows, data.Columns)


def set_pixels(data: Dataset, pixels: NDArray[np.integer]) -> None:
    """Put (R, C) stored values into a data set, 16 bits each."""
    data.Rows, data.Columns = pixels.shape
    data.SmallestImagePixelValue, data.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
    data.PixelData = np.ascontiguousarray(pixels).astype("<u2").tobytes()


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


_SPOIL_CONTENTS: Mapping[str, Callable[[Written], None]] = {
    "truncated-file": _truncated,
    "zero-byte-file": _empty,
    "compressed": _compressed,
    "big-endian": _big_endian,
    "not-an-image": _not_an_image,
    "multi-frame": _multi_frame,
    "no-suffix": _no_suffix,
    "unsigned-wrap": _unsigned,
}


_SHIFT_VOXELS = 3
_CORONAL = [1, 0, 0, 0, 0, -1]


def _duplicate_slices(written: Written) -> None:
    paths, series = written.phases[1], written.patient.protocol.phases[1]
    total = len(paths)
    for extra, index in enumerate((total // 4, total // 3)):
        _copy_slice(paths[index], written.name(series, total + extra), total + extra + 1)
    same_number = paths[written.tumour_slice]
    _copy_slice(same_number, _beside(same_number, "2"), written.tumour_slice + 1)


def _copy_slice(path: Path, name: str, instance_number: int) -> None:
    data = dcmread(path)
    data.SOPInstanceUID = other_uid(data.SOPInstanceUID, "twice")
    data.InstanceNumber = instance_number
    save(data, path.with_name(name))


def _beside(path: Path, acquisition: str) -> str:
    """Return the file's name with another acquisition number before the dash."""
    return f"{acquisition}-{path.name.partition('-')[2]}"


def _missing_slice(written: Written) -> None:
    written.phases[2][written.tumour_slice].unlink()


def _constant_instance_number(written: Written) -> None:
    def change(data: Dataset, _: int) -> None:
        data.InstanceNumber = 1

    for paths in written.series:
        edit(paths, change)


def _no_instance_numbers(written: Written) -> None:
    _constant_instance_number(written)
    for paths in written.series:
        for path in paths:
            uid = dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID
            path.rename(path.with_name(f"{uid}.dcm"))


def _mixed_matrix(written: Written) -> None:
    edit(written.phases[3], lambda data, _: _halve(data))


def _mixed_series(written: Written) -> None:
    first = written.phases[0][0]
    data = dcmread(first)
    _halve(data)
    data.SOPInstanceUID = other_uid(data.SOPInstanceUID, "localiser")
    data.ImageOrientationPatient = _CORONAL
    data.AcquisitionTime = data.ContentTime = data.StudyTime
    data.InstanceNumber = 1
    # Its name sorts first, so that the series cannot be told by its first file.
    save(data, first.with_name(_beside(first, "0")))


def _halve(data: Dataset) -> None:
    """Keep every other row and column."""
    set_pixels(data, pixels_of(data)[::2, ::2])
    data.PixelSpacing = [2 * float(v) for v in data.PixelSpacing]
    data.AcquisitionMatrix = [0, data.Rows, data.Columns, 0]


def _phase_shifted(written: Written) -> None:
    """Begin the field of view three columns later: voxels and headers agree.

    What comes in at the far side is what went out at the near one, as a field of view that is
    moved along the phase-encoding direction shows it.
    """

    def change(data: Dataset, _: int) -> None:
        along = np.array([float(v) for v in data.ImageOrientationPatient[:3]])
        position = np.array([float(v) for v in data.ImagePositionPatient])
        position += _SHIFT_VOXELS * float(data.PixelSpacing[1]) * along
        data.ImagePositionPatient = [f"{v:.4f}" for v in position]
        data.PixelData = np.roll(pixels_of(data), -_SHIFT_VOXELS, axis=1).tobytes()

    edit(written.phases[1], change)


_SPOIL_SLICES: Mapping[str, Callable[[Written], None]] = {
    "duplicate-slices": _duplicate_slices,
    "missing-slice": _missing_slice,
    "constant-instance-number": _constant_instance_number,
    "no-instance-numbers": _no_instance_numbers,
    "mixed-matrix": _mixed_matrix,
    "mixed-series": _mixed_series,
    "phase-shifted": _phase_shifted,
}


_A_YEAR_LATER = "19910101"
_DATES = ("InstanceCreation", "Study", "Series", "Acquisition", "Content")
_TIMES = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")


def _series_repeated(written: Written) -> None:
    number = max(s.number for s in written.patient.protocol.series) + 1

    def change(data: Dataset) -> None:
        data.SeriesInstanceUID = other_uid(data.SeriesInstanceUID, "repeated")
        data.SeriesNumber = number
        _shift_times(data, _TIMES[1:], 5)

    for path in written.phases[2]:
        _copy(written, path, change)


def _two_studies(written: Written) -> None:
    def change(data: Dataset) -> None:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            data[keyword].value = other_uid(data[keyword].value, "second study")
        for keyword in _DATES:
            data[f"{keyword}Date"].value = _A_YEAR_LATER
        # By the time of day alone it would be the first one.
        _shift_times(data, _TIMES, -3600)
        pixels = pixels_of(data)
        set_pixels(data, np.roll(pixels, pixels.shape[1] // 4, axis=1))

    for paths in written.series:
        for path in paths:
            _copy(written, path, change)


def _copy(written: Written, path: Path, change: Callable[[Dataset], None]) -> None:
    """Write a changed copy of a file into the folder of its own series."""
    data = dcmread(path)
    change(data)
    data.SOPInstanceUID = other_uid(data.SOPInstanceUID, data.SeriesInstanceUID)
    place = written.root / series_folder(
        written.patient.layout,
        data.StudyInstanceUID,
        data.SeriesInstanceUID,
        data.SeriesNumber,
        data.SeriesDescription,
        data.StudyDate,
    )
    place.mkdir(parents=True, exist_ok=True)
    save(data, place / path.name)


def _shift_times(data: Dataset, keywords: tuple[str, ...], seconds: int) -> None:
    for keyword in keywords:
        text = str(data[keyword].value)
        total = int(text[:2]) * 3600 + int(text[2:4]) * 60 + int(text[4:6]) + seconds
        shifted = f"{total // 3600:02d}{total // 60 % 60:02d}{total % 60:02d}"
        data[keyword].value = shifted + text[6:]


def _one_folder(written: Written) -> None:
    num_phases = len(written.phases)

    def join(phase: int, slices: int) -> Change:
        def change(data: Dataset, index: int) -> None:
            data.InstanceNumber = phase * slices + index + 1
            data.TemporalPositionIdentifier = phase + 1
            data.NumberOfTemporalPositions = num_phases

        return change

    _join(written, join, lambda phase, index, slices: phase * slices + index)


def _one_folder_by_time(written: Written) -> None:
    num_phases = len(written.phases)

    def join(phase: int, slices: int) -> Change:
        def change(data: Dataset, index: int) -> None:
            for keyword in ("TemporalPositionIdentifier", "NumberOfTemporalPositions"):
                if keyword in data:
                    del data[keyword]

        return change

    _join(written, join, lambda phase, index, slices: index * num_phases + phase)


def _first_pass_missing(written: Written) -> None:
    shutil.rmtree(written.phases[1][0].parent)


def _first_pass_unreadable(written: Written) -> None:
    for path in written.phases[1]:
        path.write_bytes(b"")


def _join(
    written: Written, join: Callable[[int, int], Change], place: Callable[[int, int, int], int]
) -> None:
    """Make one series of all phases.

    Parameters
    ----------
    join
        What to change in the files of a phase, given its number and how many slices it has.
    place
        A file's place in the series, from phase, slice and number of slices.
    """
    first = written.patient.protocol.phases[0]
    home = written.phases[0][0].parent
    series = dcmread(written.phases[0][0], specific_tags=["SeriesInstanceUID", "SeriesTime"])
    joined = home.with_name("joined")
    joined.mkdir()
    total = sum(map(len, written.phases))
    for phase, paths in enumerate(written.phases):
        own = join(phase, len(paths))

        def change(data: Dataset, index: int, own: Change = own) -> None:
            own(data, index)
            data.SeriesInstanceUID, data.SeriesTime = series.SeriesInstanceUID, series.SeriesTime
            data.SeriesNumber = first.number

        edit(paths, change)
        for index, path in enumerate(paths):
            number = place(phase, index, len(paths))
            path.rename(joined / written.name(first, number, total))
        shutil.rmtree(paths[0].parent)
    joined.rename(home)


_SPOIL_SERIES: Mapping[str, Callable[[Written], None]] = {
    "series-repeated": _series_repeated,
    "one-folder": _one_folder,
    "one-folder-by-time": _one_folder_by_time,
    "two-studies": _two_studies,
    "first-pass-missing": _first_pass_missing,
    "first-pass-unreadable": _first_pass_unreadable,
}

# What each quirk does to the files.
SPOIL: Mapping[str, Callable[[Written], None]] = {
    **_SPOIL_SERIES,
    **_SPOIL_SLICES,
    **_SPOIL_CONTENTS,
}
