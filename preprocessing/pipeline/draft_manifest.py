"""A draft of a manifest from a folder tree of NIfTI, NRRD or DICOM; labels are left to be filled in.

Of files, names tell patient, phase and mask; of DICOM, headers tell the phases, as in a Duke download. A
phase that nothing tells is not guessed: it stays empty, and the column ``note`` says why.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from preprocessing.cohort.cohort import DicomExamination, Finding
from preprocessing.cohort.manifest import BOX_COLUMNS, KNOWN_TARGETS, NOTE
from preprocessing.images.dicom.header import read_slices_or_finding
from preprocessing.images.dicom.segmentation import is_segmentation
from preprocessing.images.dicom.slice_header import SliceHeader
from preprocessing.images.phases.examination import Phase, find_phases, find_phases_among
from preprocessing.storage import files
from preprocessing.storage.file_cache import file_cache

_VOLUME_ENDS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_NO_IMAGES = {".csv", ".gz", ".htm", ".html", ".jpeg", ".jpg", ".json", ".md", ".pdf", ".png", ".raw",
              ".tar", ".tsv", ".txt", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip", ".py", ".log",
              ".bval", ".bvec"}  # fmt: skip
_WORDS = re.compile(r"[a-z]+|\d+")
_MASK_WORDS_TEXT = """
mask masks seg segs segmentation segmentations label labels labelstr labelsts roi rois tumor
tumour tumors tumours lesion lesions annotation annotations
"""
_MASK_WORDS = frozenset(_MASK_WORDS_TEXT.split())
_OTHER_WORDS_TEXT = """
sub subs subtracted subtraction adc dwi mip stir loc localizer localiser flair scout survey t2w
map
"""
_OTHER_WORDS = frozenset(_OTHER_WORDS_TEXT.split())
# Folders that hold a part of a patient, or a kind of file of all of them.
_KIND_FOLDERS_TEXT = """
image images imagestr imagests img imgs nifti nii nrrd dce dyn dynamic mri mr data expert
automatic anat derivatives series
"""
_KIND_FOLDERS = _MASK_WORDS | frozenset(_KIND_FOLDERS_TEXT.split())
# T1 and T2 are no numbers of phases.
_WEIGHTING = re.compile(r"(?<![a-z])t[12]w?(?:i|fs)?(?![a-z0-9])[_-]?", re.IGNORECASE)
# BIDS begins names with sub-01, which is no subtraction.
_SUBJECT = re.compile(r"^sub-[A-Za-z0-9]+")
_T2 = re.compile(r"(?<![a-z0-9])t2(?:w|wi|fs)?(?![a-z0-9])", re.IGNORECASE)
_PRE = frozenset(["pre", "precontrast", "native", "unenhanced", "baseline"])
_RANKS = {"early": 1, "middle": 2, "mid": 2, "intermediate": 2, "late": 3, "delayed": 3}
_POSTS = frozenset(["post", "postcontrast", "contrast"])
_PHASES_TEXT = "phase ph dyn dynamic tp time timepoint acq pass vol volume"
_PHASES = frozenset(_PHASES_TEXT.split())
_FILLERS_TEXT = "contrast con t w ce dce dyn mr mri img image scan breast fs fl d"
_FILLERS = frozenset(_FILLERS_TEXT.split())
_MOST_NAMED = 3
# Where numbers at the ends of names go on beyond, they count patients rather than phases.
_MOST_PHASES = 12


@dataclass(frozen=True)
class DraftRow:
    """One patient's row.

    Parameters
    ----------
    phases, mask
        Relative to the manifest.
    notes
        What is left to do for this patient.
    """

    patient_id: str
    phases: tuple[str, ...] = ()
    mask: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A manifest's rows, and files that are in none of them."""

    rows: tuple[DraftRow, ...]
    left_out: tuple[str, ...]

    def csv(self) -> str:
        """Return the manifest."""
        num_phases = max((len(row.phases) for row in self.rows), default=0)
        phases = [f"phase_{i}" for i in range(max(num_phases, 1))]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["patient_id", *phases, "mask", *BOX_COLUMNS, *KNOWN_TARGETS, NOTE])
        for row in self.rows:
            cells = [*row.phases, *[""] * (len(phases) - len(row.phases))]
            empty = [""] * (len(BOX_COLUMNS) + len(KNOWN_TARGETS))
            writer.writerow([row.patient_id, *cells, row.mask, *empty, "; ".join(row.notes)])
        return buffer.getvalue()


