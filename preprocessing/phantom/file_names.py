"""Names of folders and files, as the NBIA tools write them in classic or descriptive mode."""

from __future__ import annotations

from pathlib import Path


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
