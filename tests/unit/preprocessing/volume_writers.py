"""NIfTI and NRRD files byte by byte, and the images of one small examination.

Axis legend: (i, j, k) as in the files, the first the fastest.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPE = (30, 28, 12)
SPACING = (0.8, 0.8, 2.0)
ORIGIN = (-10.0, -20.0, -5.0)
TUMOUR = (slice(10, 15), slice(12, 16), slice(4, 7))
DIRECTIONS = "(0.8,0,0) (0,0.8,0) (0,0,2)"
HEADER = "patient_id,phase_0,phase_1,phase_2,mask,mask_label,ER"
_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "c8": 32, "f8": 64}


def affine() -> NDArray[np.float64]:
    """Voxel to LPS mm, 4×4: the same place as of `nifti` and `nrrd`."""
    found = np.diag([*SPACING, 1.0])
    found[:3, 3] = ORIGIN
    return found


def body() -> NDArray[np.bool_]:
    i, j, k = np.indices(SHAPE)
    return ((i - 15) / 12) ** 2 + ((j - 14) / 11) ** 2 + ((k - 6) / 8) ** 2 < 1


def phase(number: int) -> NDArray[np.float32]:
    """Air of 1 to 20, tissue of about 800, and a tumour that enhances; each phase has noise of its own."""
    rng = np.random.default_rng(7 + number)
    tissue = np.rint(rng.normal(800, 40, SHAPE))
    voxels = (body() * tissue + rng.integers(1, 20, SHAPE)).astype(np.float32)
    voxels[TUMOUR] += 400 * number
    return voxels


def mask() -> NDArray[np.uint8]:
    found = np.zeros(SHAPE, np.uint8)
    found[TUMOUR] = 1
    return found


def nifti(
    path: Path,
    voxels: NDArray[Any],
    to_lps: NDArray[np.float64] | None = None,
    *,
    changes: dict[int, bytes] | None = None,
    order: str = "<",
) -> Path:
    """Write NIfTI-1 with an sform only; `changes` replaces bytes of the header."""
    to_lps = affine() if to_lps is None else to_lps
    ras = np.diag([-1.0, -1, 1, 1]) @ to_lps
    kind = voxels.dtype.str[1:]
    header = bytearray(352)
    dims = [voxels.ndim, *voxels.shape, *[1] * (7 - voxels.ndim)]
    mm = np.linalg.norm(ras[:3, :3], axis=0)
    struct.pack_into(f"{order}i", header, 0, 348)
    struct.pack_into(f"{order}8h", header, 40, *dims)
    struct.pack_into(f"{order}2h", header, 70, _CODES[kind], voxels.dtype.itemsize * 8)
    struct.pack_into(f"{order}8f", header, 76, 1, *mm, 0, 0, 0, 0)
    struct.pack_into(f"{order}f", header, 108, 352)
    header[123] = 2  # mm
    struct.pack_into(f"{order}2h", header, 252, 0, 1)
    struct.pack_into(f"{order}12f", header, 280, *ras[:3].ravel())
    header[344:348] = b"n+1\0"
    for at, content in (changes or {}).items():
        header[at : at + len(content)] = content
    raw = voxels.astype(f"{order}{kind}").tobytes(order="F")
    content = bytes(header) + raw
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def nrrd(
    path: Path,
    voxels: NDArray[Any],
    *,
    kinds: str = "",
    directions: str = DIRECTIONS,
    space: str = "left-posterior-superior",
    origin: Sequence[float] = ORIGIN,
    extra: Sequence[str] = (),
    data_file: str | None = None,
    packed: bool = False,
) -> Path:
    """Write NRRD with its voxels in it, or none where `data_file` is where they are said to be."""
    names = {"f4": "float", "u1": "uchar", "i2": "short"}
    lines = [
        "NRRD0005",
        f"type: {names[voxels.dtype.str[1:]]}",
        f"dimension: {voxels.ndim}",
        *([f"space: {space}"] if space else []),
        f"sizes: {' '.join(map(str, voxels.shape))}",
        *([f"space directions: {directions}"] if directions else []),
        *([f"kinds: {kinds}"] if kinds else []),
        "endian: little",
        f"encoding: {'gzip' if packed else 'raw'}",
        *([f"space origin: ({','.join(map(str, origin))})"] if space else []),
        *extra,
        *([f"data file: {data_file}"] if data_file else []),
    ]
    raw = voxels.tobytes(order="F")
    raw = b"" if data_file else gzip.compress(raw) if packed else raw
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + raw)
    return path


def manifest(folder: Path, *rows: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path
