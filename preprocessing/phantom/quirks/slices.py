"""Quirks of single slices: twice there, missing, not numbered, of another size or place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from preprocessing.phantom.quirks.written import (
    Written,
    edit,
    other_uid,
    pixels_of,
    save,
    set_pixels,
)

_SHIFT_VOXELS = 3
_CORONAL = [1, 0, 0, 0, 0, -1]


def _duplicate_slices(written: Written) -> None:
    paths, series = written.phases[1], written.patient.protocol.phases[1]
    total = len(paths)
    for extra, index in enumerate((total // 4, total // 3)):
        _copy(paths[index], written.name(series, total + extra), total + extra + 1)
    same_number = paths[written.tumour_slice]
    _copy(same_number, _beside(same_number, "2"), written.tumour_slice + 1)


def _copy(path: Path, name: str, instance_number: int) -> None:
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


SPOIL: Mapping[str, Callable[[Written], None]] = {
    "duplicate-slices": _duplicate_slices,
    "missing-slice": _missing_slice,
    "constant-instance-number": _constant_instance_number,
    "no-instance-numbers": _no_instance_numbers,
    "mixed-matrix": _mixed_matrix,
    "mixed-series": _mixed_series,
    "phase-shifted": _phase_shifted,
}
