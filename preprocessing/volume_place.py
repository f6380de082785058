"""Whether the header of a NIfTI, NRRD or other volume file says where its voxels lie."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

_NRRD_MAGIC = b"NRRD"
# An NRRD's header is text, up to the first empty line; none is as long as this.
_LONGEST_HEADER = 1_000_000


def tells_place(path: Path) -> bool:
    """Tell whether a file's header says where its voxels lie; the file can be read.

    It does not where a NIfTI file has neither qform nor sform, an NRRD file no space directions or
    no space origin, and where the place is what programs write who know of none: voxels of 1 mm
    along the axes, the first at the origin.
    """
    if path.name.lower().endswith((".nii", ".nii.gz")):
        image = nibabel.load(path)
        header = image.header
        codes = [int(header[k]) for k in ("qform_code", "sform_code") if k in header]
        return any(codes) and not np.array_equal(np.abs(image.affine), np.eye(4))
    fields = _nrrd_fields(path)
    if fields is not None and not {"space directions", "space origin"} <= fields:
        return False
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    size = reader.GetDimension()
    values = (*reader.GetDirection(), *reader.GetSpacing(), *reader.GetOrigin())
    unknown = (*np.eye(size).ravel(), *np.ones(size), *np.zeros(size))
    return not np.array_equal(np.abs(values), unknown)


def _nrrd_fields(path: Path) -> set[str] | None:
    """Return the names of an NRRD header's fields; None of another file."""
    with path.open("rb") as file:
        if file.read(len(_NRRD_MAGIC)) != _NRRD_MAGIC:
            return None
        file.seek(0)
        text = file.read(_LONGEST_HEADER).replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    lines = text.decode("latin-1").splitlines()
    return {line.partition(":")[0].strip().lower() for line in lines if ":" in line}
