"""NIfTI-1 and NIfTI-2 files: what their headers say, and their voxels.

Where sform and qform disagree, ITK's rule decides which of them places the image, so that
the image lies where 3D Slicer and ITK-SNAP show it.

References
----------
ITK 5.4, ``NiftiImageIO::SetImageIOOrientationFromNIfTI``.
https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Finding
from preprocessing.images.volumes import (
    NO_GEOMETRY,
    VolumeData,
    check_affine,
    check_axes,
    check_size,
    check_spacing,
    note,
    refused,
)

# It tells people on the terminal what it mends in headers; the findings say that.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
_GZIP = b"\x1f\x8b"
# Some files have a little more after their voxels.
_LARGEST_REST, _CHUNK = 1 << 26, 1 << 20
# A deflate stream unpacks to at most 1032 times its size.
_LARGEST_RATIO = 1040
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown, metre, millimetre, micrometre
_SECONDS = 8
# What writers put where they know no time is 0 or 1.
_SHORTEST_INTERVAL_S, _LONGEST_INTERVAL_S = 2.0, 600.0
_NOT_SCALAR = {32: "complex", 1792: "complex", 2048: "complex", 128: "RGB", 2304: "RGBA"}
# Of ITK: directions, voxel sizes in mm, offsets.
_ORTHONORMAL, _SCALES_MM, _VERY_SIMILAR = 1e-4, 1e-3, 1e-4
# Two placements apart by less, at any corner, differ by rounding.
_APART_VOXELS = 0.1


@dataclass(frozen=True)
class _Placement:
    """A 3×4 affine from (i, j, k, 1) to RAS mm, and what is to be said about it."""

    affine: NDArray[np.float64]
    findings: tuple[Finding, ...] = ()
    has_geometry: bool = True


def is_nifti(path: Path) -> bool:
    """Tell whether a file is called NIfTI."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def count_volumes(file: IO[bytes], what: str) -> int:
    """Return how many volumes a NIfTI file holds by its header.

    Raises
    ------
    UnreadableImageError
        If it is no image that can be used; anything else if it is damaged.
    """
    start = file.read(4096)
    if start.startswith(_GZIP):
        file.seek(0)
        with gzip.GzipFile(fileobj=file) as unpacked:
            start = unpacked.read(540)
    sizes = _check_header(_parse(start), what)
    return sizes[3] if len(sizes) == 4 else 1


def read_nifti(path: Path, what: str, voxels_in: Path | None = None) -> VolumeData:
    """Read a NIfTI file.

    Parameters
    ----------
    what
        The file's name for findings.
    voxels_in
        The other file of a pair (``.hdr`` and ``.img``).

    Raises
    ------
    UnreadableImageError
        If it is no image that can be used; anything else if it is damaged.
    """
    with _unpacked(path) as stream:
        header = _parse(stream.read(540))
    sizes = _check_header(header, what)
    source = voxels_in or path
    _check_length(header, source, what, is_pair=voxels_in is not None)
    placement = _place(header, what)
    with _unpacked(source) as stream, np.errstate(over="ignore", invalid="ignore"):
        voxels = np.asarray(ArrayProxy(stream, header), dtype=np.float32)
        if isinstance(stream, gzip.GzipFile):
            # What is packed is compared with its checksum at its end only.
            _read_to_end(stream)
    voxels = voxels.reshape((*sizes[:3], -1), order="F")
    affine = _LPS_FROM_RAS @ placement.affine
    return VolumeData(
        voxels=voxels.swapaxes(0, 1),
        affine=affine[:, [1, 0, 2, 3]],
        findings=placement.findings,
        has_geometry=placement.has_geometry,
        interval_s=_interval(header),
    )


