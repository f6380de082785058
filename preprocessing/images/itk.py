"""NRRD and MetaImage: headers checked first, then voxels and place read by ITK."""

from __future__ import annotations

import math
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Finding
from preprocessing.common.redaction import shown_series
from preprocessing.images.volumes import (
    NO_GEOMETRY,
    Segment,
    VolumeData,
    check_affine,
    check_axes,
    check_size,
    check_spacing,
    note,
    refused,
)

# Headers of NRRD and MetaImage files as text: what ITK does not say of them, or does with them.
#
# Both formats let a header name other files that hold the voxels, anywhere on the machine; and only the
# header says whether a fourth axis is phases, colours or a vector.

_LONGEST = 1 << 20
_CHUNK = 1 << 24
_NRRD = b"NRRD"
# Spaces whose axes ITK turns into left, posterior, superior.
_SPACES = {
    "left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior",
    "las",
}  # fmt: skip
_MILLIMETRES = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres"}
_SPATIAL = {"domain", "space"}
_PHASES = {"list", "time"}
_UNTOLD = {"", "none", "???"}
# Of each, one has to be there.
_META_PLACE = (
    ("elementspacing", "elementsize"),
    ("transformmatrix", "rotation", "orientation"),
    ("offset", "position", "origin"),
)
_ELEMENT_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}  # fmt: skip


