"""One patient's page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from preprocessing.qc import curve_plot
from preprocessing.qc.entries import Entry
from preprocessing.qc.field import colour_span, css_gradient, span_percent
from preprocessing.qc.measures import measures_of
from preprocessing.qc.outliers import Yardstick
from preprocessing.qc.panels import describe_phase, make_figures, make_strip
from preprocessing.qc.templating import render


@dataclass(frozen=True)
class Place:
    """Where in the order a patient is: its number from 1, and the pages beside its own."""

    number: int
    count: int
    previous: Entry | None
    following: Entry | None


def render_patient(
    entry: Entry, place: Place, num_phases: int, yardsticks: Sequence[Yardstick]
) -> str:
    """Return the HTML of a patient's page."""
    study, record = entry.study, entry.record
    pictures = study.pictures
    percent = None if pictures is None else pictures.field_percent
    figures = () if pictures is None else make_figures(pictures, record, num_phases)
    return render(
        "patient.html.j2",
        entry=entry,
        place=place,
        figures=figures,
        strip=make_strip(figures, study.tumour),
        curve=curve_plot.plot_curves(
            (("tumour", study.tumour), ("tissue", study.tissue)),
            curve_plot.known_times(record, num_phases),
        ),
        phases=[(p, *describe_phase(record, p)) for p in range(num_phases)],
        measures=[
            (m, study.measures[m.key]) for m in measures_of(num_phases) if m.key in study.measures
        ],
        usual={y.measure.key: y.measure.text(y.usual) for y in yardsticks},
        gradient=css_gradient(),
        ends=None if percent is None else span_percent(colour_span(percent)),
    )
