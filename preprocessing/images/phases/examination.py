"""From a folder of DICOM files to the ordered phases of one examination.

Files are grouped by what their headers say, not by where they lie: series by series, a series
that holds several volumes split into them (`dicom/series_parts.py`). Which of them are phases is decided in
`phases/decide.py`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from preprocessing.cohort.cohort import Box, DicomExamination, Finding
from preprocessing.common.redaction import shown_series
from preprocessing.images.dicom.header import glimpse, read_slices_or_finding
from preprocessing.images.dicom.series import DicomVolume, arrange, same_pixels
from preprocessing.images.dicom.series_parts import SeriesPart, split_series, usual_geometry
from preprocessing.images.dicom.series_words import is_dynamic, is_static, kind_of, phase_of
from preprocessing.images.dicom.slice_header import SliceHeader
from preprocessing.images.phases.decide import PhaseDecision, decide_phases
from preprocessing.images.phases.evidence import Images, Place, SeriesEvidence
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.storage import files
from preprocessing.storage.file_cache import FileCache

# Lists, reports and archives that lie among images.
_OTHER_FILES = {
    ".bz2", ".csv", ".gz", ".htm", ".html", ".jpeg", ".jpg", ".json", ".md", ".pdf", ".png",
    ".tar", ".txt", ".xls", ".xlsx", ".xml", ".zip",
}  # fmt: skip
_T = TypeVar("_T")
_DAY_S = 86400.0
_HALF_DAY_S = _DAY_S / 2
# Breasts lie on either side of the patient's middle.
_MIDDLE_MM = 20.0
_KEY_DIGITS = 11


@dataclass(frozen=True)
class Phase:
    """The slices of one phase."""

    name: str
    headers: tuple[SliceHeader, ...]
    findings: tuple[Finding, ...]

    def open(self) -> DicomVolume:
        """Arrange the slices; see `preprocessing.images.dicom.series.arrange`."""
        for finding in self.findings:
            if finding.excludes:
                raise UnreadableImageError(finding)
        return arrange(self.headers, self.name, self.findings)


@dataclass(frozen=True)
class ListedSeries:
    """A series, or a volume of one, as a table of phases lists it.

    Parameters
    ----------
    key
        Tells it from all other series; nothing about the patient can be read from it.
    phase
        What it was taken for; None for no phase.
    reason
        Why, by which evidence.
    """

    key: str
    series_number: int | None
    description: str
    image_type: str
    num_slices: int
    time_s: float | None
    temporal_position: int | None
    phase: int | None
    reason: str


@dataclass(frozen=True)
class FoundPhases:
    """Phases in order, pre-contrast first, and what was odd about the examination.

    Parameters
    ----------
    evidence
        What the order was taken from.
    series
        All series that were looked at, in order of their keys' numbers and times.
    """

    phases: tuple[Phase, ...]
    findings: tuple[Finding, ...]
    evidence: tuple[str, ...] = ()
    series: tuple[ListedSeries, ...] = ()

    @property
    def in_order(self) -> tuple[ListedSeries, ...]:
        """The series that are phases, in the order of the phases."""
        chosen = [s for s in self.series if s.phase is not None]
        return tuple(sorted(chosen, key=lambda s: s.phase or 0))


@dataclass(frozen=True)
class TumourPlace:
    """Where the tumour is said to be, before it is known in which series.

    Parameters
    ----------
    side
        ``L`` or ``R``, where a table says it.
    """

    box: Box | None = None
    side: str | None = None


@dataclass(frozen=True)
class _Volume:
    """A volume of a series, and what a table says of it."""

    key: str
    part: SeriesPart
    known_phase: int | None


def find_phases(
    examination: DicomExamination,
    num_wanted: int,
    cache: FileCache,
    *,
    images: Images = "acquired",
    tumour: TumourPlace | None = None,
    list_all: bool = False,
) -> FoundPhases:
    """Read the headers of an examination and put its phases in order.

    Parameters
    ----------
    num_wanted
        Phases that are needed.
    images
        Which images are wanted; see `phases.decide.decide_phases`.
    tumour
        Tells which of several groups of series is meant, such as those of the left and right breast.
    list_all
        Whether series that are no phases by their first file are read as well, to be listed.
    """
    folders = _list_files(examination.folder)
    if not folders:
        message = "the folder holds no DICOM files"
        return FoundPhases((), (Finding("no-images", message),))
    asked = _Question(examination, num_wanted, images, tumour or TumourPlace())
    if list_all or examination.table:
        return _phases_in(folders, asked, cache)
    likely, glimpsed = _likely_dynamic(folders, examination.known_phases, cache)
    found = _phases_in(likely, asked, cache, glimpsed)
    if len(found.phases) < num_wanted and len(likely) < len(folders):
        # A folder's first file may be of another series than the rest.
        found = _phases_in(folders, asked, cache)
    return found


def find_phases_among(
    paths: Sequence[Path],
    num_wanted: int,
    cache: FileCache,
    *,
    images: Images = "acquired",
    tumour: TumourPlace | None = None,
) -> FoundPhases:
    """Find the phases among some files of one folder, as `find_phases` does among all."""
    examination = DicomExamination(paths[0].parent)
    asked = _Question(examination, num_wanted, images, tumour or TumourPlace())
    return _phases_in({"": list(paths)}, asked, cache)


@dataclass(frozen=True)
class _Question:
    """What is asked about an examination."""

    examination: DicomExamination
    num_wanted: int
    images: Images
    tumour: TumourPlace = field(default_factory=TumourPlace)


def _list_files(folder: Path) -> dict[str, list[Path]]:
    """Return files by folder, relative to `folder`."""
    grouped: dict[str, list[Path]] = defaultdict(list)
    for relative in sorted(files.sizes_below(folder)):
        place, _, name = relative.rpartition("/")
        suffix = Path(name).suffix.lower()
        if not name.startswith(".") and name != "DICOMDIR" and suffix not in _OTHER_FILES:
            grouped[place].append(folder / relative)
    return dict(grouped)


def _likely_dynamic(
    folders: Mapping[str, list[Path]], known_phases: Mapping[str, int], cache: FileCache
) -> tuple[dict[str, list[Path]], list[SeriesEvidence]]:
    """Return the folders that may hold phases, by their first image or their entry in a table.

    Returns
    -------
    The folders, and what the first image of each other one says.
    """
    if known_phases:
        told = {
            place: paths
            for place, paths in folders.items()
            if any(
                (known_phases.get(f"{place}/{p.name}", known_phases.get(place)) or 0) >= 0
                and (f"{place}/{p.name}" in known_phases or place in known_phases)
                for p in paths
            )
        }
        return told or dict(folders), []
    firsts = dict(zip(folders, cache.local([paths[0] for paths in folders.values()]), strict=True))
    headers = {
        place: _first_header([firsts[place], *paths[1:]], cache) for place, paths in folders.items()
    }
    named = any(h is not None and _is_named(h) for h in headers.values())
    likely = {}
    for place, header in headers.items():
        if header is not None:
            count = header.num_temporal_positions or 1
            chosen = _may_be_phase(header.description, named=named or count > 1)
            chosen = chosen or (count > 1 and not is_static(header.description))
        else:
            # One that nothing can be read of may be a phase: it must not go unnoticed.
            name, _ = glimpse(firsts[place])
            chosen = name is None or _may_be_phase(name, named=named)
        if chosen:
            likely[place] = folders[place]
    if not likely:
        return dict(folders), []
    glimpsed = [
        _glimpse(place, header, len(folders[place]))
        for place, header in headers.items()
        if header is not None and place not in likely
    ]
    return likely, glimpsed


def _glimpse(place: str, header: SliceHeader, num_files: int) -> SeriesEvidence:
    found = _evidence_of([header], place, TumourPlace())
    return replace(found, num_slices=num_files, is_glimpsed=True)


def _is_named(header: SliceHeader) -> bool:
    is_wanted = kind_of(header.description, header.image_type).is_phase
    return is_dynamic(header.description) and is_wanted


def _may_be_phase(name: str, *, named: bool) -> bool:
    """Tell whether a series may be a phase; where some are named so, others need a reason."""
    if is_static(name):
        return False
    told = phase_of(name)
    return not named or is_dynamic(name) or told.is_post or told.number is not None


def _first_header(paths: Sequence[Path], cache: FileCache) -> SliceHeader | None:
    """Return the first header that can be read; a damaged file is reported when it is needed."""
    for path in paths:
        found = read_slices_or_finding(cache.local([path])[0])
        if not isinstance(found, Finding) and found:
            return found[0]
    return None


def _phases_in(
    folders: Mapping[str, list[Path]],
    asked: _Question,
    cache: FileCache,
    glimpsed: Sequence[SeriesEvidence] = (),
) -> FoundPhases:
    headers, unusable, notes = _read(folders, asked.examination.known_phases, cache)
    volumes = _volumes(headers, asked.examination)
    by_key = {v.key: v for v in volumes}
    unknown = _unknown_keys(asked.examination, by_key)
    if unknown is not None:
        return FoundPhases((), (unknown,))
    evidence = [_evidence(v, asked.tumour) for v in volumes]
    decided = decide_phases(
        [*evidence, *glimpsed],
        asked.num_wanted,
        lambda one, other: _same_volume(by_key[one].part, by_key[other].part),
        asked.images,
    )
    series = _listed(evidence, decided)
    excluding = tuple(f for f in decided.findings if f.excludes)
    if not excluding and len(decided.phases) < asked.num_wanted:
        # A series that could not be taken apart may hold the others.
        parts = [by_key[key].part for key in decided.phases]
        unclear = [f for part in parts for f in part.findings if f.excludes]
        if unclear:
            return FoundPhases((), tuple(unclear[:1]), series=series)
    if unusable and (len(decided.phases) < asked.num_wanted or not decided.is_told):
        # It may be a phase; without it a later one would take its place.
        return FoundPhases((), (replace(unusable[0], excludes=True),), series=series)
    if excluding:
        return FoundPhases((), decided.findings, series=series)
    if not decided.phases and asked.examination.table:
        message = "the table of phases names none of its series as a phase"
        return FoundPhases((), (Finding("no-dynamic-series", message),), series=series)
    if not decided.phases:
        return FoundPhases((), (_no_dynamic(evidence, notes, asked.images),), series=series)
    phases = tuple(
        Phase(
            shown_series(part.headers[0].description),
            part.headers,
            (*part.findings, *_notes_of(part, notes)),
        )
        for part in (by_key[key].part for key in decided.phases)
    )
    unread = tuple(replace(f, excludes=False) for f in unusable)
    return FoundPhases(phases, (*decided.findings, *unread), decided.evidence, series)


def _no_dynamic(
    evidence: Sequence[SeriesEvidence], notes: Mapping[str, list[Finding]], images: Images
) -> Finding:
    names = sorted({s.shown for s in evidence})
    if not names:
        found = [f for place in notes.values() for f in place]
        why = f": {found[0].message}" if found else ""
        return Finding("no-images", f"none of its files is a DICOM image{why}")
    kinds = sorted({s.kind.value for s in evidence if not s.kind.is_phase})
    derived = f"; of these, {', '.join(kinds)}" if kinds else ""
    wanted = "" if images == "acquired" else f" of {images} images"
    message = f"no dynamic series{wanted} among {', '.join(names)}{derived}"
    return Finding("no-dynamic-series", message)


def _notes_of(part: SeriesPart, notes: Mapping[str, list[Finding]]) -> tuple[Finding, ...]:
    """Return what was odd about other files of the folders that a volume lies in."""
    places = {str(h.path.parent) for h in part.headers}
    return tuple(dict.fromkeys(f for place in sorted(places) for f in notes.get(place, [])))


_SeriesKey = tuple[str, ...]


def _read(
    folders: Mapping[str, list[Path]], known_phases: Mapping[str, int], cache: FileCache
) -> tuple[
    dict[tuple[_SeriesKey, int | None], list[SliceHeader]],
    list[Finding],
    dict[str, list[Finding]],
]:
    """Read the headers of some folders.

    Returns
    -------
    Slices by series, and by phase where a table tells it file by file; findings of folders of which
    nothing could be read; findings on single files, by folder.
    """
    headers: dict[tuple[_SeriesKey, int | None], list[SliceHeader]] = defaultdict(list)
    unusable: list[Finding] = []
    notes: dict[str, list[Finding]] = defaultdict(list)
    for place, paths in folders.items():
        found_any = False
        findings: list[Finding] = []
        for path, local in zip(paths, cache.local(paths), strict=True):
            found = read_slices_or_finding(local)
            if not isinstance(found, Finding):
                found_any = found_any or bool(found)
                known = known_phases.get(f"{place}/{path.name}", known_phases.get(place))
                for header in found:
                    headers[_series_key(header, place), known].append(header)
            elif path.suffix.lower() == ".dcm" or _has_magic(local):
                findings.append(found)
                notes[str(local.parent)].append(found)
        if not found_any and findings:
            is_named = _is_named_phase(cache.local(paths[:1])[0])
            other = "dicom-other-modality"
            unusable.extend(f for f in findings if f.excludes or (is_named and f.code != other))
    return _on_one_clock(headers), unusable, notes


def _is_named_phase(path: Path) -> bool:
    """Tell whether a file that holds no slice to be read is of a series named as a phase."""
    name, image_type = glimpse(path)
    return name is not None and is_dynamic(name) and kind_of(name, image_type).is_phase


def _series_key(header: SliceHeader, place: str) -> _SeriesKey:
    """Return what slices of one series share; files of one series may lie in several folders."""
    name, number = header.description, str(header.series_number)
    return (header.study, header.series or place, number, name)


_Headers = dict[tuple[_SeriesKey, int | None], list[SliceHeader]]


def _on_one_clock(headers: _Headers) -> _Headers:
    """Make the times of each study comparable, or leave them out.

    Dates are often those of the study, or made up where a cohort was de-identified: times after
    midnight then belong to the next day, and dates that lie days apart are not believed.
    """
    changes: dict[str, Callable[[float], float | None]] = {}
    for study in {h.study for group in headers.values() for h in group}:
        together = [h for group in headers.values() for h in group if h.study == study]
        change = _clock(together)
        if change is not None:
            changes[study] = change
    if not changes:
        return headers
    return {key: [_moved(h, changes) for h in group] for key, group in headers.items()}


def _clock(headers: Sequence[SliceHeader]) -> Callable[[float], float | None] | None:
    """Return how times of one study are to be changed; None where they are not."""
    times = sorted({h.time_s for h in headers if h.time_s is not None})
    if not times or times[-1] - times[0] <= _HALF_DAY_S:
        return None
    days = {t // _DAY_S for t in times}
    if len(days) > 1 and 0 not in days:
        return lambda time: None
    # Some have no date, or all have one date: the time of day counts.
    of_day = sorted({t % _DAY_S for t in times})
    gaps = np.diff(of_day)
    if len(of_day) < 2 or gaps.max() <= _HALF_DAY_S:
        return lambda time: time % _DAY_S
    last = of_day[int(np.argmax(gaps))]
    return lambda time: time % _DAY_S + (_DAY_S if time % _DAY_S <= last else 0.0)


def _moved(
    header: SliceHeader, changes: Mapping[str, Callable[[float], float | None]]
) -> SliceHeader:
    change = changes.get(header.study)
    if change is None or header.time_s is None:
        return header
    content = header.content_time_s
    return replace(
        header,
        time_s=change(header.time_s),
        content_time_s=None if content is None else change(content),
    )


def _volumes(
    headers: Mapping[tuple[_SeriesKey, int | None], list[SliceHeader]],
    examination: DicomExamination,
) -> list[_Volume]:
    volumes = []
    for (series, known), slices in headers.items():
        for part in split_series(slices, same_pixels):
            key = _part_key(series, part)
            phase = examination.table.get(key, -1) if examination.table else known
            volumes.append(_Volume(key, part, phase))
    return volumes


def _part_key(series: _SeriesKey, part: SeriesPart) -> str:
    """Return a key of a volume's very files: with one more or less, it is another volume."""
    names = sorted(h.instance or f"{h.path.name} {h.frame}" for h in part.headers)
    text = "|".join((*series, part.kind.name, *names))
    # A letter first: spreadsheets take 12e45 for a number.
    return f"s{hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]}"