@dataclass(frozen=True)
class _File:
    """A volume, and what its name tells."""

    path: str
    home: str
    prefix: str
    order: tuple[str, int] | None
    is_mask: bool
    is_other: bool


@dataclass(frozen=True)
class _Gathered:
    """Files of one patient."""

    images: list[_File] = field(default_factory=list)
    masks: list[_File] = field(default_factory=list)
    others: list[_File] = field(default_factory=list)

    @property
    def home(self) -> str:
        """The patient's folder, empty where there is none."""
        return next((file.home for file in (*self.images, *self.masks, *self.others)), "")


def draft_manifest(folder: Path, root: Path) -> Draft:
    """Make a manifest's rows of what lies in a folder.

    Parameters
    ----------
    root
        Folder of the manifest, `folder` itself or one above it.
    """
    names = sorted(files.sizes_below(folder), key=_natural)
    seen = [name for name in names if not any(p.startswith((".", "~$")) for p in name.split("/"))]
    volumes = [name for name in seen if name.lower().endswith(_VOLUME_ENDS)]
    others = [
        name for name in seen
        if name not in set(volumes) and PurePosixPath(name).suffix.lower() not in _NO_IMAGES
        and PurePosixPath(name).name != "DICOMDIR"
    ]  # fmt: skip
    rows, used = _volume_rows(volumes, folder.name)
    dicom_rows, dicom_used = _dicom_rows(folder, others)
    prefix = folder.relative_to(root).as_posix()
    placed = [_below(row, prefix) for row in _with_own_ids([*rows, *dicom_rows])]
    placed.sort(key=lambda row: _natural(row.patient_id))
    left_out = tuple(n for n in (*volumes, *others) if n not in used and n not in dicom_used)
    return Draft(tuple(placed), left_out)


def _below(row: DraftRow, prefix: str) -> DraftRow:
    """Return a row whose paths begin at the manifest."""
    if prefix == ".":
        return row
    phases = tuple(f"{prefix}/{p}" if p != "." else prefix for p in row.phases)
    return replace(row, phases=phases, mask=f"{prefix}/{row.mask}" if row.mask else "")


def _with_own_ids(rows: Sequence[DraftRow]) -> Iterable[DraftRow]:
    """Say so where two folders have one name: which patient is which has to be told."""
    counts = Counter(row.patient_id for row in rows)
    for row in rows:
        if counts[row.patient_id] == 1:
            yield row
        else:
            note = f"{counts[row.patient_id]} folders have this name: give each patient an id of its own"
            yield replace(row, notes=(note, *row.notes))


def _volume_rows(names: Sequence[str], unnamed: str) -> tuple[list[DraftRow], set[str]]:
    """Return a row for each patient; one whose files lie in the folder itself is called `unnamed`."""
    told = [_read_name(name) for name in names]
    flat = _flat_homes(told)
    patients: dict[str, _Gathered] = defaultdict(_Gathered)
    for file in told:
        is_flat = not file.home or file.home in flat
        key = "/".join(p for p in (file.home, file.prefix if is_flat else "") if p)
        gathered = patients[key]
        kind = gathered.masks if file.is_mask else gathered.images
        (gathered.others if file.is_other else kind).append(file)
    patients = _with_masks_beside(patients)
    rows, used = [], set()
    for key, found in patients.items():
        is_flat = "/" not in key and not found.home
        row = _volume_row(PurePosixPath(key).name or unnamed, found, is_flat and len(patients) == 1)
        rows.append(row)
        used |= {*row.phases, row.mask}
    return rows, used


