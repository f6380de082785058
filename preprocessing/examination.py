"""From a folder of DICOM files to the ordered phases of one examination.

Files are grouped by what their headers say, not by where they lie: series by series, a series
that holds several phases split into them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from preprocessing import files
from preprocessing.cohort import DicomExamination, Finding
from preprocessing.dicom import DicomVolume, arrange
from preprocessing.dicom_header import SliceHeader, read_slices_or_finding, series_description
from preprocessing.phase_order import (
    SeriesSummary,
    choose_dynamic,
    choose_study,
    is_dynamic,
    order_phases,
)
from preprocessing.shown_names import shown_series
from preprocessing.staging import Stage
from preprocessing.volumes import UnreadableImageError

# Lists, reports and archives that lie among images.
_OTHER_FILES = {
    ".bz2", ".csv", ".gz", ".htm", ".html", ".jpeg", ".jpg", ".json", ".md", ".pdf", ".png",
    ".tar", ".txt", ".xls", ".xlsx", ".xml", ".zip",
}  # fmt: skip
_POSITION_DIGITS = 2


@dataclass(frozen=True)
class Phase:
    """The slices of one phase."""

    name: str
    headers: tuple[SliceHeader, ...]
    findings: tuple[Finding, ...]

    def open(self) -> DicomVolume:
        """Arrange the slices; see `preprocessing.dicom.arrange`."""
        for finding in self.findings:
            if finding.excludes:
                raise UnreadableImageError(finding)
        return arrange(self.headers, self.name, self.findings)


@dataclass(frozen=True)
class FoundPhases:
    """Phases in order, pre-contrast first, and what was odd about the examination."""

    phases: tuple[Phase, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Group:
    """Slices of one series, or of one phase in it, and the findings of the folder they lie in."""

    headers: tuple[SliceHeader, ...]
    findings: tuple[Finding, ...]
    known_phase: int | None


def find_phases(examination: DicomExamination, num_wanted: int, stage: Stage) -> FoundPhases:
    """Read the headers of an examination's dynamic series and put its phases in order.

    Parameters
    ----------
    num_wanted
        Phases that are needed.
    """
    folders = _list_files(examination.folder)
    if not folders:
        message = f"folder {examination.folder.name} holds no DICOM files"
        return FoundPhases((), (Finding("no-images", message),))
    likely = _likely_dynamic(folders, examination.known_phases, stage)
    found = _phases_in(likely, examination, num_wanted, stage)
    if len(found.phases) < num_wanted and len(likely) < len(folders):
        # A folder's first file may be of another series than the rest.
        found = _phases_in(folders, examination, num_wanted, stage)
    return found


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
    folders: Mapping[str, list[Path]], known_phases: Mapping[str, int], stage: Stage
) -> dict[str, list[Path]]:
    """Return the folders whose first image, or whose table entry, is of a dynamic series."""
    firsts = dict(zip(folders, stage.local([paths[0] for paths in folders.values()]), strict=True))
    likely = {}
    for place, paths in folders.items():
        if known_phases:
            told = [known_phases.get(f"{place}/{p.name}", known_phases.get(place)) for p in paths]
            chosen = any(phase is not None and phase >= 0 for phase in told)
        else:
            header = _first_header([firsts[place], *paths[1:]], stage)
            name = series_description(firsts[place]) if header is None else header.description
            # One that nothing can be read of may be a phase: it must not go unnoticed.
            chosen = name is None or is_dynamic(name)
        if chosen:
            likely[place] = paths
    return likely or dict(folders)


def _first_header(paths: Sequence[Path], stage: Stage) -> SliceHeader | None:
    """Return the first header that can be read; a damaged file is reported when it is needed."""
    for path in paths:
        slices = read_slices_or_finding(stage.local([path])[0])
        if not isinstance(slices, Finding):
            return slices[0]
    return None


def _phases_in(
    folders: Mapping[str, list[Path]], examination: DicomExamination, num_wanted: int, stage: Stage
) -> FoundPhases:
    groups: dict[str, _Group] = {}
    unusable: list[Finding] = []
    for place, paths in folders.items():
        found, findings = _groups_in(place, paths, examination.known_phases, stage)
        unusable.extend(f for f in findings if f.excludes and not found)
        for group in found:
            for part in _split(group):
                groups[str(len(groups))] = part
    summaries = [_summary(key, group) for key, group in groups.items()]
    dynamic = choose_dynamic(summaries)
    study = choose_study(dynamic.series)
    ordered = order_phases(study.series, num_wanted)
    if unusable and (len(ordered.series) < num_wanted or not ordered.is_told):
        # It may be a phase; without it a later one would take its place.
        return FoundPhases((), tuple(unusable[:1]))
    if any(f.excludes for f in ordered.findings):
        return FoundPhases((), ordered.findings)
    if not ordered.series:
        names = sorted({shown_series(s.description) for s in summaries})
        message = (
            f"no dynamic series among {names}" if names else "none of its files is a DICOM image"
        )
        return FoundPhases((), (Finding("no-dynamic-series" if names else "no-images", message),))
    phases = tuple(
        Phase(shown_series(s.description), groups[s.key].headers, groups[s.key].findings)
        for s in ordered.series
    )
    unread = tuple(replace(f, excludes=False) for f in unusable)
    return FoundPhases(phases, (*dynamic.findings, *study.findings, *ordered.findings, *unread))


def _groups_in(
    place: str, paths: Sequence[Path], known_phases: Mapping[str, int], stage: Stage
) -> tuple[list[_Group], list[Finding]]:
    """Group one folder's images by series, and by phase where a table tells it file by file.

    Returns
    -------
    The groups, and what was odd about files of the folder.
    """
    headers: dict[tuple[str, int | None], list[SliceHeader]] = defaultdict(list)
    findings: list[Finding] = []
    for path, local in zip(paths, stage.local(paths), strict=True):
        slices = read_slices_or_finding(local)
        if not isinstance(slices, Finding):
            known = known_phases.get(f"{place}/{path.name}", known_phases.get(place))
            headers[slices[0].series, known].extend(slices)
        elif path.suffix.lower() == ".dcm" or _has_magic(local):
            findings.append(slices)
    groups = [_Group(tuple(g), tuple(findings), known) for (_, known), g in headers.items()]
    return groups, findings


def _split(group: _Group) -> list[_Group]:
    parts = split_phases(group.headers)
    if len(parts) == 1:
        return [group]
    name = shown_series(group.headers[0].description)
    message = f"series {name!r} holds {len(parts)} phases: taken apart"
    note = Finding("series-split", message, excludes=False)
    return [_Group(tuple(part), (note, *group.findings), None) for part in parts]


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def split_phases(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Take a series apart where its positions repeat and something tells the repeats apart.

    Returns
    -------
    One list of slices a phase, in order; all in one where the series is one phase (or where its
    repeated slices are copies, which `arrange` reports).
    """
    num_positions = len({_position(h) for h in headers})
    if num_positions == len(headers) or num_positions < 2:
        return [list(headers)]
    for key in _PHASE_KEYS:
        parts: dict[float, list[SliceHeader]] = defaultdict(list)
        for header in headers:
            value = key(header)
            parts[float("inf") if value is None else float(value)].append(header)
        sizes = Counter(len(part) for part in parts.values())
        whole = all(len({_position(h) for h in p}) == num_positions for p in parts.values())
        if len(parts) > 1 and whole and len(sizes) == 1:
            return [parts[value] for value in sorted(parts)]
    return [list(headers)]


# What tells phases of one series apart, most telling first.
_PHASE_KEYS: tuple[Callable[[SliceHeader], float | None], ...] = (
    lambda h: h.temporal_position,
    lambda h: h.acquisition_number,
    lambda h: h.time_s,
    lambda h: h.content_time_s,
    lambda h: h.trigger_time_ms,
)


def _position(header: SliceHeader) -> tuple[float, ...]:
    return tuple(round(v, _POSITION_DIGITS) for v in header.position_mm)


def _summary(key: str, group: _Group) -> SeriesSummary:
    first = group.headers[0]
    directions = (*first.row_direction, *first.column_direction)
    return SeriesSummary(
        key=key,
        description=first.description,
        series_number=first.series_number,
        time_s=_earliest(group.headers),
        num_files=len(group.headers),
        study=first.study,
        known_phase=group.known_phase,
        geometry=(
            first.shape,
            tuple(round(v, 3) for v in (*first.spacing_mm, *directions)),
            len(group.headers),
        ),
    )


def _earliest(headers: Iterable[SliceHeader]) -> float | None:
    return min((h.time_s for h in headers if h.time_s is not None), default=None)