def _unknown_keys(examination: DicomExamination, volumes: Mapping[str, _Volume]) -> Finding | None:
    """Return a finding where a table of phases names series of this patient that are not there."""
    if not examination.table:
        return None
    phases = {key for key, phase in examination.table.items() if phase >= 0}
    missing = sorted(phases - set(volumes))
    if examination.is_table_shared and len(missing) < len(phases):
        missing = []
    if not missing:
        return None
    message = (
        f"the table of phases names {len(missing)} series that are not there (such as {missing[0]}):"
        " write it anew for this patient (radiotrain cohort check … --phases NEW.csv)"
    )
    return Finding("phases-table-unmatched", message)


def _same_volume(one: SeriesPart, other: SeriesPart) -> bool:
    """Tell whether two volumes hold the same pixels, by some slices of each."""
    if len(one.headers) != len(other.headers):
        return False
    pairs = list(zip(_by_position(one.headers), _by_position(other.headers), strict=True))
    chosen = {round(i) for i in np.linspace(0, len(pairs) - 1, min(5, len(pairs)))}
    return all(same_pixels(*pairs[i]) for i in sorted(chosen))


def _by_position(headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    normal = headers[0].normal
    return sorted(headers, key=lambda h: float(np.dot(h.position_mm, normal)))


def _evidence(volume: _Volume, tumour: TumourPlace) -> SeriesEvidence:
    headers, _ = usual_geometry(volume.part.headers)
    found = _evidence_of(headers, volume.key, tumour)
    is_split = volume.part.told_by not in (None, "echo time")
    return replace(found, is_split=is_split, known_phase=volume.known_phase)


def _evidence_of(headers: Sequence[SliceHeader], key: str, tumour: TumourPlace) -> SeriesEvidence:
    first = headers[0]
    numbers = [h.instance_number for h in headers if h.instance_number is not None]
    instances = (min(numbers), max(numbers)) if numbers else None
    place = _place(headers)
    return SeriesEvidence(
        key=key,
        description=first.description,
        series_number=first.series_number,
        time_s=_earliest(h.time_s for h in headers),
        num_slices=len(headers),
        study=first.study,
        series=first.series,
        frame_of_reference=first.frame_of_reference,
        image_type=first.image_type,
        content_time_s=_earliest(h.content_time_s for h in headers),
        temporal_position=_common(h.temporal_position for h in headers),
        num_temporal_positions=_common(h.num_temporal_positions for h in headers),
        trigger_time_ms=_earliest(h.trigger_time_ms for h in headers),
        acquisition_number=_common(h.acquisition_number for h in headers),
        instances=instances,
        has_contrast=any(h.has_contrast for h in headers),
        sequence=first.sequence,
        echo_time_ms=_common(h.echo_time_ms for h in headers),
        patients=frozenset(h.patient for h in headers if h.patient),
        place=place,
        holds_tumour=_holds(tumour, first.shape, instances, place),
    )


def _place(headers: Sequence[SliceHeader]) -> Place:
    first = headers[0]
    starts = np.array([h.position_mm for h in headers])
    depths = np.unique(np.round(starts @ first.normal, 2))
    between = float(np.median(np.diff(depths))) if len(depths) > 1 else 0.0
    rows, columns = first.shape
    down = np.array(first.column_direction) * first.spacing_mm[0] * (rows - 1)
    across = np.array(first.row_direction) * first.spacing_mm[1] * (columns - 1)
    corners = np.concatenate((starts, starts + down, starts + across, starts + down + across))
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    directions = (*first.row_direction, *first.column_direction)
    a, b, c = sorted((*first.spacing_mm, between))
    return Place(
        spacing_mm=(a, b, c),
        low_mm=(float(low[0]), float(low[1]), float(low[2])),
        high_mm=(float(high[0]), float(high[1]), float(high[2])),
        geometry=(
            first.shape,
            tuple(round(v, 3) for v in (*first.spacing_mm, *directions)),
            len(headers),
        ),
    )


def _holds(
    tumour: TumourPlace,
    shape: tuple[int, int],
    instances: tuple[int, int] | None,
    place: Place,
) -> bool | None:
    """Tell whether the tumour can lie in a series; None where nothing says so."""
    if tumour.box is None:
        return None
    (r0, c0, s0), s1 = tumour.box.start, tumour.box.stop[2]
    if r0 >= shape[0] or c0 >= shape[1]:
        return False
    if instances is not None and (s1 <= instances[0] - 1 or s0 >= instances[1]):
        return False
    if tumour.side == "L" and place.high_mm[0] < _MIDDLE_MM:
        return False
    return not (tumour.side == "R" and place.low_mm[0] > -_MIDDLE_MM)


def _earliest(times: Iterable[float | None]) -> float | None:
    return min((t for t in times if t is not None), default=None)


def _common(values: Iterable[_T]) -> _T | None:
    """Return the value that all slices have; None where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None


def _listed(evidence: Sequence[SeriesEvidence], decided: PhaseDecision) -> tuple[ListedSeries, ...]:
    start = _earliest(s.time_s for s in evidence)
    numbers = {key: n for n, key in enumerate(decided.phases)}

    def after_first(series: SeriesEvidence) -> float | None:
        known = series.time_s is not None and start is not None
        return round(series.time_s - start, 1) if known else None  # type: ignore[operator]

    rows = [
        ListedSeries(
            key=s.key,
            series_number=s.series_number,
            description=shown_series(s.description),
            image_type=s.kind.value,
            num_slices=s.num_slices,
            time_s=after_first(s),
            temporal_position=s.temporal_position,
            phase=numbers.get(s.key),
            reason=decided.reasons.get(s.key, ""),
        )
        for s in evidence
    ]
    late = float("inf")
    return tuple(
        sorted(
            rows,
            key=lambda r: (r.series_number or 0, r.time_s if r.time_s is not None else late, r.key),
        )
    )


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