def _read_to_end(stream: gzip.GzipFile) -> None:
    left = _LARGEST_REST
    while left > 0 and (read := len(stream.read(_CHUNK))):
        left -= read
    if left <= 0:
        raise ValueError("it is longer than its header says")


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked if its content, whatever its name, is packed."""
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
        file.seek(0)
        if not is_packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked  # type: ignore[misc]


def _parse(start: bytes) -> Any:
    """Return a header, unchecked: nibabel would mend what findings have to tell."""
    for kind, length in ((nibabel.Nifti1Header, 348), (nibabel.Nifti2Header, 540)):
        for order in ("little", "big"):
            if int.from_bytes(start[:4], order) == length and len(start) >= length:
                header = kind(start[:length], "<" if order == "little" else ">", check=False)
                if bytes(header["magic"].item())[:2] in (b"n+", b"ni"):
                    return header
    raise ValueError("its content is no NIfTI")


def _dims(header: Any) -> tuple[int, ...]:
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise ValueError(f"its header has {dims[0]} dimensions")
    return tuple(dims[1 : dims[0] + 1])


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop axes of length 1 at the end, down to three."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _check_header(header: Any, what: str) -> tuple[int, ...]:
    """Return the sizes: three, or four where there are several volumes."""
    code = int(header["datatype"])
    if code in _NOT_SCALAR:
        message = f"{what} holds {_NOT_SCALAR[code]} values, expected one number a voxel"
        raise refused("image-not-scalar", message)
    shape = _dims(header)
    check_size(shape, what)
    sizes = _without_ones(shape)
    shown = " × ".join(str(n) for n in shape)
    if not 3 <= len(sizes) <= 4:
        message = f"{what} has shape {shown}, expected 3D, or 4D with its phases along the fourth"
        raise refused("image-not-3d", message)
    check_axes(sizes[:3], what)
    if len(sizes) == 4 and sizes[3] > sizes[2]:
        message = (
            f"{what} has shape {shown}, more volumes than slices: its slices and phases seem to have"
            " changed places"
        )
        raise refused("phases-unclear", message)
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise refused("image-unreadable", f"{what} has an infinite scl_slope or scl_inter")
    scale = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    check_spacing([float(v) * scale for v in header["pixdim"][1:4]], what)
    return sizes


def _check_length(header: Any, path: Path, what: str, *, is_pair: bool) -> None:
    """Refuse a file that is shorter than its header says, before memory is taken for it."""
    begin = float(header["vox_offset"])
    is_single = bytes(header["magic"].item()).startswith(b"n+")
    if is_single == is_pair:
        raise ValueError("its header says that its voxels lie in another file than they do")
    if not (0 if is_pair else int(header["sizeof_hdr"])) <= begin <= 2**40:
        raise ValueError("its header says no place of its voxels")
    item = header.get_data_dtype().itemsize
    needed = int(begin) + math.prod(_dims(header)) * item
    there = path.stat().st_size
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
    if needed > (there * _LARGEST_RATIO if is_packed else there):
        message = f"{what} cannot be read: it is shorter than its header says"
        raise refused("image-unreadable", message)


def _interval(header: Any) -> float | None:
    """Return the seconds between volumes, where the header tells them as seconds."""
    if int(header["xyzt_units"]) & 0x38 != _SECONDS:
        return None
    step = float(header["pixdim"][4])
    return step if _SHORTEST_INTERVAL_S <= step <= _LONGEST_INTERVAL_S else None


def _place(header: Any, what: str) -> _Placement:
    """Choose between sform and qform as ITK does."""
    scale = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    spacing = np.array([float(v) for v in header["pixdim"][1:4]])
    has_q, has_s = int(header["qform_code"]) > 0, int(header["sform_code"]) > 0
    if not has_q and not has_s:
        message = f"{what} does not tell its place and orientation (qform and sform codes are 0)"
        found = note(NO_GEOMETRY, f"{message}: taken as left, posterior, superior")
        affine = np.column_stack([np.diag(spacing) * [-1, -1, 1], np.zeros(3)])
        return _Placement(affine * scale, (found,), has_geometry=False)
    s, q = _sform(header), _qform(header, spacing)
    prefers_s = _prefers_sform(s, q, header)
    if not prefers_s and not has_q:
        # ITK refuses these; axes a little off are fine here, `check_affine` refuses the others.
        prefers_s = True
    if not prefers_s:
        chosen = q
    elif _norms_differ(s, spacing) and _is_orthonormal(s):
        # ITK takes the directions of the sform, and the sizes of pixdim.
        norms = np.linalg.norm(s[:, :3], axis=0)
        chosen = np.column_stack([s[:, :3] / norms * spacing, s[:, 3]])
    else:
        chosen = s
    check_affine(chosen * scale, what)
    return _Placement(chosen * scale, _differences(s, q, chosen, header, what))


def _differences(
    s: NDArray[np.float64],
    q: NDArray[np.float64],
    chosen: NDArray[np.float64],
    header: Any,
    what: str,
) -> tuple[Finding, ...]:
    """Say by how much the placements differ."""
    has_q, has_s = int(header["qform_code"]) > 0, int(header["sform_code"]) > 0
    told = ([s] if has_s and np.isfinite(s).all() else []) + ([q] if has_q else [])
    apart = max((_apart_voxels(chosen, other, _dims(header)) for other in told), default=0.0)
    if has_s and not np.isfinite(s).all():
        apart = np.inf
    if apart <= _APART_VOXELS:
        return ()
    used = "qform" if chosen is q else "sform"
    message = (
        f"{what} has several placements in its header (sform, qform, pixdim) that differ by"
        f" {apart:.1f} voxels: the {used} is used, as ITK does"
    )
    return (note("nifti-transforms-differ", message),)


def _apart_voxels(
    one: NDArray[np.float64], other: NDArray[np.float64], dims: tuple[int, ...]
) -> float:
    """Return the largest distance of the corners, in the smallest voxel size."""
    ends = [(0, n - 1) for n in dims[:3]]
    corners = np.array([(i, j, k, 1) for i in ends[0] for j in ends[1] for k in ends[2]]).T
    smallest = np.linalg.norm(one[:, :3], axis=0).min()
    return float(np.linalg.norm((one - other) @ corners, axis=0).max() / smallest)


def _sform(header: Any) -> NDArray[np.float64]:
    return np.array([header[f"srow_{axis}"] for axis in "xyz"], dtype=np.float64)


def _qform(header: Any, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine of the quaternion, as ``nifti_quatern_to_mat44`` does."""
    b, c, d = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:
        length = np.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = np.sqrt(rest)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    signs = [1.0, 1.0, -1.0 if float(header["pixdim"][0]) < 0 else 1.0]
    offset = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return np.column_stack([rotation * spacing * signs, offset])


