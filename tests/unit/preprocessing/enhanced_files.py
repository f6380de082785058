"""Enhanced MR files as scanners write them, with pydicom alone; every voxel's value is known."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

SPACING_MM, SLICE_MM = (1.5, 1.25), 2.0
ORIGIN_MM = np.array([-20.0, -10.0, 5.0])
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TAGS = {
    "StackID": 0x00209056,
    "InStackPositionNumber": 0x00209057,
    "TemporalPositionIndex": 0x00209128,
    "TemporalPositionTimeOffset": 0x0020930D,
}


def group(**values):
    """A functional group: a sequence of one item."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return [item]


def time_of(phase):
    """Acquisition of a phase, 90 s apart."""
    seconds = 36_000 + 90 * phase
    return f"20200101{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}.000000"


def write_enhanced(
    path,
    phases,
    *,
    vendor="siemens",
    order=None,
    description="ax dyn",
    number=5,
    study="1.2.3",
    series=None,
    first_phase=0,
    slopes=None,
    scale_slopes=None,
    frame_types=None,
    orientation=AXIAL,
    edit=None,
    edit_frame=None,
    syntax=ExplicitVRLittleEndian,
    encode=None,
):
    """Write stored volumes (row, column, slice), one a phase, as frames of one file.

    Parameters
    ----------
    vendor
        ``siemens``: what frames share stands once; times and temporal positions told.
        ``philips``: everything frame by frame, scale slope in a private sequence.
        ``ge``: the temporal position by its dimension and time offset alone.
    order
        (phase, slice) of each frame; all of them in order of time and place otherwise.
    slopes
        (slope, intercept) of each phase.
    edit, edit_frame
        Change the header; change a frame's groups, given phase and slice.
    encode
        Compresses one frame's bytes.
    """
    rows, columns, count = phases[0].shape
    order = order or [(p, s) for p in range(len(phases)) for s in range(count)]
    normal = np.cross(orientation[:3], orientation[3:])
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = EnhancedMRImageStorage, generate_uid()
    ds.ImageType, ds.Modality = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "MR"
    ds.Manufacturer, ds.MagneticFieldStrength = vendor.upper(), 3.0
    ds.StudyDate = ds.ContentDate = "20200101"
    ds.StudyTime, ds.ContentTime = "090000", "110000"
    ds.AcquisitionDateTime = time_of(0)
    ds.PatientID, ds.PatientName, ds.PatientBirthDate = "P1", "Secret^Name", "19610203"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series or generate_uid()
    ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = description, number, 1
    ds.FrameOfReferenceUID = study
    ds.NumberOfFrames, ds.Rows, ds.Columns = len(order), rows, columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.PulseSequenceName = "fl3d1"
    dimensions = ["StackID", "InStackPositionNumber", "TemporalPositionIndex"]
    ds.DimensionIndexSequence = [
        group(DimensionIndexPointer=Tag(TAGS[k]), FunctionalGroupPointer=Tag(0x00209111))[0]
        for k in dimensions
    ]
    shared, told_once = (
        Dataset(),
        {
            "PixelMeasuresSequence": group(PixelSpacing=list(SPACING_MM), SliceThickness=SLICE_MM),
            "PlaneOrientationSequence": group(ImageOrientationPatient=list(orientation)),
            "MREchoSequence": group(EffectiveEchoTime=1.8),
        },
    )
    ds.PerFrameFunctionalGroupsSequence, planes = [], []
    for p, s in order:
        frame = Dataset()
        for keyword, value in told_once.items():
            setattr(shared if vendor == "siemens" else frame, keyword, value)
        slope, intercept = slopes[p] if slopes else (1, 0)
        frame.PixelValueTransformationSequence = group(
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US"
        )
        content = Dataset()
        content.DimensionIndexValues = [1, s + 1, first_phase + p + 1]
        if vendor != "ge":
            content.StackID, content.InStackPositionNumber = "1", s + 1
            content.TemporalPositionIndex = first_phase + p + 1
            content.FrameAcquisitionDateTime = time_of(first_phase + p)
        else:
            frame.TemporalPositionSequence = group(
                TemporalPositionTimeOffset=90.0 * (first_phase + p)
            )
        frame.FrameContentSequence = [content]
        position = (ORIGIN_MM + normal * SLICE_MM * s).tolist()
        frame.PlanePositionSequence = group(ImagePositionPatient=position)
        kind = frame_types[p] if frame_types else ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        frame.MRImageFrameTypeSequence = group(FrameType=kind, ComplexImageComponent="MAGNITUDE")
        given = "YES" if first_phase + p else "NO"
        frame.ContrastBolusUsageSequence = group(
            ContrastBolusAgentNumber=1, ContrastBolusAgentAdministered=given
        )
        if scale_slopes:
            private = Dataset()
            block = private.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
            block.add_new(0x0E, "FL", scale_slopes[p])
            frame.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
            frame.add_new(0x2005140F, "SQ", [private])
        if edit_frame is not None:
            edit_frame(frame, p, s)
        ds.PerFrameFunctionalGroupsSequence.append(frame)
        planes.append(np.ascontiguousarray(phases[p][:, :, s]))
    ds.SharedFunctionalGroupsSequence = [shared]
    if edit is not None:
        edit(ds)
    raw = [plane.astype(f"<u{ds.BitsAllocated // 8}").tobytes() for plane in planes]
    if encode is None:
        ds.PixelData = b"".join(raw)
        ds["PixelData"].VR = "OW"
    else:
        ds.PixelData = encapsulate([encode(plane, ds) for plane in raw])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path
