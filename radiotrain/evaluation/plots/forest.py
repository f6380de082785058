"""Forest plot of subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radiotrain.evaluation.numbers import ci_text
from radiotrain.evaluation.numbers import interval as interval_text
from radiotrain.evaluation.plots.plot import GREY, OURS, Plot, make_plot, plot_file_name
from radiotrain.evaluation.subgroups.subgroup_results import (
    Group,
    Overall,
    Subgroups,
    VariableResult,
)

# Letters as text: drawn as shapes, a plot of fifty rows would weigh as much as the rest of a report.
_STYLE: Any = {
    "svg.hashsalt": "radiotrain",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.edgecolor": GREY,
}
_INK, _SOFT = "#1c2733", "#5a6673"
_ROW_INCHES = 0.21
_WIDTH_INCHES = 8.6
# Of the figure's width: where intervals are drawn, and where the columns of text begin.
_LEFT, _RIGHT = 0.37, 0.72
_NAME_AT, _COUNT_AT, _AUC_AT = 0.015, 0.34, 0.74
_LONGEST_NAME = 34


@dataclass(frozen=True)
class _Row:
    name: str
    group: Group | None = None
    is_heading: bool = False


def draw_forests(subgroups: Subgroups | None) -> tuple[Plot, ...]:
    """Draw the forest plot of each run and target in `Subgroups.overall`, in that order."""
    found = []
    for num, overall in enumerate(subgroups.overall if subgroups else (), start=1):
        results = subgroups.of(overall.run, overall.target) if subgroups else ()
        found.append(
            make_plot(
                plot_file_name("subgroups", num, overall.target, overall.run),
                draw_forest(overall, results),
                f"Forest plot of {overall.target}, run {overall.run}. All test patients: AUC"
                f" {ci_text(overall.auc, overall.auc_ci95)}. {_groups_text(results)}",
                f"{overall.target}, run {overall.run}: AUC in groups of test patients, with 95%"
                " CIs (score). Grey: too few of a class to judge. Dashed: all test patients."
                " Dotted: chance (AUC 0.5).",
            )
        )
    return tuple(found)


def _groups_text(results: Sequence[VariableResult]) -> str:
    """Return the judged groups and their AUCs in words."""
    found = [
        f"{r.variable}, {g.name}: {ci_text(g.auc, g.auc_ci95)}" for r in results for g in r.judged
    ]
    return f"{'; '.join(found)}." if found else "No group has enough patients of both classes."


def draw_forest(overall: Overall, results: Sequence[VariableResult]) -> Figure:
    """Draw one run and target.

    Groups with too few to judge are grey, those withheld have no point. The dashed line is the AUC
    of all test patients, the dotted one chance.

    Parameters
    ----------
    results
        Of this run and target.
    """
    rows = [_Row("All test patients", is_heading=True)]
    for result in results:
        rows.append(_Row(result.variable, is_heading=True))
        rows += [_Row(group.name, group) for group in result.groups]
    height = _ROW_INCHES * (len(rows) + 4)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, height))
        axes = figure.add_axes((_LEFT, 2.6 * _ROW_INCHES / height, _RIGHT - _LEFT,
                                _ROW_INCHES * len(rows) / height))  # fmt: skip
        _frame(axes, len(rows), overall)
        _head(axes)
        for place, row in enumerate(rows):
            _draw_name(axes, place, row)
            if place == 0:
                _draw_point(axes, place, overall.auc, overall.auc_ci95, _INK, "D")
                _write_auc(axes, place, overall.auc, overall.auc_ci95, _INK)
            elif row.group is not None:
                _draw_group(axes, place, row.group)
        return figure


def _frame(axes: Axes, num_rows: int, overall: Overall) -> None:
    axes.set(xlim=(0, 1), ylim=(num_rows - 0.5, -0.5))
    axes.set_yticks([])
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("AUC and 95% CI")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (1, 3)))
    if overall.auc is not None:
        axes.axvline(overall.auc, color=_SOFT, linewidth=1, linestyle=(0, (5, 4)))


def _head(axes: Axes) -> None:
    _write(axes, _COUNT_AT, -1, "patients (positive)", _SOFT, align="right")
    _write(axes, _AUC_AT, -1, "AUC (95% CI)", _SOFT)


def _draw_name(axes: Axes, place: int, row: _Row) -> None:
    name = row.name if len(row.name) <= _LONGEST_NAME else f"{row.name[: _LONGEST_NAME - 1]}…"
    if row.is_heading:
        _write(axes, _NAME_AT, place, name, _INK, weight="bold")
        return
    colour = _INK if row.group is not None and row.group.standing == "judged" else _SOFT
    _write(axes, _NAME_AT + 0.02, place, name, colour)


def _draw_group(axes: Axes, place: int, group: Group) -> None:
    counts = f"{group.patients_shown} ({group.positives_shown})"
    _write(axes, _COUNT_AT, place, counts, _SOFT, align="right")
    if group.standing == "withheld":
        _write(axes, _AUC_AT, place, "withheld: too few", GREY)
        return
    is_judged = group.standing == "judged" and not group.is_unknown
    colour = OURS if is_judged else GREY
    _draw_point(axes, place, group.auc, group.auc_ci95, colour, "o")
    note = ", too few to say" if group.standing == "too few to say" else ""
    _write_auc(axes, place, group.auc, group.auc_ci95, _INK if is_judged else _SOFT, note)


def _draw_point(
    axes: Axes,
    place: int,
    area: float | None,
    interval: tuple[float, float] | None,
    colour: str,
    marker: str,
) -> None:
    if area is None:
        return
    if interval is not None:
        axes.plot(interval, (place, place), color=colour, linewidth=1.6, solid_capstyle="butt")
    axes.plot(area, place, marker, color=colour, markersize=6, markeredgecolor="white")


def _write_auc(
    axes: Axes,
    place: int,
    area: float | None,
    ends: tuple[float, float] | None,
    colour: str,
    note: str = "",
) -> None:
    text = "not defined" if area is None else f"{area:.2f}"
    if ends is not None:
        text += f" ({interval_text(ends)})"
    _write(axes, _AUC_AT, place, text + note, colour)


def _write(
    axes: Axes,
    x: float,
    place: int,
    text: str,
    colour: str,
    *,
    align: str = "left",
    weight: str = "normal",
) -> None:
    """Write in a row, at a share of the figure's width; data may hold what mathtext would read."""
    axes.annotate(
        text.replace("$", r"\$"),
        (x, place),
        xycoords=(axes.figure.transFigure, axes.transData),
        color=colour,
        ha=align,
        va="center",
        weight=weight,
        annotation_clip=False,
    )