def _with_masks_beside(patients: Mapping[str, _Gathered]) -> dict[str, _Gathered]:
    """Give masks that lie in a folder of all masks to the patient of that name."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for key, found in patients.items():
        if found.images:
            by_name[_plain(key)].append(key)
    result: dict[str, _Gathered] = {key: found for key, found in patients.items() if found.images}
    for key, found in patients.items():
        if not found.images:
            owners = by_name.get(_plain(key), [])
            if len(owners) == 1:
                result[owners[0]].masks.extend(found.masks)
            else:
                result[key] = found
    return result


def _plain(key: str) -> str:
    """Return a patient's name without case and signs, in which names of masks often differ."""
    return re.sub(r"[\W_]+", "", PurePosixPath(key).name.casefold())


def _read_name(name: str) -> _File:
    """Return what a file's path tells: the patient's folder, the phase, whether it is a mask."""
    path = PurePosixPath(name)
    stem = _stem(path.name)
    prefix, order = _phase_of(_WEIGHTING.sub("", stem))
    is_mask = bool(_MASK_WORDS & set(_WORDS.findall(stem.casefold())))
    folders = list(path.parts[:-1])
    while folders and _is_part(folders[-1]):
        part = folders.pop()
        is_mask = is_mask or bool(_MASK_WORDS & set(_WORDS.findall(part.casefold())))
        if order is None:
            order = _phase_of(f"x_{part}")[1]
    # images/ID/… and segmentations/ID/… are of one patient, and so are imagesTr/ and labelsTr/.
    is_mask = is_mask or any(_is_kind(f) and _MASK_WORDS & _words(f) for f in folders)
    home = "/".join(f for f in folders if not _is_kind(f))
    if is_mask:
        # Of labelsTr/case_1.nii.gz the number is the patient's.
        is_whole = not prefix or (order is not None and order[0] == "tail")
        prefix = _without_mask_words(stem if is_whole else prefix)
    is_other = not is_mask and bool(
        _OTHER_WORDS & _words(_SUBJECT.sub("", stem)) or _T2.search(stem)
    )
    if not prefix and order is None and not is_mask:
        prefix = stem
    return _File(name, home, prefix, None if is_mask else order, is_mask, is_other)


def _stem(name: str) -> str:
    for end in _VOLUME_ENDS:
        if name.lower().endswith(end):
            return name[: -len(end)]
    return name


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(text.casefold()))


def _without_fillers(text: str) -> str:
    """Return what a name begins with, without words about the sequence at its end."""
    kept = text.rstrip(" _-.")
    while (match := re.search(r"[ _\-.]([A-Za-z]+)$", kept)) and match[1].casefold() in _FILLERS:
        kept = kept[: match.start()].rstrip(" _-.")
    return kept


def _is_kind(folder: str) -> bool:
    return re.sub(r"[\W_]+", "", folder.casefold()) in _KIND_FOLDERS


def _is_part(folder: str) -> bool:
    """Tell whether a folder is called as a phase or a kind of file, and not as a patient."""
    prefix, order = _phase_of(f"x_{folder}")
    is_phase = order is not None and prefix == "x" and bool(re.search(r"[a-z]", folder.casefold()))
    return is_phase or _is_kind(folder)


def _phase_of(stem: str) -> tuple[str, tuple[str, int] | None]:
    """Return what comes before a name's phase, and the phase: the word for it, and its number."""
    found = list(re.finditer(r"[A-Za-z]+|\d+", stem))
    words = [match[0].casefold() for match in found]
    for i, word in enumerate(words):
        after = next((w for w in words[i + 1 :] if w not in _FILLERS), "")
        number = int(after) if after.isdigit() and len(after) <= 4 else None
        told: tuple[str, int] | None = None
        if word in _PRE:
            told = ("pre", 0)
        elif word in _POSTS and word != "contrast":
            told = ("post", number if number is not None else 1)
        elif word in _PHASES and number is not None:
            told = ("number", number)
        elif word in _RANKS:
            told = ("rank", _RANKS[word])
        if told and i > 0:
            return _without_fillers(stem[: found[i].start()]), told
        if told:
            return "", told
    # 0000 as nnU-Net and MAMA-MIA write phases, or a number of its own at the end.
    if match := re.fullmatch(r"(.+)[_-](\d{4}|\d{1,2})", stem):
        return _without_fillers(match[1]), ("tail", int(match[2]))
    return "", None


