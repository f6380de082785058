"""The cohort's page: who is there, who is not and why, how patients differ, and the table."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from preprocessing.cohort import MISSING_LABEL
from preprocessing.page import data_uri
from preprocessing.qc import cohort_plots
from preprocessing.qc.entries import Entry, implausible_of
from preprocessing.qc.measures import Measure, measures_of
from preprocessing.qc.outliers import LARGEST, LIMIT
from preprocessing.qc.templating import render, short_number
from preprocessing.store import PatientRecord, Store

# A covariate with more values than this is no group of patients.
_MOST_GROUPS = 12
_SCANNER_FIRST = ("manufacturer", "model", "field_strength_t", "field_t")

Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Plot:
    """An SVG picture with its caption."""

    title: str
    detail: str
    svg: str

    @property
    def uri(self) -> str:
        """The picture as an address that holds the picture itself."""
        return data_uri(self.svg.encode())


@dataclass(frozen=True)
class LabelCounts:
    """How many stored patients have which label."""

    target: str
    positive: int
    negative: int
    missing: int


def render_cohort(store: Store, entries: Sequence[Entry]) -> str:
    """Return the HTML of the cohort's page."""
    measures = measures_of(store.spec.num_phases)
    return render(
        "index.html.j2",
        store=store,
        settings=json.dumps(dict(store.spec.settings), indent=1, ensure_ascii=False),
        versions=", ".join(f"{k} {v}" for k, v in sorted(store.versions.items())),
        entries=entries,
        num_damaged=sum(e.damaged for e in entries),
        num_odd=sum(bool(e.oddness.odd) for e in entries),
        implausible=tuple(e for e in entries if e.implausible),
        excluded=sorted(store.excluded, key=lambda r: not implausible_of(r)),
        excluded_by_code=excluded_by_code(store.excluded),
        findings_by_code=tuple(Counter(f.code for e in entries for f in e.findings).most_common()),
        groups=count_groups(store.records),
        labels=count_labels(store),
        plots=_plots(entries, store.spec.num_phases),
        columns=_columns(measures, entries),
        limit=LIMIT,
        largest=LARGEST,
    )


def excluded_by_code(excluded: Sequence[PatientRecord]) -> Counts:
    """Return the codes for which patients were excluded, and how many for each, most first."""
    return tuple(Counter(record.exclusion_code for record in excluded).most_common())


def count_groups(records: Sequence[PatientRecord]) -> tuple[tuple[str, Counts], ...]:
    """Return, for each covariate that makes groups, its values and how many patients have each."""
    keys = {key for record in records for key in record.covariates}
    found = []
    for key in sorted(keys, key=lambda k: (_rank(k), k)):
        values = (record.covariates.get(key) for record in records)
        counts = Counter("not given" if v is None else short_number(v) for v in values)
        if len(counts) <= _MOST_GROUPS:
            found.append((key, tuple(counts.most_common())))
    return tuple(found)


def count_labels(store: Store) -> tuple[LabelCounts, ...]:
    """Return each target's labels, counted over the stored patients."""
    found = []
    for target, column in zip(store.targets, store.labels.T, strict=True):
        positive, negative, missing = (int((column == v).sum()) for v in (1, 0, MISSING_LABEL))
        found.append(LabelCounts(target, positive, negative, missing))
    return tuple(found)


def _rank(key: str) -> int:
    return _SCANNER_FIRST.index(key) if key in _SCANNER_FIRST else len(_SCANNER_FIRST)


def _columns(measures: Sequence[Measure], entries: Sequence[Entry]) -> tuple[Measure, ...]:
    """Return the measures with columns of their own: of the times only the last, and no empty one."""
    times = [m for m in measures if m.key.startswith("time_")]
    known = {k for e in entries for k, v in e.study.measures.items() if not math.isnan(v)}
    left_out = {*(m.key for m in times[:-1]), "edge", "findings"}
    return tuple(m for m in measures if m.key in known - left_out)


def _plots(entries: Sequence[Entry], num_phases: int) -> tuple[Plot, ...]:
    drawn = (
        ("Spacing", "Pixels within a slice, and slices.", cohort_plots.spacing_svg(entries)),
        (
            "Time of the phases",
            "Where files say when they were taken.",
            cohort_plots.times_svg(entries, num_phases),
        ),
        (
            "Intensity before contrast",
            "Tissue (above Otsu's threshold), a line a patient; orange where the median is odd.",
            cohort_plots.intensity_svg(entries),
        ),
        (
            "Enhancement of the tumours",
            "Mean over the marked region against before contrast; orange where the peak is odd.",
            cohort_plots.enhancement_svg(entries, num_phases),
        ),
    )
    return tuple(Plot(title, detail, svg) for title, detail, svg in drawn if svg is not None)