@dataclass(frozen=True)
class ItkHeader:
    """What a header says.

    Parameters
    ----------
    fields
        By lower-case name; a name that is there several times keeps its last value.
    keys
        NRRD's ``key:=value`` pairs.
    data_files
        Names of the files that hold the voxels, as they stand there; empty where the file itself does.
    sizes
        Of all axes, the fastest first.
    phase_axis
        Which of them counts volumes (or layers of a segmentation); None where all three are space.
    lines
        Of the header itself.
    num_lines, num_bytes
        Of the header itself.
    """

    is_nrrd: bool
    fields: Mapping[str, str]
    keys: Mapping[str, str]
    data_files: tuple[str, ...]
    sizes: tuple[int, ...]
    phase_axis: int | None = None
    lines: tuple[str, ...] = field(default=(), repr=False)
    num_lines: int = 0
    num_bytes: int = 0

    @property
    def num_volumes(self) -> int:
        """How many volumes, or layers, the file holds."""
        return 1 if self.phase_axis is None else self.sizes[self.phase_axis]

    @property
    def has_geometry(self) -> bool:
        """Whether the file tells where its voxels lie in the patient."""
        if self.is_nrrd:
            origin = self.fields.get("space origin", "nan").lower()
            return (
                self.fields.get("space", "").lower() in _SPACES
                and "space directions" in self.fields
                and "nan" not in origin
            )
        return all(any(name in self.fields for name in names) for names in _META_PLACE)

    @property
    def is_segmentation(self) -> bool:
        """Whether it lists segments, as those of 3D Slicer do."""
        return any(re.fullmatch(r"Segment\d+_.+", key) for key in self.keys)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments that it lists."""
        numbers = sorted(
            {int(m[1]) for k in self.keys if (m := re.fullmatch(r"Segment(\d+)_.+", k))}
        )
        return tuple(
            Segment(
                label=_whole(self.keys.get(f"Segment{n}_LabelValue"), n + 1),
                layer=_whole(self.keys.get(f"Segment{n}_Layer"), 0),
                name=shown_series(self.keys.get(f"Segment{n}_Name", "")),
            )
            for n in numbers
        )


def _whole(text: str | None, default: int) -> int:
    try:
        return int(text) if text is not None else default
    except ValueError:
        return default


def read_header(file: IO[bytes], what: str) -> ItkHeader | None:
    """Return the header of an NRRD or MetaImage file; None for other files.

    Raises
    ------
    UnreadableImageError
        If what it says cannot be used.
    ValueError
        If it cannot be read.
    """
    start = file.read(_LONGEST)
    if start.startswith(_NRRD):
        return _nrrd(start, what)
    if re.match(rb"\s*(ObjectType|Comment|NDims|ObjectSubType|TransformType)\s*[=:]", start):
        return _meta(start, what)
    return None


def check_data_files(header: ItkHeader, path: Path, root: Path, what: str) -> None:
    """Refuse a header whose voxels lie outside of a folder, or in what is no file.

    Raises
    ------
    UnreadableImageError
        If it is one.
    """
    inside = root.resolve()
    for name in header.data_files:
        try:
            data = (path.parent / name).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            message = f"{what} names a file of voxels by a path that cannot be followed"
            raise refused("path-impossible", message) from error
        if not data.is_relative_to(inside):
            message = f"{what} names a file of voxels that lies outside of the cohort's folder"
            raise refused("path-outside", message)
        if not data.exists():
            raise refused("image-missing", f"{what} names a file of voxels that is not there")
        if not data.is_file():
            raise refused("not-a-file", f"{what} names as its voxels what is no file")


def check_length(header: ItkHeader, path: Path, what: str) -> None:
    """Refuse a MetaImage that is shorter than its header says: ITK tells the terminal of it.

    Raises
    ------
    UnreadableImageError
        If it is.
    """
    fields = header.fields
    size = _ELEMENT_BYTES.get(fields.get("elementtype", "").upper())
    is_packed = fields.get("compresseddata", "").lower() in ("true", "1")
    if header.is_nrrd or len(header.data_files) > 1:
        return
    if size is None:
        raise ValueError("its header does not say what kind of numbers it holds")
    file = path.parent / header.data_files[0] if header.data_files else path
    begin = 0 if header.data_files else header.num_bytes
    there, needed = file.stat().st_size - begin, math.prod(header.sizes) * size
    if is_packed:
        _check_packed(file, begin, int(fields.get("compresseddatasize", "0")), needed)
    elif there < needed:
        message = f"{what} cannot be read: it is shorter than its header says"
        raise refused("image-unreadable", message)


def _check_packed(file: Path, begin: int, length: int, needed: int) -> None:
    """Unpack once to see whether it can be: ITK goes on with what it has."""
    with file.open("rb") as stream:
        stream.seek(begin)
        packed = stream.read(length)
    # 32: with a header of zlib or of gzip, as in ITK.
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS + 32)
    num = 0
    while packed and num <= needed:
        num += len(unpacker.decompress(packed, _CHUNK))
        packed = unpacker.unconsumed_tail
    num += len(unpacker.decompress(b"", _CHUNK))
    if num != needed or not unpacker.eof:
        raise ValueError("its packed voxels are damaged, or not as many as its header says")


def _text(start: bytes, end: bytes) -> str:
    found = re.search(end, start)
    if found is None:
        if len(start) >= _LONGEST:
            raise ValueError("its header does not end")
        return start.decode("utf-8", "surrogateescape")
    return start[: found.end()].decode("utf-8", "surrogateescape")


def _nrrd(start: bytes, what: str) -> ItkHeader:
    text = _text(start, rb"\r?\n\r?\n")
    # Some of these splits are no ends of lines for ITK: none of its lines hides in another.
    lines = text.splitlines()
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    data_files: list[str] = []
    for n, line in enumerate(lines[1:], start=1):
        if line.startswith("#") or not line.strip():
            continue
        # Of both signs, the first tells what the line is; values may well hold the other.
        match = re.match(r"([^:]*?):=(.*)", line)
        if match:
            keys[match[1].strip()] = match[2].strip()
            continue
        name, colon, value = line.partition(":")
        if not colon:
            continue
        name, value = name.strip().lower(), value.strip()
        fields[name] = value
        if name in ("data file", "datafile"):
            is_list = value.upper().split()[:1] == ["LIST"]
            # A list goes on to the end of the file, whatever lies between.
            following = start.decode("utf-8", "surrogateescape").splitlines()[n + 1 :]
            data_files += _nrrd_files(value, following if is_list else [])
            if is_list:
                break
    sizes = tuple(int(v) for v in fields.get("sizes", "").split())
    axis = _phase_axis(sizes, fields, keys, what)
    _check_nrrd_spacing(fields, sizes, what)
    num_lines = text.count("\n")
    return ItkHeader(
        True, fields, keys, tuple(data_files), sizes, axis, tuple(lines), num_lines, len(text)
    )


def _nrrd_files(value: str, following: Sequence[str]) -> list[str]:
    words = value.split()
    if words[:1] and words[0].upper() == "LIST":
        return [line.strip() for line in following if line.strip()]
    if "%" in value:
        return _numbered(words)
    return [value]


def _numbered(words: Sequence[str]) -> list[str]:
    """Return the files of ``slice%03d.raw 1 9 1``."""
    pattern = words[0]
    numbers = [int(w) for w in words if re.fullmatch(r"[-+]?\d+", w)]
    if not re.fullmatch(r"[^%]*%0?\d{0,3}[du][^%]*", pattern) or len(numbers) < 2:
        raise ValueError("it names its voxels by a pattern that cannot be read")
    first, last, step = numbers[0], numbers[1], (numbers[2] if len(numbers) > 2 else 1)
    if step == 0 or abs(last - first) > 100_000:
        raise ValueError("it names its voxels by a pattern that cannot be read")
    end = last + (1 if step > 0 else -1)
    return [pattern.replace("%u", "%d") % n for n in range(first, end, step)]


def _vectors(fields: Mapping[str, str], may_lack: bool = True) -> list[tuple[float, ...] | None]:
    """Return each axis' direction, None for one that has none."""
    found: list[tuple[float, ...] | None] = []
    for word in re.findall(r"none|\([^)]*\)", fields.get("space directions", ""), re.IGNORECASE):
        if word.lower() == "none":
            found.append(None)
        else:
            values = tuple(float(v) for v in word.strip("()").split(","))
            # Some write what has no direction as a vector of NaN.
            is_nothing = may_lack and all(map(math.isnan, values))
            found.append(None if is_nothing else values)
    return found