def _without_mask_words(text: str) -> str:
    words = "|".join(sorted(_MASK_WORDS, key=len, reverse=True))
    return re.sub(rf"(?i)(?:^|[_\-. ]+)(?:{words})(?=[_\-. ]|$)", "", text).strip("_-. ")


def _flat_homes(told: Sequence[_File]) -> set[str]:
    """Return the folders that hold files of several patients, told by what names begin with."""
    first: dict[str, set[str]] = defaultdict(set)
    counts: Counter[tuple[str, tuple[str, int]]] = Counter()
    for file in told:
        if file.order is not None and not file.is_mask and not file.is_other:
            counts[file.home, file.order] += 1
            first[file.home].add(file.prefix)
    repeated = {home for (home, _), n in counts.items() if n > 1}
    return {home for home in repeated if len(first[home]) > 1}


def _volume_row(patient_id: str, found: _Gathered, is_alone: bool) -> DraftRow:
    notes = []
    phases = _ordered(found.images)
    tails = [f.order[1] for f in found.images if f.order and f.order[0] == "tail"]
    if tails and (len(tails) > _MOST_PHASES or (is_alone and len(tails) > 1 and min(tails) > 0)):
        phases = ()
        notes.append(f"names do not tell whether {len(tails)} images are phases or patients")
    elif not phases and found.images:
        notes.append(
            f"names of {len(found.images)} images do not tell the order of phases: fill in phase_0,"
            f" phase_1 ({', '.join(PurePosixPath(f.path).name for f in found.images[:_MOST_NAMED])})"
        )
    elif len(phases) > 1 and min(f.order[1] for f in found.images if f.order) > 0:
        notes.append(
            "phases are numbered from 1: the first is taken for the pre-contrast, check it"
        )
    if found.others:
        notes.append(f"{len(found.others)} files are not taken for phases, as T2 or subtractions")
    if not found.images:
        notes.append("no image found")
    mask = found.masks[0].path if len(found.masks) == 1 else ""
    if len(found.masks) > 1:
        notes.append(f"{len(found.masks)} files may be the mask: fill in one")
    return DraftRow(patient_id, phases, mask, tuple(notes))


def _ordered(images: Sequence[_File]) -> tuple[str, ...]:
    """Return the phases in order; empty where names do not tell."""
    if not images:
        return ()
    if len(images) == 1 and images[0].order is None:
        return (images[0].path,)
    orders = [file.order for file in images]
    known = [order for order in orders if order is not None]
    if len(known) < len(orders) or len(set(known)) < len(known):
        return ()
    kinds = {kind for kind, _ in known}
    # pre.nii.gz may be followed by numbers of one kind.
    if len(kinds - {"pre"}) > 1:
        return ()
    ranked = sorted(images, key=lambda f: f.order[1] if f.order else 0)
    numbers = [f.order[1] for f in ranked if f.order]
    if len(set(numbers)) < len(numbers) or numbers[0] > 1:
        return ()
    if numbers[0] == 1 and not kinds & {"number", "tail"}:
        return ()
    if "rank" not in kinds and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return ()
    return tuple(file.path for file in ranked)


