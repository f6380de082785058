"""A patient's files as they lie in the unfinished folder, and how quirks change them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from preprocessing.phantom.dicom_writer import make_uid
from preprocessing.phantom.file_names import file_name
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
