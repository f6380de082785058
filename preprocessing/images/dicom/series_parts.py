"""A series taken apart into volumes: by kind of image, then by what tells repeated slices apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from preprocessing.cohort.cohort import Finding
from preprocessing.common.redaction import shown_series
from preprocessing.images.dicom.series_words import Kind, kind_of
from preprocessing.images.dicom.slice_header import SliceHeader

# Positions are written with some digits; scanners move patients by whole slices.
_POSITION_DIGITS = 2
# A part has at least this share of the series' positions; what has fewer was told apart by slice.
_FULL = 0.5
# Of a series' slices; more that lie otherwise are a mixture.
_MOST_STRAYS = 0.1

SamePixels = Callable[[SliceHeader, SliceHeader], bool]


@dataclass(frozen=True)
class SeriesPart:
    """The slices of one volume of a series.

    Parameters
    ----------
    told_by
        What tells it from the other volumes of its series, e.g. ``temporal position``; None where
        it is the only one of its kind.
    """

    headers: tuple[SliceHeader, ...]
    kind: Kind
    findings: tuple[Finding, ...] = ()
    told_by: str | None = None


def split_series(headers: Sequence[SliceHeader], same_pixels: SamePixels) -> list[SeriesPart]:
    """Take a series apart into volumes.

    Parameters
    ----------
    same_pixels
        Whether two slices hold the same pixels; asked of slices at one position only.

    Returns
    -------
    Volumes in a fixed order. Slices at one position whose pixels are equal are there once, with
    finding ``duplicate-slices``; slices that differ and that nothing tells apart give one volume
    with the excluding finding ``slices-ambiguous``.
    """
    kinds: dict[Kind, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        kinds[kind_of(header.description, header.image_type)].append(header)
    parts: list[SeriesPart] = []
    for kind in sorted(kinds, key=lambda k: k.name):
        parts.extend(_split_kind(kinds[kind], kind, same_pixels, several=len(kinds) > 1))
    return parts


def _split_kind(
    headers: list[SliceHeader], kind: Kind, same_pixels: SamePixels, *, several: bool
) -> list[SeriesPart]:
    name = shown_series(headers[0].description)
    notes: tuple[Finding, ...] = ()
    if several:
        message = f"series {name!r} mixes kinds of images: taken apart"
        notes = (Finding("series-split", message, excludes=False),)
    if _most_at_one_position(headers) < 2:
        return [SeriesPart(tuple(headers), kind, notes)]
    usual, strays = usual_geometry(headers)
    # A few slices that lie otherwise, such as a localiser's: of one volume they stay, to be named.
    if len(strays) <= _MOST_STRAYS * len(headers) and len(strays):
        message = f"series {name!r} has {len(strays)} slices of another size or direction: ignored"
        notes = (*notes, Finding("other-geometry-ignored", message, excludes=False))
        strays = []
    alone = _without_duplicates(usual, same_pixels)
    if alone is not None:
        return [SeriesPart((*alone, *strays), kind, (*notes, *_duplicates(name, usual, alone)))]
    found = _told_apart(usual, same_pixels)
    if found is None:
        message = (
            f"series {name!r} holds {_most_at_one_position(usual)} different slices at one position,"
            " and nothing in their headers tells them apart"
        )
        return [SeriesPart(tuple(headers), kind, (*notes, Finding("slices-ambiguous", message)))]
    told_by, volumes = found
    message = f"series {name!r} holds {len(volumes)} volumes: taken apart by {told_by}"
    notes = (*notes, Finding("series-split", message, excludes=False))
    parts = []
    for number, volume in enumerate(volumes):
        kept = _without_duplicates(volume, same_pixels) or volume
        own = (*notes, *_duplicates(name, volume, kept))
        rest = strays if number == 0 else []
        parts.append(SeriesPart((*kept, *rest), kind, own, told_by))
    return parts


def _duplicates(
    name: str, before: Sequence[SliceHeader], after: Sequence[SliceHeader]
) -> tuple[Finding, ...]:
    count = len(before) - len(after)
    if not count:
        return ()
    message = f"series {name!r} has {count} slices twice, with the same pixels: used once"
    return (Finding("duplicate-slices", message, excludes=False),)


def usual_geometry(
    headers: Sequence[SliceHeader],
) -> tuple[list[SliceHeader], list[SliceHeader]]:
    """Return the slices of the most common size and direction, and the others."""
    usual = Counter(map(_geometry, headers)).most_common(1)[0][0]
    return (
        [h for h in headers if _geometry(h) == usual],
        [h for h in headers if _geometry(h) != usual],
    )


def _geometry(header: SliceHeader) -> tuple[Hashable, ...]:
    directions = _rounded((*header.row_direction, *header.column_direction))
    return (*header.shape, *header.spacing_mm, *directions)


@lru_cache(maxsize=1024)
def _rounded(directions: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(v, 3) for v in directions)


def _position(header: SliceHeader) -> tuple[float, ...]:
    return tuple(round(v, _POSITION_DIGITS) for v in header.position_mm)


def _most_at_one_position(headers: Sequence[SliceHeader]) -> int:
    return max(Counter((_geometry(h), _position(h)) for h in headers).values())


def _without_duplicates(
    headers: Sequence[SliceHeader], same_pixels: SamePixels
) -> list[SliceHeader] | None:
    """Return one slice a position; None where two at one position differ.

    Of equal slices the one that was numbered first stays.
    """
    kept: dict[tuple[float, ...], SliceHeader] = {}
    for header in sorted(headers, key=_numbered):
        first = kept.setdefault(_position(header), header)
        if first is not header and not same_pixels(first, header):
            return None
    return list(kept.values())


def _numbered(header: SliceHeader) -> tuple[int, str]:
    return header.instance_number or 0, header.path.name


# What tells volumes of one series apart, most telling first.
_KEYS: tuple[tuple[str, Callable[[SliceHeader], Hashable]], ...] = (
    ("temporal position", lambda h: h.temporal_position),
    ("acquisition number", lambda h: h.acquisition_number),
    ("acquisition time", lambda h: h.time_s),
    ("content time", lambda h: h.content_time_s),
    ("trigger time", lambda h: h.trigger_time_ms),
    ("echo time", lambda h: h.echo_time_ms),
)


def _told_apart(
    headers: Sequence[SliceHeader], same_pixels: SamePixels
) -> tuple[str, list[list[SliceHeader]]] | None:
    """Return what tells the volumes of one geometry apart, and the volumes."""
    for name, key in _KEYS:
        volumes = _grouped(headers, key)
        if _are_volumes(volumes, headers, same_pixels):
            return name, volumes
    for (name, key), (other_name, other) in combinations(_KEYS, 2):
        volumes = _grouped(headers, lambda h, a=key, b=other: (a(h), b(h)))  # type: ignore[misc]
        if _are_volumes(volumes, headers, same_pixels):
            return f"{name} and {other_name}", volumes
    numbered = _by_instance_number(headers)
    if numbered is None or any(_are_half_told(numbered, key) for _, key in _KEYS):
        return None
    return "instance numbers", numbered


def _are_half_told(
    volumes: Sequence[Sequence[SliceHeader]], key: Callable[[SliceHeader], Hashable]
) -> bool:
    """Tell whether something that volumes have says of some of them that they are one, of others not."""
    values = [{key(h) for h in volume} for volume in volumes]
    if any(len(found) > 1 for found in values):
        return False
    return 1 < len({found.pop() for found in values}) < len(volumes)


def _grouped(
    headers: Sequence[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[list[SliceHeader]]:
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return [groups[value] for value in sorted(groups, key=_sortable)]


def _sortable(value: Hashable) -> tuple[tuple[bool, float], ...]:
    values = value if isinstance(value, tuple) else (value,)
    return tuple((v is None, float(v) if v is not None else 0.0) for v in values)


def _are_volumes(
    groups: Sequence[Sequence[SliceHeader]],
    headers: Sequence[SliceHeader],
    same_pixels: SamePixels,
) -> bool:
    if not 1 < len(groups) <= _most_at_one_position(headers):
        return False
    num_positions = len({_position(h) for h in headers})
    sizes = sorted(len(group) for group in groups)
    if sizes[len(sizes) // 2] < _FULL * num_positions:
        return False
    return all(_without_duplicates(group, same_pixels) is not None for group in groups)


def _by_instance_number(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]] | None:
    """Return the k-th slice of each position, in order of numbers, as the k-th volume."""
    numbers = [h.instance_number for h in headers]
    counts = set(Counter(map(_position, headers)).values())
    if None in numbers or len(set(numbers)) < len(numbers) or len(counts) > 1:
        return None
    volumes: list[list[SliceHeader]] = [[] for _ in range(counts.pop())]
    seen: Counter[tuple[float, ...]] = Counter()
    for header in sorted(headers, key=_numbered):
        volumes[seen[_position(header)]].append(header)
        seen[_position(header)] += 1
    return volumes