def _dicom_rows(folder: Path, names: Sequence[str]) -> tuple[list[DraftRow], set[str]]:
    """Return a row for each folder below the one that all examinations share."""
    homes: dict[str, list[str]] = defaultdict(list)
    for name in names:
        homes[str(PurePosixPath(name).parent)].append(name)
    studies: dict[str, list[str]] = defaultdict(list)
    masks: list[str] = []
    for home, inside in homes.items():
        found = [n for n in inside if len(inside) <= _MOST_NAMED and is_segmentation(folder / n)]
        masks.extend(found)
        header = _first_header(folder, [n for n in inside if n not in found])
        if header is not None:
            # Where headers have no study, a folder of series is one.
            studies[header.study or str(PurePosixPath(home).parent)].append(home)
    rows, used = [], set()
    for place in sorted(_patient_folders(list(studies.values())), key=_natural):
        inside = [n for n in names if place == "." or n.startswith(f"{place}/")]
        rows.append(_dicom_row(folder, place, [n for n in masks if n in set(inside)]))
        # Series that are no phases of the dynamic one are as they should be.
        used |= set(inside)
    return rows, used


def _patient_folders(studies: Sequence[Sequence[str]]) -> set[str]:
    """Return the folders below the one that all examinations share; of one, the folder it lies in."""
    if not studies:
        return set()
    shared = _common([_common(homes) for homes in studies])
    depths = {len(PurePosixPath(home).relative_to(shared).parts) for home in studies[0]}
    if len(studies) == 1 and max(depths) < 2:
        if shared == ".":
            return {"."}
        # Of several patients that share a study's UID, series lie deeper.
        shared = "."
    found = set()
    for home in (home for homes in studies for home in homes):
        below = PurePosixPath(home).relative_to(shared).parts
        found.add(str(PurePosixPath(shared, *below[:1])))
    return found


def _first_header(folder: Path, names: Sequence[str]) -> SliceHeader | None:
    for name in names[:5]:
        found = read_slices_or_finding(folder / name)
        if not isinstance(found, Finding):
            return found[0]
    return None


def _common(places: Sequence[str]) -> str:
    return os.path.commonpath(places) or "." if "." not in places else "."


def _dicom_row(folder: Path, place: str, masks: Sequence[str]) -> DraftRow:
    notes: list[str] = []
    phases: list[str] = []
    with file_cache() as cache:
        found = find_phases(DicomExamination(folder / place), 2, cache)
    notes += [f"{f.code}: {f.message}" for f in found.findings]
    for phase in found.phases:
        homes = {header.path.parent for header in phase.headers}
        home = homes.pop()
        if not homes and _holds(home, len(phase.headers)):
            phases.append(home.relative_to(folder).as_posix())
    together = _home_of_all(found.phases)
    if together is not None:
        phases = [together.relative_to(folder).as_posix()]
    elif len(phases) < len(found.phases) or len(set(phases)) < len(phases):
        phases = []
        notes.append("a folder holds several series or phases: move each into a folder of its own")
    mask = masks[0] if len(masks) == 1 else ""
    if len(masks) > 1:
        notes.append(f"{len(masks)} files may be the mask: fill in one")
    name = folder.name if place == "." else PurePosixPath(place).name
    return DraftRow(name, tuple(phases), mask, tuple(notes))


def _home_of_all(phases: Sequence[Phase]) -> Path | None:
    """Return the folder of the one series that holds all phases, if they would be read so from it."""
    homes = {header.path.parent for phase in phases for header in phase.headers}
    if len(phases) < 2 or len(homes) != 1:
        return None
    (home,) = homes
    with file_cache() as cache:
        found = find_phases_among(_images_in(home), len(phases), cache)
    same = [{h.instance for h in phase.headers} for phase in found.phases] == [
        {h.instance for h in phase.headers} for phase in phases
    ]
    return home if same else None


def _images_in(home: Path) -> tuple[Path, ...]:
    return tuple(
        path
        for path in sorted(home.iterdir())
        if path.is_file() and path.suffix.lower() not in _NO_IMAGES
    )


def _holds(home: Path, num_images: int) -> bool:
    """Tell whether a folder holds so many images and no others."""
    found = (read_slices_or_finding(path) for path in _images_in(home))
    return sum(len(slices) for slices in found if not isinstance(slices, Finding)) == num_images


def _natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key under which ``post2`` comes before ``post10``."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((0, int(p)) if p.isdecimal() else (1, p) for p in parts if p)
