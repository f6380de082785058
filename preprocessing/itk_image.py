"""Voxels and place of NRRD and MetaImage files, and of the few other formats, by ITK."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort import Finding
from preprocessing.itk_header import ItkHeader
from preprocessing.volume_data import (
    NO_GEOMETRY,
    VolumeData,
    check_affine,
    check_axes,
    check_size,
    note,
    refused,
)

# What it tells people on the terminal, findings say in our words.
sitk.ProcessObject.SetGlobalWarningDisplay(False)

# Formats without headers of their own to look at, whose place ITK knows.
_OTHERS = {"GiplImageIO", "MINCImageIO", "VTKImageIO"}
# Kinds of an axis that ITK takes as several values a voxel.
_SEVERAL = {"list", "vector"}


def read_itk(path: Path, header: ItkHeader | None, what: str) -> VolumeData:
    """Read an image file by ITK.

    Parameters
    ----------
    header
        Of NRRD and MetaImage files.

    Raises
    ------
    UnreadableImageError
        If it is no image that can be used; anything else if it is damaged.
    """
    if header is None:
        image = _read(path, None, what)
        if image.GetNumberOfComponentsPerPixel() > 1:
            raise refused("image-not-scalar", f"{what} holds colours, expected one number a voxel")
        return _data(image, what, has_geometry=True)
    check_size(header.sizes, what)
    space = [n for axis, n in enumerate(header.sizes) if axis != header.phase_axis]
    check_axes(space, what)
    name = "NrrdImageIO" if header.is_nrrd else "MetaImageIO"
    axis = header.phase_axis
    kinds = header.fields.get("kinds", "").lower().split()
    if not header.is_nrrd or axis is None or (kinds and kinds[axis] in _SEVERAL):
        return _data(_read(path, name, what), what, has_geometry=header.has_geometry)
    with tempfile.TemporaryDirectory(prefix="radiotrain-") as folder:
        patched = Path(folder) / "patched.nhdr"
        patched.write_text(_patched(path, header), "utf-8", "surrogateescape")
        return _data(_read(patched, name, what), what, has_geometry=header.has_geometry)


def _patched(path: Path, header: ItkHeader) -> str:
    """Return a header that calls the axis of volumes a list, and finds the voxels where they are.

    ITK reads a fourth axis only if it is called so, or if all axes have the space's dimension.
    """
    assert header.phase_axis is not None
    kinds = ["domain"] * len(header.sizes)
    kinds[header.phase_axis] = "list"
    left_out = ("kinds:", "data file:", "datafile:", "line skip:", "content:", "units:", "labels:")
    lines = [
        line
        for line in header.lines
        if line.strip() and ":=" not in line and not line.lower().startswith(left_out)
    ]
    lines.append(f"kinds: {' '.join(kinds)}")
    if len(header.data_files) > 1:
        raise refused("image-not-scalar", "several files of voxels with an axis of unknown kind")
    if header.data_files:
        skip = int(header.fields.get("line skip", "0"))
        data = (path.parent / header.data_files[0]).resolve()
    else:
        skip, data = header.num_lines, path.resolve()
    lines += [f"line skip: {skip}"] if skip else []
    lines.append(f"data file: {data}")
    return "\n".join(lines) + "\n"


def _read(path: Path, name: str | None, what: str) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    if name is None:
        name = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if name not in _OTHERS:
            message = f"{what} cannot be read: its content is no NIfTI, NRRD or MetaImage"
            raise refused("image-unreadable", message)
    reader.SetImageIO(name)
    _execute(reader.ReadImageInformation, what)
    check_size((*reader.GetSize(), reader.GetNumberOfComponents()), what)
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()).lower():
        raise refused(
            "image-not-scalar", f"{what} holds complex values, expected one number a voxel"
        )
    return _execute(reader.Execute, what)


def _execute(action: Callable[[], Any], what: str) -> Any:
    try:
        return action()
    except RuntimeError as error:
        # ITK's own words hold addresses of memory, and whatever the header says.
        message = f"{what} cannot be read: its header or its voxels are damaged"
        raise refused("image-unreadable", message) from error


def _data(image: sitk.Image, what: str, *, has_geometry: bool) -> VolumeData:
    with np.errstate(over="ignore", invalid="ignore"):
        voxels: NDArray[np.float32] = sitk.GetArrayFromImage(image).astype(np.float32)
    dimension = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1 and dimension == 3:
        voxels = np.moveaxis(voxels, 3, 0)
    elif dimension == 3:
        voxels = voxels[None]
    elif dimension != 4 or image.GetNumberOfComponentsPerPixel() > 1:
        raise refused("image-not-3d", f"{what} has shape {image.GetSize()}, expected 3D")
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    directions = directions * np.array(image.GetSpacing()[:3])
    affine = np.column_stack([directions[:, [1, 0, 2]], image.GetOrigin()[:3]])
    check_affine(affine, what)
    findings: tuple[Finding, ...] = ()
    if not has_geometry:
        message = (
            f"{what} does not tell its whole place and orientation: what it lacks is taken as 0, and as"
            " left, posterior, superior"
        )
        findings = (note(NO_GEOMETRY, message),)
    # (volume, z, y, x) to (y, x, z, volume)
    return VolumeData(voxels.transpose(2, 3, 1, 0), affine, findings, has_geometry)
