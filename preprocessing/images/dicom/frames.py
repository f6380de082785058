"""Multi-frame DICOM: each frame's values, under the names that a classic file of one slice has.

DICOM part 3, C.7.6.16 (multi-frame functional groups): what holds for all frames stands once, what
differs stands frame by frame, and the frame's own value wins. Enhanced MR names some attributes
otherwise than MR; they are given the classic names here, so that one parser reads both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

# What the frames' values are taken from.
FRAME_KEYWORDS = (
    "ContrastBolusAgentSequence", "DimensionIndexSequence", "PerFrameFunctionalGroupsSequence",
    "PulseSequenceName", "SharedFunctionalGroupsSequence",
)  # fmt: skip
# Functional group to its attributes, each under the name that classic files have for it.
_GROUPS: Mapping[str, Mapping[str, str]] = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PixelValueTransformationSequence": {
        "RescaleIntercept": "RescaleIntercept",
        "RescaleSlope": "RescaleSlope",
        "RescaleType": "RescaleType",
    },
    "MRImageFrameTypeSequence": {
        "FrameType": "ImageType",
        "ComplexImageComponent": "ComplexImageComponent",
    },
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "TemporalPositionSequence": {"TemporalPositionTimeOffset": "TemporalPositionTimeOffset"},
    "FrameContentSequence": {
        "FrameAcquisitionDateTime": "FrameAcquisitionDateTime",
        "FrameReferenceDateTime": "FrameReferenceDateTime",
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "TemporalPositionIndex": "TemporalPositionIndex",
        "StackID": "StackID",
        "InStackPositionNumber": "InStackPositionNumber",
        "DimensionIndexValues": "DimensionIndexValues",
    },
}
# Where legacy converted files keep the attributes of the classic files they were made of.
_UNASSIGNED = {
    k: k
    for k in ("AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime", "EchoTime",
              "InstanceNumber", "SequenceName", "TemporalPositionIdentifier", "TriggerTime")
}  # fmt: skip
_UNASSIGNED_GROUPS = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
# What a dimension can be an index of that tells one time from another, most telling first.
_TIMES = ("TemporalPositionIndex", "TemporalPositionTimeOffset", "TemporalPositionIdentifier",
          "TriggerTime")  # fmt: skip
_MOMENT = ("AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime")
PHILIPS_CREATOR = "Philips MR Imaging DD 001"
_PHILIPS_GROUP = 0x2005
_PHILIPS_FRAME_SEQUENCE = 0x2005140F
# Distances in mm below which two positions are one.
_DIGITS = 3


def text_of(data: Dataset, keywords: Iterable[str]) -> dict[str, str]:
    """Return elements that have a value as text, several values parted by backslashes."""
    found = {}
    for keyword in keywords:
        value = data.get(keyword)
        if value is not None:
            many = isinstance(value, (list, tuple, MultiValue))
            found[keyword] = "\\".join(map(str, value)) if many else str(value)
    return found


def philips_scale_slope(data: Dataset) -> float | None:
    """Return Philips's Scale Slope (2005,100E), None where there is none."""
    try:
        return float(data.private_block(_PHILIPS_GROUP, PHILIPS_CREATOR)[0x0E].value)
    except (KeyError, TypeError, ValueError):
        return None


def frame_values(data: Dataset, top: Mapping[str, str]) -> list[dict[str, str]]:
    """Return each frame's elements as text, in the order of frames.

    Parameters
    ----------
    data
        The file's header.
    top
        Its elements that concern all frames, by keyword.

    Returns
    -------
    By keyword, as a classic file would have them; besides `StackID`, `PhilipsScaleSlope`, and
    `TimeOffset`, seconds after the acquisition's time where all frames tell the same one. Elements
    that the file does not tell are not there.
    """
    own = data.get("PerFrameFunctionalGroupsSequence") or []
    shared_items = data.get("SharedFunctionalGroupsSequence") or [Dataset()]
    shared = dict(top)
    if "PulseSequenceName" in data:
        shared["SequenceName"] = str(data.PulseSequenceName)
    if data.get("ContrastBolusAgentSequence"):
        shared["ContrastBolusAgent"] = "named"
    shared |= _group_values(shared_items[0])
    pointers = _dimension_pointers(data)
    frames = [shared | _group_values(item) for item in own]
    for values in frames:
        _name_as_classic(values, pointers)
    _number_times(frames)
    _number_slices(frames)
    return frames


def _group_values(item: Dataset) -> dict[str, str]:
    found: dict[str, str] = {}
    for group in _UNASSIGNED_GROUPS:
        found |= _renamed(item.get(group), _UNASSIGNED)
    for group, names in _GROUPS.items():
        found |= _renamed(item.get(group), names)
    usage = item.get("ContrastBolusUsageSequence")
    if usage:
        given = any(u.get("ContrastBolusAgentAdministered") == "YES" for u in usage)
        found["ContrastBolusAgent"] = "administered" if given else ""
    if item.get("ModalityLUTSequence"):
        found["ModalityLUTSequence"] = "sequence"
    private = item.get(_PHILIPS_FRAME_SEQUENCE)
    if private is not None and private.VR == "SQ" and private.value:
        scale = philips_scale_slope(private.value[0])
        if scale is not None:
            found["PhilipsScaleSlope"] = repr(scale)
    return found


