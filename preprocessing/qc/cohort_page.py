"""The cohort's page: used and excluded patients, plots, and the table."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.page import data_uri, figure_svg
from preprocessing.qc.measures import Measure, measures_of
from preprocessing.qc.outliers import LARGEST, LIMIT, Entry, implausible_of
from preprocessing.qc.patient_page import known_times, render, short_number
from preprocessing.qc.study import QUANTILE_SHARES
from preprocessing.store import PatientRecord, Store

_USUAL, _ODD = "#7fa8d0", "#f0a04b"
_PHASES = ("#7fa8d0", "#8fc79a", "#d7c36b", "#d99bc4", "#9d9be0")
_SOFT, _LINE = "#929ba6", "#2b3138"
_STYLE: Any = {
    "svg.hashsalt": "radiotrain",
    "font.size": 10,
    "axes.edgecolor": _SOFT,
    "axes.labelcolor": _SOFT,
    "text.color": _SOFT,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
}
_SIZE = (3.7, 2.7)
_DPI = 160
# More lines than this are drawn as points of a picture, so that the file stays small.
_MANY_LINES = 100
_NUM_BINS = 30
# An axis that spans less than this factor has a mark at every digit.
_NEAR = 5


def spacing_svg(entries: Sequence[Entry]) -> str | None:
    """Draw how many patients have which pixel and slice spacing."""
    drawn = [
        (key, label, [v for e in entries if not math.isnan(v := e.study.measures[key])])
        for key, label in (("in_plane", "between pixels"), ("between_slices", "between slices"))
    ]
    if not any(values for _, _, values in drawn):
        return None

    def draw(figure: Figure) -> None:
        for axes, (_, label, values) in zip(figure.subplots(1, 2, sharey=True), drawn, strict=True):
            axes.hist(values, bins=_bins(values, 0.02), color=_USUAL)
            _frame(axes, f"mm {label}", "")
        figure.axes[0].set_ylabel("patients")
        figure.axes[0].yaxis.set_major_locator(MaxNLocator(5, integer=True))

    return _svg(draw)


def times_svg(entries: Sequence[Entry], num_phases: int) -> str | None:
    """Draw when each phase was taken."""
    times = [
        [v for e in entries if not math.isnan(v := e.study.measures[f"time_{p}"])]
        for p in range(1, num_phases)
    ]
    if not any(times):
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        bins = _bins([t for phase in times for t in phase], 5.0)
        for p, values in enumerate(times, start=1):
            colour = _PHASES[(p - 1) % len(_PHASES)]
            axes.hist(values, bins=bins, color=colour, alpha=0.75, label=f"phase {p}")
        axes.legend(frameon=False, fontsize=8.5)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _frame(axes, "seconds after the pre-contrast", "patients")

    return _svg(draw)


def intensity_svg(entries: Sequence[Entry]) -> str | None:
    """Draw the distribution of each patient's pre-contrast tissue, one thin line a patient."""
    shown = [e for e in entries if e.study.tissue_quantiles]
    shown = [e for e in shown if e.study.tissue_quantiles[0] > 0]
    if not shown:
        return None
    quantiles = np.array([e.study.tissue_quantiles for e in shown])
    edges = np.geomspace(np.percentile(quantiles[:, 0], 1), np.percentile(quantiles, 99.8), 61)
    middles = np.sqrt(edges[:-1] * edges[1:])

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        lines = [
            (middles, 100 * np.diff(np.interp(edges, row, QUANTILE_SHARES)), "tissue" in e.odd_keys)
            for e, row in zip(shown, quantiles, strict=True)
        ]
        _thin_lines(axes, lines)
        axes.set_xscale("log")
        near = edges[-1] < _NEAR * edges[0]
        axes.xaxis.set_major_locator(LogLocator(subs=range(1, 10) if near else (1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0)
        _frame(axes, "intensity before contrast", "% of the tissue")

    return _svg(draw)


def enhancement_svg(entries: Sequence[Entry], num_phases: int) -> str | None:
    """Draw all tumours' enhancement curves, against time if any patient's times are known."""
    shown = [e for e in entries if e.study.tumour is not None and len(e.study.tumour) > 1]
    timed = [e for e in shown if known_times(e.record, num_phases) is not None]
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        lines = []
        for e in timed or shown:
            at = known_times(e.record, num_phases) if timed else range(num_phases)
            percent = 100 * np.array(e.study.tumour)
            lines.append((np.array(at), percent, "peak" in e.odd_keys))
        _thin_lines(axes, lines)
        _frame(axes, "seconds after the pre-contrast" if timed else "phase", "enhancement, %")
        if not timed:
            axes.set_xticks(range(num_phases))

    return _svg(draw)


def _thin_lines(axes: Axes, lines: Sequence[tuple[Any, Any, bool]]) -> None:
    many = len(lines) > _MANY_LINES
    alpha = min(0.8, max(0.12, 20 / len(lines)))
    for x, y, odd in lines:
        axes.plot(
            x,
            y,
            color=_ODD if odd else _USUAL,
            alpha=0.9 if odd else alpha,
            linewidth=1.0 if odd else 0.8,
            zorder=3 if odd else 2,
            rasterized=many,
        )


def _bins(values: Sequence[float], narrowest: float) -> Any:
    """Return edges of bins no narrower than a difference that matters."""
    if not values:
        return 1
    low, high = min(values), max(values)
    width = max((high - low) / _NUM_BINS, narrowest)
    num = max(1, math.ceil((high - low) / width))
    # Centred on the values, so that equal ones are not split by rounding.
    return low - width / 2 + width * np.arange(num + 2)


def _frame(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_facecolor("none")
    axes.grid(color=_LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _svg(draw: Callable[[Figure], None]) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained", dpi=_DPI, facecolor="none")
        draw(figure)
        return figure_svg(figure, dpi=_DPI)


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
        ("Spacing", "Pixels within a slice, and slices.", spacing_svg(entries)),
        (
            "Time of the phases",
            "Where files say when they were taken.",
            times_svg(entries, num_phases),
        ),
        (
            "Intensity before contrast",
            "Tissue (above Otsu's threshold), a line a patient; orange where the median is odd.",
            intensity_svg(entries),
        ),
        (
            "Enhancement of the tumours",
            "Mean over the marked region against before contrast; orange where the peak is odd.",
            enhancement_svg(entries, num_phases),
        ),
    )
    return tuple(Plot(title, detail, svg) for title, detail, svg in drawn if svg is not None)
