"""The layouts of cohorts on disk. A new layout is a module here and a line in `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocessing.cohort import duke, mama_mia, manifest
from preprocessing.cohort.cohort import Cohort
from preprocessing.cohort.options import NOTHING_SAID, TableOptions
from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage.files import exists, to_path


@dataclass(frozen=True)
class Layout:
    """A way cohorts lie on disk: how to recognise it and how to read it."""

    name: str
    expects: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, TableOptions], Cohort]


LAYOUTS = (
    # Before Duke, whose name for the clinical workbook is a loose one.
    Layout("mama-mia", mama_mia.EXPECTS, mama_mia.recognises, mama_mia.read),
    Layout("duke", duke.EXPECTS, duke.recognises, duke.read),
    Layout("manifest", manifest.EXPECTS, manifest.recognises, manifest.read),
)


def read_cohort(place: str | Path, options: TableOptions = NOTHING_SAID) -> Cohort:
    """Read a cohort of any known layout; images are found but not opened.

    Parameters
    ----------
    place
        Folder or file on this machine, or a URL such as ``s3://bucket/prefix``.
    options
        What the user says of columns and labels.

    Returns
    -------
    The cohort; what is wrong with one patient is a finding of that patient.

    Raises
    ------
    MissingPathError
        If there is nothing at `place`.
    InputError
        If no layout recognises it, or several do, or its tables cannot be used.
    """
    path = to_path(place)
    if not exists(str(path)):
        raise MissingPathError(f"no cohort at {path}: name a folder or a manifest CSV that exists")
    layout = layout_of(path)
    if layout is None:
        expected = "; or ".join(layout.expects for layout in LAYOUTS)
        raise InputError(f"{path} is not a recognised cohort: expected {expected}")
    return layout.read(path, options)


def layout_of(path: Path) -> Layout | None:
    """Return the layout that recognises a place, None where none does.

    Raises
    ------
    InputError
        If several do.
    """
    found = [layout for layout in LAYOUTS if layout.recognises(path)]
    if len(found) > 1:
        names = " and ".join(layout.name for layout in found)
        raise InputError(
            f"{path} has the tables of several layouts ({names}): name the manifest file itself to use it,"
            " or move what is not the cohort's out of this folder"
        )
    return found[0] if found else None


def check_no_tables(folder: Path) -> None:
    """Refuse a folder that has a cohort's tables already: a manifest in it would be a second one.

    Raises
    ------
    InputError
        If it has some.
    """
    found = [
        *(("manifest", p) for p in manifest.tables_in(folder)),
        *(("Duke-Breast-Cancer-MRI", p) for p in duke.tables_in(folder)),
        *(("MAMA-MIA", p) for p in mama_mia.tables_in(folder)),
    ]
    if found:
        name, path = found[0]
        raise InputError(
            f"{folder} has the table of a cohort ({name}, {path.name}) already: try 'radiotrain cohort"
            " check', or move it out of this folder"
        )
