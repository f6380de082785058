"""Cohort layouts, one file each. A new layout is a file here and a line in `LAYOUTS`.

===============  ============================================================================
``duke.py``      Duke-Breast-Cancer-MRI as TCIA ships it; `duke_tables.py` its two workbooks,
                 `duke_mapping.py` its table of file paths
``mama_mia.py``  MAMA-MIA
``manifest.py``  anyone's own cohort as one CSV
``values.py``    how tables write labels, numbers and nothing
===============  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocessing.cohort import Cohort
from preprocessing.errors import InputError, MissingPathError
from preprocessing.files import exists, to_path
from preprocessing.readers import duke, mama_mia, manifest


@dataclass(frozen=True)
class Layout:
    """A way cohorts lie on disk: how to recognise it and how to read it."""

    name: str
    expects: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Cohort]


LAYOUTS = (
    # Before Duke, whose name for the clinical workbook is a loose one.
    Layout("mama-mia", mama_mia.EXPECTS, mama_mia.recognises, mama_mia.read),
    Layout("duke", duke.EXPECTS, duke.recognises, duke.read),
    Layout("manifest", manifest.EXPECTS, manifest.recognises, manifest.read),
)


def read_cohort(place: str | Path) -> Cohort:
    """Read a cohort of any known layout; images are found but not opened.

    Parameters
    ----------
    place
        Folder or file on this machine, or a URL such as ``s3://bucket/prefix``.

    Raises
    ------
    MissingPathError
        If there is nothing at `place`.
    InputError
        If no layout recognises it, or its tables cannot be used.
    """
    path = to_path(place)
    if not exists(str(path)):
        raise MissingPathError(f"no cohort at {path}: name a folder or a manifest CSV that exists")
    for layout in LAYOUTS:
        if layout.recognises(path):
            return layout.read(path)
    expected = "; or ".join(layout.expects for layout in LAYOUTS)
    raise InputError(f"{path} is no cohort that can be read: expected {expected}")
