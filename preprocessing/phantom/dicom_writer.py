"""DICOM files with the elements that TCIA's Duke files have, one series at a time.

Implicit VR little endian, de-identified, all dates 1 January 1990. The elements that a series'
slices share are encoded once, by pydicom; the few that are each slice's own are put together here. A
file is then a few dictionary entries joined in tag order.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element, write_file_meta_info
from pydicom.uid import UID, ImplicitVRLittleEndian, MRImageStorage, generate_uid

from preprocessing.phantom.scanner import Protocol, Scanner, Series
from preprocessing.phantom.voxels import SliceStack


def series_folder(
    layout: str, study_uid: str, series_uid: str, number: int, name: str, date: str
) -> Path:
    """Return a series' folder below its patient's.

    Parameters
    ----------
    layout
        ``classic`` (two UIDs) or ``descriptive``.
    number, name
        SeriesNumber and SeriesDescription.
    date
        StudyDate, ``YYYYMMDD``.
    """
    if layout == "classic":
        return Path(study_uid) / series_uid
    study = f"{date[4:6]}-{date[6:]}-{date[:4]}-NA-MRI BREAST BILATERAL WWO-{study_uid[-5:]}"
    return Path(study) / f"{number}.000000-{name.replace('/', '')}-{series_uid[-5:]}"


def file_name(index: int, num_slices: int, *, zero_padded: bool) -> str:
    """Return e.g. ``1-004.dcm`` for slice index 3."""
    width = len(str(num_slices)) if zero_padded else 1
    return f"1-{index + 1:0{width}d}.dcm"


# pydicom's own root, meant for files that it makes.
_UID_ROOT = "1.2.826.0.1.3680043.8.498."
_DATE = "19900101"
STUDY_DESCRIPTION = "MRI BREAST BILATERAL W + W/O"
_IMPLEMENTATION = generate_uid(_UID_ROOT, entropy_srcs=["radiotrain phantom"])
MANUFACTURERS = {"GE": "GE MEDICAL SYSTEMS", "Siemens": "SIEMENS"}


def make_uid(*parts: object) -> UID:
    """Return a UID that depends on `parts` alone."""
    return generate_uid(_UID_ROOT, entropy_srcs=["/".join(map(str, parts))])


class SeriesWriter:
    """Encodes the slices of one series.

    Parameters
    ----------
    patient_id
        Also the patient's name, as in the de-identified collection.
    uid_key
        What all UIDs of the patient are made from.
    """

    def __init__(self, patient_id: str, uid_key: str, protocol: Protocol, series: Series) -> None:
        self.series = series
        self.study_uid = make_uid(uid_key, "study")
        self.series_uid = make_uid(uid_key, "series", series.key)
        self._uid_key = uid_key
        self._unsigned = protocol.scanner.vendor == "Siemens"
        shared = Dataset()
        _add_identity(shared, patient_id)
        _add_times(shared, protocol, series)
        _add_equipment(shared, protocol.scanner)
        _add_sequence(shared, protocol, series)
        _add_image_plane(shared, series.stored)
        _add_pixel_format(shared, unsigned=self._unsigned)
        shared.StudyInstanceUID = self.study_uid
        shared.SeriesInstanceUID = self.series_uid
        shared.FrameOfReferenceUID = make_uid(uid_key, "frame")
        self._shared = _encode(shared)
        self._head = _FileHead()

    def encode(self, index: int, pixels: NDArray[np.uint16]) -> bytes:
        """Return one slice's file.

        Parameters
        ----------
        index
            Slice as acquired, from 0.
        pixels
            (R, C) as acquired, at most 4095.
        """
        sop_uid = self.sop_uid(index)
        stored = self.stored_index(index)
        _, flip_rows, flip_columns = self.series.flips
        pixels = pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        own = {
            "SOPInstanceUID": sop_uid.encode(),
            "InstanceNumber": str(stored + 1).encode(),
            **_position(self.series.stored, stored),
            **_pixels(pixels, unsigned=self._unsigned),
        }
        elements = self._shared | dict(_element(*item) for item in own.items())
        body = b"".join(elements[tag] for tag in sorted(elements))
        return self._head.of(sop_uid) + body

    def sop_uid(self, index: int) -> UID:
        """Return SOPInstanceUID of a slice as acquired."""
        return make_uid(self._uid_key, "image", self.series.key, index)

    def folder(self, layout: str) -> Path:
        """Return the series' folder below the patient's."""
        number, name = self.series.number, self.series.name
        return series_folder(layout, self.study_uid, self.series_uid, number, name, _DATE)

    def stored_index(self, index: int) -> int:
        """Return InstanceNumber − 1 of a slice as acquired."""
        return self.series.stack.slices - 1 - index if self.series.flips[0] else index


class _FileHead:
    """What comes before a file's data set; of it, only the SOP instance is each file's own."""

    def __init__(self) -> None:
        meta = FileMetaDataset()
        meta.FileMetaInformationVersion = b"\x00\x01"
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = _IMPLEMENTATION
        meta.TransferSyntaxUID = ImplicitVRLittleEndian
        meta.ImplementationClassUID = _IMPLEMENTATION
        meta.ImplementationVersionName = "RADIOTRAIN"
        buffer = DicomBytesIO()
        write_file_meta_info(buffer, meta)
        # Without the group's length, which comes first.
        elements = buffer.getvalue()[12:]
        self._before, self._after = elements.split(self._instance(_IMPLEMENTATION))

    def of(self, sop_uid: UID) -> bytes:
        """Return a file's first bytes, from the preamble on."""
        elements = self._before + self._instance(sop_uid) + self._after
        length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements))
        return bytes(128) + b"DICM" + length + elements

    @staticmethod
    def _instance(uid: UID) -> bytes:
        value = _even(uid.encode(), b"\0")
        return struct.pack("<HH2sH", 2, 3, b"UI", len(value)) + value