def _phase_axis(
    sizes: tuple[int, ...], fields: Mapping[str, str], keys: Mapping[str, str], what: str
) -> int | None:
    """Return which axis counts volumes; colours and vectors are refused."""
    shown = " × ".join(str(n) for n in sizes)
    if len(sizes) not in (3, 4):
        message = f"{what} has shape {shown}, expected 3D, or 4D with its phases along one axis"
        raise refused("image-not-3d", message)
    kinds = fields.get("kinds", "").lower().split() or [""] * len(sizes)
    directions = _vectors(fields, len(sizes) > 3) or [()] * len(sizes)
    if len(kinds) != len(sizes) or len(directions) != len(sizes):
        raise ValueError("its header does not describe each of its axes")
    others = [n for n, kind in enumerate(kinds) if kind not in _SPATIAL | _UNTOLD]
    if not others:
        others = [n for n, direction in enumerate(directions) if direction is None]
    if len(sizes) == 3 and not others:
        return None
    if not others and len(sizes) == 4:
        others = [3]
    if len(sizes) == 3 or len(others) != 1:
        message = (
            f"{what} has shape {shown} with {len(sizes) - len(others)} axes in space, expected 3"
        )
        raise refused("image-not-3d", message)
    axis = others[0]
    _check_kind(kinds[axis], axis, sizes, keys, what)
    return axis


def _check_kind(
    kind: str, axis: int, sizes: tuple[int, ...], keys: Mapping[str, str], what: str
) -> None:
    num = sizes[axis]
    if kind in _PHASES or any(key.startswith("MultiVolume.") for key in keys):
        return
    untold = kind in _UNTOLD | _SPATIAL
    if untold and axis == 3:
        return
    if (untold or kind == "vector") and num > 4:
        return
    if untold or kind == "vector" or re.fullmatch(r"\d-vector", kind):
        message = (
            f"{what} has {num} values a voxel and does not tell whether they are colours, a vector or"
            f" {num} phases: give the axis the kind 'list' if they are phases"
        )
        raise refused("image-not-scalar", message)
    message = f"{what} holds colours, complex numbers or the like, expected one number a voxel"
    raise refused("image-not-scalar", message)


