"""The collection's workbook that says which file of the original study each TCIA file was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from openpyxl import Workbook

from preprocessing.phantom.dicom_writer import SeriesWriter
from preprocessing.phantom.patient import PhantomPatient
from preprocessing.phantom.workbooks import encode

NAME = "Breast-Cancer-MRI-filepath_filename-mapping.xlsx"

_COLUMNS = ("original_path_and_filename", "classic_path", "descriptive_path", "sop_instance_UID")


def mapping_workbook(
    collection: str, patients: Iterable[tuple[PhantomPatient, list[SeriesWriter]]]
) -> bytes:
    """Return the workbook, a row a file.

    Parameters
    ----------
    collection
        Name of the folder that TCIA's paths begin with.
    patients
        Each with the writers of its series.
    """
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Sheet1"
    sheet.append(_COLUMNS)
    for patient, writers in patients:
        for writer in writers:
            for row in _rows(collection, patient.patient_id, writer):
                sheet.append(row)
    return encode(book)


def _rows(collection: str, patient_id: str, writer: SeriesWriter) -> Iterator[tuple[str, ...]]:
    phase = writer.series.phase
    word = "T1" if phase is None else f"post_{phase}" if phase else "pre"
    folder = Path(collection) / patient_id
    for index in range(writer.series.stack.slices):
        number = writer.stored_index(index) + 1
        # Three digits, however the download names its files.
        name = f"1-{number:03d}.dcm"
        yield (
            f"DICOM_Images/{patient_id}/{word}/{patient_id}_{word}_{number:04d}.dcm",
            str(folder / writer.folder("classic") / name),
            str(folder / writer.folder("descriptive") / name),
            str(writer.sop_uid(index)),
        )
