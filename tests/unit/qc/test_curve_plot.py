from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from preprocessing.qc.patient_page import known_times, nice_ticks, plot_curves
from preprocessing.store import PatientRecord


def _record(*times: float | None) -> PatientRecord:
    return PatientRecord(0, "P", "stored", phase_times_s=times)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((0.0, 131.0, 260.0), (0.0, 131.0, 260.0)),
        ((0.0, None, 260.0), None),
        ((0.0, 0.0, 0.0), None),
        ((0.0, 131.0), None),
        ((), None),
    ],
)
def test_times_are_used_if_all_are_known_and_increase(
    times: tuple[float | None, ...], expected: tuple[float, ...] | None
) -> None:
    assert known_times(_record(*times), 3) == expected


def test_points_lie_at_their_ticks() -> None:
    plot = plot_curves([("tumour", (0.0, 1.0, 0.5))], (0.0, 100.0, 200.0))
    assert plot is not None
    x, y = ({text: at for at, text in ticks} for ticks in (plot.x_ticks, plot.y_ticks))
    (line,) = plot.lines
    assert line.points == (
        (x["0"], y["0"]),
        (x["100"], pytest.approx(y["100"])),
        (x["200"], pytest.approx((y["0"] + y["100"]) / 2)),
    )


def test_without_times_phases_are_side_by_side() -> None:
    plot = plot_curves([("tumour", (0.0, 1.0, 0.5)), ("tissue", None)], None)
    assert plot is not None
    assert plot.x_title == "phase"
    assert [text for _, text in plot.x_ticks] == ["0", "1", "2"]
    assert len(plot.lines) == 1


@pytest.mark.parametrize("curve", [None, (0.0,)])
def test_one_phase_is_no_curve(curve: tuple[float, ...] | None) -> None:
    assert plot_curves([("tumour", curve)], None) is None


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_are_few_and_reach_around_the_values(low: float, high: float) -> None:
    assume(low == high or high - low > 1e-3)
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-6
    assert ticks[-1] >= high - 1e-6
    assert 2 <= len(ticks) <= 9
