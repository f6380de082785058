"""Quirks of whole series: repeated, thrown together, joined by another examination's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from preprocessing.phantom.file_names import series_folder
from preprocessing.phantom.quirks.written import (
    Change,
    Written,
    edit,
    other_uid,
    pixels_of,
    save,
    set_pixels,
)

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


SPOIL: Mapping[str, Callable[[Written], None]] = {
    "series-repeated": _series_repeated,
    "one-folder": _one_folder,
    "one-folder-by-time": _one_folder_by_time,
    "two-studies": _two_studies,
    "first-pass-missing": _first_pass_missing,
    "first-pass-unreadable": _first_pass_unreadable,
}