def _renamed(group: Sequence[Dataset] | None, names: Mapping[str, str]) -> dict[str, str]:
    if not group:
        return {}
    return {names[k]: text for k, text in text_of(group[0], names).items()}


def _dimension_pointers(data: Dataset) -> dict[int, int]:
    """Return the attribute's tag to its place among DimensionIndexValues."""
    dimensions = data.get("DimensionIndexSequence") or []
    pointers = (d.get("DimensionIndexPointer") for d in dimensions)
    return {int(p): i for i, p in enumerate(pointers) if p is not None}


def _name_as_classic(values: dict[str, str], pointers: Mapping[int, int]) -> None:
    """Put enhanced attributes under their classic names."""
    indices = [v for v in values.get("DimensionIndexValues", "").split("\\") if v]

    def index_of(keyword: str) -> str | None:
        place = pointers.get(int(tag_for_keyword(keyword) or 0))
        return indices[place] if place is not None and place < len(indices) else None

    told = (values.get("TemporalPositionIndex"), *map(index_of, _TIMES))
    position = next((t for t in told if t), None)
    if position is not None:
        values["TemporalPositionIdentifier"] = position
    number = values.get("InStackPositionNumber") or index_of("InStackPositionNumber")
    if number:
        values["InStackPositionNumber"] = number
    values["StackID"] = values.get("StackID") or index_of("StackID") or ""
    moment = values.get("FrameAcquisitionDateTime") or values.get("FrameReferenceDateTime")
    if moment:
        values["AcquisitionDateTime"] = moment
        for keyword in ("AcquisitionDate", "AcquisitionTime"):
            values.pop(keyword, None)
    component = values.get("ComplexImageComponent", "MAGNITUDE").strip().upper()
    image_type = values.get("ImageType", "")
    if component not in ("", "MAGNITUDE") and component not in image_type.upper().split("\\"):
        # Phase, real and imaginary images differ from the magnitude in nothing else.
        values["ImageType"] = f"{image_type}\\{component}"


def _number_times(frames: Sequence[dict[str, str]]) -> None:
    """Give frames a temporal position by their offset where nothing else does, and count these."""
    offsets = sorted({o for f in frames if (o := _offset(f)) is not None})
    if len(offsets) > 1 and not any("TemporalPositionIdentifier" in f for f in frames):
        rank = {offset: str(i) for i, offset in enumerate(offsets, start=1)}
        for values in frames:
            offset = _offset(values)
            if offset is not None:
                values["TemporalPositionIdentifier"] = rank[offset]
    positions = [f.get("TemporalPositionIdentifier") or "" for f in frames]
    # The largest and not their number: frames of some may be missing.
    last = max((int(p) for p in positions if p.isascii() and p.isdecimal()), default=None)
    moments = {tuple(f.get(k) for k in _MOMENT) for f in frames}
    for values in frames:
        if last is not None:
            values["NumberOfTemporalPositions"] = str(last)
        offset = _offset(values)
        if offset is not None:
            values.setdefault("TriggerTime", str(offset * 1000))
            if len(moments) == 1:
                values["TimeOffset"] = str(offset)


def _offset(values: Mapping[str, str]) -> float | None:
    """Return seconds since the temporal series began."""
    text = values.get("TemporalPositionTimeOffset")
    return float(text) if text else None


def _number_slices(frames: Sequence[dict[str, str]]) -> None:
    """Give each slice of a stack the number that a viewer counts.

    By InStackPositionNumber where that tells positions apart; else by the number that the slice had
    in the classic file it comes from; else in order of position, the way that the file runs.
    """
    stacks: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    for values in frames:
        orientation = values.get("ImageOrientationPatient")
        if orientation and values.get("ImagePositionPatient"):
            stacks[values["StackID"], orientation].append(values)
    for stack in stacks.values():
        depths = _depths(stack)
        for keyword in ("InStackPositionNumber", "InstanceNumber"):
            if _tells_apart([f.get(keyword) for f in stack], depths):
                numbers = [f[keyword] for f in stack]
                break
        else:
            numbers = _ranks(depths)
        for values, number in zip(stack, numbers, strict=True):
            values["InstanceNumber"] = number


def _depths(stack: Sequence[Mapping[str, str]]) -> list[float]:
    directions = np.array(stack[0]["ImageOrientationPatient"].split("\\"), dtype=float)
    normal = np.cross(directions[:3], directions[3:])
    positions = np.array([f["ImagePositionPatient"].split("\\") for f in stack], dtype=float)
    depths: list[float] = (np.round(positions @ normal, _DIGITS) + 0.0).tolist()
    return depths


def _tells_apart(numbers: Sequence[str | None], depths: Sequence[float]) -> bool:
    """Tell whether each number is there and belongs to one position only."""
    if not all(n and n.isdigit() for n in numbers):
        return False
    pairs = set(zip(numbers, depths, strict=True))
    return len(pairs) == len({n for n, _ in pairs})


def _ranks(depths: Sequence[float]) -> list[str]:
    in_file = list(dict.fromkeys(depths))
    runs_down = len(in_file) > 1 and all(a > b for a, b in pairwise(in_file))
    rank = {d: i for i, d in enumerate(sorted(in_file, reverse=runs_down), start=1)}
    return [str(rank[d]) for d in depths]