def _encode(dataset: Dataset) -> dict[int, bytes]:
    encoded = {}
    for element in dataset:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, True
        write_data_element(buffer, element)
        encoded[int(element.tag)] = buffer.getvalue()
    return encoded


def _element(keyword: str, value: bytes) -> tuple[int, bytes]:
    """Return an element's tag, and its bytes in implicit VR little endian."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    value = _even(value, b"\0" if keyword.endswith("UID") else b" ")
    return tag, struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)


def _add_identity(dataset: Dataset, patient_id: str) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = MRImageStorage
    dataset.Modality = "MR"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.PatientName = patient_id
    dataset.PatientID = patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "synthetic: no person was imaged"
    dataset.BodyPartExamined = "BREAST"
    dataset.StudyID = ""
    dataset.Laterality = ""
    dataset.PositionReferenceIndicator = ""


def _add_times(dataset: Dataset, protocol: Protocol, series: Series) -> None:
    for keyword in ("InstanceCreation", "Study", "Series", "Acquisition", "Content"):
        setattr(dataset, f"{keyword}Date", _DATE)
    with_fraction = protocol.scanner.vendor == "Siemens"
    dataset.StudyTime = _time(protocol.study_time_s, with_fraction)
    for keyword in ("SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, _time(series.time_s, with_fraction))


def _add_equipment(dataset: Dataset, scanner: Scanner) -> None:
    dataset.Manufacturer = MANUFACTURERS[scanner.vendor]
    dataset.ManufacturerModelName = scanner.model
    dataset.MagneticFieldStrength = _decimal(scanner.field_strength)
    dataset.ReceiveCoilName = "HD Breast" if scanner.vendor == "GE" else "BreastMatrix"
    dataset.PatientPosition = "FFP" if scanner.feet_first else "HFP"


def _add_sequence(dataset: Dataset, protocol: Protocol, series: Series) -> None:
    scanner, stack = protocol.scanner, series.stack
    is_dynamic = series.phase is not None
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER" if scanner.vendor == "GE" else "M"]
    dataset.StudyDescription = STUDY_DESCRIPTION
    dataset.PerformedProcedureStepDescription = STUDY_DESCRIPTION
    dataset.SeriesDescription = series.name
    dataset.SeriesNumber = series.number
    dataset.AcquisitionNumber = 1
    dataset.ScanningSequence = "GR" if is_dynamic else "SE"
    dataset.SequenceVariant = ["SS", "SK"] if is_dynamic else ["SK", "OSP"]
    dataset.ScanOptions = ["PFP", "FS"] if is_dynamic else "PFP"
    dataset.MRAcquisitionType = "3D" if is_dynamic else "2D"
    dataset.AngioFlag = "N"
    dataset.RepetitionTime = _decimal(scanner.repetition_ms if is_dynamic else 716.668)
    dataset.EchoTime = _decimal(scanner.echo_ms if is_dynamic else 10.136)
    dataset.FlipAngle = _decimal(scanner.flip_deg if is_dynamic else 90)
    dataset.NumberOfAverages = "1"
    dataset.ImagedNucleus = "1H"
    dataset.ReconstructionDiameter = _decimal(scanner.fov_mm)
    dataset.AcquisitionMatrix = [0, stack.rows, stack.columns, 0]
    dataset.ImagesInAcquisition = stack.slices
    if series.phase:
        dataset.ContrastBolusAgent = scanner.contrast_agent
        dataset.ContrastBolusVolume = _decimal(scanner.contrast_ml)
    if is_dynamic and scanner.tells_temporal_position:
        dataset.TemporalPositionIdentifier = (series.phase or 0) + 1
        dataset.NumberOfTemporalPositions = len(protocol.phases)
    _add_slice_spacing(dataset, scanner, series)


def _add_slice_spacing(dataset: Dataset, scanner: Scanner, series: Series) -> None:
    if series.phase is None:
        dataset.SliceThickness = _decimal(series.stack.spacing_mm)
    else:
        dataset.SliceThickness = _decimal(scanner.slice_thickness_mm)
    if scanner.tells_slice_spacing or series.phase is None:
        dataset.SpacingBetweenSlices = _decimal(series.stack.spacing_mm)


def _add_image_plane(dataset: Dataset, stack: SliceStack) -> None:
    dataset.ImageOrientationPatient = [_decimal(v, 9) for v in stack.orientation]
    dataset.PixelSpacing = [_decimal(stack.pixel_mm)] * 2
    dataset.Rows, dataset.Columns = stack.rows, stack.columns
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16


def _add_pixel_format(dataset: Dataset, *, unsigned: bool) -> None:
    # GE stores signed 16-bit values, Siemens unsigned 12-bit ones.
    dataset.BitsStored = 12 if unsigned else 16
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0 if unsigned else 1


def _position(stack: SliceStack, index: int) -> dict[str, bytes]:
    origin = stack.origin(index)
    return {
        "ImagePositionPatient": "\\".join(_decimal(v) for v in origin).encode(),
        "SliceLocation": _decimal(float(np.dot(origin, stack.normal))).encode(),
    }


def _pixels(pixels: NDArray[np.uint16], *, unsigned: bool) -> dict[str, bytes]:
    smallest, largest = int(pixels.min()), int(pixels.max())
    kind = "<H" if unsigned else "<h"
    return {
        "SmallestImagePixelValue": struct.pack(kind, smallest),
        "LargestImagePixelValue": struct.pack(kind, largest),
        "WindowCenter": str(largest // 2).encode(),
        "WindowWidth": str(largest).encode(),
        "PixelData": np.ascontiguousarray(pixels, "<u2").tobytes(),
    }


def _decimal(value: float, digits: int = 4) -> str:
    """Return a DICOM decimal string of at most 16 characters."""
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(seconds: float, with_fraction: bool) -> str:
    whole = int(seconds)
    text = f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}"
    return f"{text}.{round((seconds - whole) * 1e6):06d}" if with_fraction else text