def _prefers_sform(s: NDArray[np.float64], q: NDArray[np.float64], header: Any) -> bool:
    """Decide as ITK does; the comments name its variables."""
    q_code, s_code = int(header["qform_code"]), int(header["sform_code"])
    # qform_sform_are_similar
    if np.abs(s[:, :3] - q[:, :3]).max() <= 1e-5 and np.abs(s[:, 3] - q[:, 3]).sum() <= 1e-7:
        return True
    if s_code <= 0 or not _is_orthonormal(s):  # sform_decomposable_without_skew
        return False
    if q_code <= 0 or s_code == 1:  # NIFTI_XFORM_SCANNER_ANAT
        return True
    return _are_very_similar(s, q)


def _are_very_similar(s: NDArray[np.float64], q: NDArray[np.float64]) -> bool:
    if not np.isfinite(q).all() or np.abs(s[:, 3] - q[:, 3]).max() > _VERY_SIMILAR:
        return False
    (su, sw, _), (qu, qw, _) = np.linalg.svd(s[:, :3]), np.linalg.svd(q[:, :3])
    if np.abs(sw - qw).max() > _VERY_SIMILAR:
        return False
    # The left singular vectors alone, as in ITK: axes that run the other way count as similar.
    return bool(np.abs(su @ np.linalg.inv(qu) - np.eye(3)).max() <= _VERY_SIMILAR)


def _is_orthonormal(affine: NDArray[np.float64]) -> bool:
    if not np.isfinite(affine).all():
        return False
    norms = np.linalg.norm(affine[:, :3], axis=0)
    if (norms == 0).any():
        return False
    directions = affine[:, :3] / norms
    return bool(np.abs(directions @ directions.T - np.eye(3)).max() <= _ORTHONORMAL)


def _norms_differ(affine: NDArray[np.float64], spacing: NDArray[np.float64]) -> bool:
    return bool(np.abs(np.linalg.norm(affine[:, :3], axis=0) - spacing).max() > _SCALES_MM)