def _check_nrrd_spacing(fields: Mapping[str, str], sizes: tuple[int, ...], what: str) -> None:
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    if any(unit.strip().lower() not in _MILLIMETRES for unit in units):
        raise refused("spacing-implausible", f"{what} has a space in other units than mm")
    vectors = [v for v in _vectors(fields, len(sizes) > 3) if v]
    if vectors:
        check_spacing([sum(c * c for c in v) ** 0.5 for v in vectors], what)
        if len(vectors) != 3 or any(len(v) != 3 for v in vectors):
            raise ValueError("its axes have no directions in a space of three dimensions")
        check_affine(np.column_stack([*map(np.array, vectors), np.zeros(3)]), what)
    elif "spacings" in fields and "space directions" not in fields:
        told = [float(v) for v in fields["spacings"].split()]
        # That of an axis that is no space is NaN, or anything.
        check_spacing([v for v in told if not math.isnan(v)] if len(told) == 4 else told, what)


def _meta(start: bytes, what: str) -> ItkHeader:
    whole = start.decode("utf-8", "surrogateescape")
    # Exactly so spelt it ends ITK's header; what else there is of that name is looked at as well.
    text = _text(start, rb"(?m)^\s*ElementDataFile\s*[=:][^\n]*(?:\n|\Z)")
    fields: dict[str, str] = {}
    lines = text.splitlines()
    for line in lines:
        match = re.match(r"\s*(\w+)\s*[=:]\s*(.*)", line)
        if match:
            fields[match[1].lower()] = match[2].strip()
    sizes = tuple(int(v) for v in fields.get("dimsize", "").split())
    if int(fields.get("elementnumberofchannels", "1") or 1) != 1:
        message = (
            f"{what} has several values a voxel (ElementNumberOfChannels), expected one number"
        )
        raise refused("image-not-scalar", message)
    if len(sizes) not in (3, 4):
        shown = " × ".join(str(n) for n in sizes)
        message = (
            f"{what} has shape {shown}, expected 3D, or 4D with its phases along the fourth axis"
        )
        raise refused("image-not-3d", message)
    if fields.get("ndims", "") != str(len(sizes)):
        raise ValueError("its header does not describe each of its axes")
    for name in ("offset", "position", "origin", "transformmatrix", "rotation", "orientation"):
        if not all(math.isfinite(float(v)) for v in fields.get(name, "").split()):
            raise refused("geometry-impossible", f"{what} lies nowhere by its header")
    told = fields.get("elementspacing", fields.get("elementsize", "")).split()
    if told:
        check_spacing([float(v) for v in told[:3]], what)
    axis = 3 if len(sizes) == 4 else None
    start_of_voxels = len(text.encode("utf-8", "surrogateescape"))
    return ItkHeader(
        False, fields, {}, _meta_files(text, whole), sizes, axis, tuple(lines), 0, start_of_voxels
    )


def _meta_files(text: str, start: str) -> tuple[str, ...]:
    """Return all files that any line names as its voxels, whichever of them ITK takes."""
    found: list[str] = []
    for match in re.finditer(r"ElementDataFile[ \t]*[=:]?[ \t]*([^\r\n]*)", text, re.IGNORECASE):
        value = match[1].strip()
        words = value.split()
        if not words or value.upper() == "LOCAL":
            continue
        if words[0].upper().startswith("LIST"):
            found += [line.strip() for line in start[len(text) :].splitlines() if line.strip()]
        elif "%" in value:
            found += _numbered(words)
        else:
            found.append(value)
    return tuple(found)


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
