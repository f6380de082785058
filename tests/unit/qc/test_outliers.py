from __future__ import annotations

import math

import numpy as np
import pytest

from preprocessing.qc.measures import measures_of
from preprocessing.qc.outliers import LARGEST, LIMIT, Oddness, judge, make_yardsticks

MEASURES = measures_of(3)
USUAL = {
    "in_plane": 0.7,
    "between_slices": 1.1,
    "time_1": 131.0,
    "time_2": 260.0,
    "tissue": 240.0,
    "peak": 120.0,
    "field": 25.0,
    "box": 30.0,
    "padding": 0.0,
    "findings": 0.0,
    "edge": 0.0,
}


def _judge_all(patients: list[dict[str, float]]) -> list[Oddness]:
    yardsticks = make_yardsticks(patients, MEASURES)
    return [judge(p, yardsticks) for p in patients]


def _cohort(spread: float) -> list[dict[str, float]]:
    """Twenty patients, all alike at a spread of 0."""
    generator = np.random.default_rng(0)
    return [
        {k: v * math.exp(spread * generator.standard_normal()) for k, v in USUAL.items()}
        for _ in range(20)
    ]


@pytest.mark.parametrize("spread", [0.0, 0.02])
@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("in_plane", 1.4, "pixel spacing 1.40 mm, usual 0.70 mm"),
        ("between_slices", 5.0, "slice spacing 5.00 mm, usual 1.10 mm"),
        ("time_2", 410.0, "phase 2 at 410 s, usual 260 s"),
        ("tissue", 20.0, "pre-contrast tissue median 20.0, usual 240.0"),
        ("peak", -3.0, "tumour's peak enhancement -3 %, usual 120 %"),
        ("field", 90.0, "bias field's range 90 %, usual 25 %"),
        ("box", 200.0, "box's longest side 200 mm, usual 30 mm"),
        ("padding", 40.0, "padding 40.0 %, usual 0.0 %"),
        ("findings", 3.0, "findings 3, usual 0"),
        ("edge", 1.0, "box at the crop's edge yes, usual no"),
        ("time_1", math.nan, "phase 1 at an unknown time, usual 131 s"),
        ("peak", math.nan, "tumour's peak enhancement not known, usual 120 %"),
    ],
)
def test_spoilt_measure_is_named(spread: float, key: str, value: float, text: str) -> None:
    patients = _cohort(spread)
    patients[7][key] = value
    judged = _judge_all(patients)
    assert [o.measure.key for o in judged[7].odd] == [key]
    assert judged[7].score >= LIMIT
    if spread == 0:
        assert judged[7].odd[0].text == text
        assert all(j.score == 0 for i, j in enumerate(judged) if i != 7)


def test_z_is_the_distance_in_scaled_median_deviations() -> None:
    times = [100.0, 110, 120, 140, 160, 200, 260, 300, 500, 900]
    patients = [{"time_1": t} for t in times]
    (yardstick,) = make_yardsticks(patients, MEASURES)
    middle = sorted(times)[4] / 2 + sorted(times)[5] / 2
    deviation = float(np.median([abs(t - middle) for t in times]))
    assert yardstick.usual == middle
    assert yardstick.z(500) == pytest.approx((500 - middle) / (1.4826 * deviation))
    assert yardstick.z(9e9) == LARGEST


def test_where_all_agree_an_unremarkable_difference_is_not_odd() -> None:
    patients = _cohort(0.0)
    patients[3] |= {"in_plane": 0.7001, "time_1": 133.0, "field": 26.0, "padding": 1.0}
    assert _judge_all(patients)[3].odd == ()


def test_less_than_usual_is_not_odd_where_only_more_is_bad() -> None:
    patients = [p | {"findings": 4.0, "edge": 1.0} for p in _cohort(0.0)]
    patients[3] |= {"findings": 0.0, "edge": 0.0}
    assert _judge_all(patients)[3].odd == ()


def test_missing_values_are_usual_where_most_have_none() -> None:
    patients = [p | {"time_1": math.nan} for p in _cohort(0.0)]
    for i in range(6):
        patients[i]["time_1"] = 131.0
    assert all(not j.odd for j in _judge_all(patients))


def test_what_was_not_measured_is_not_odd() -> None:
    patients = _cohort(0.0)
    del patients[2]["peak"]
    assert _judge_all(patients)[2].odd == ()


def test_few_patients_have_no_usual_value() -> None:
    patients = _cohort(0.0)[:4]
    patients[0]["time_1"] = 900.0
    assert make_yardsticks(patients, MEASURES) == ()
    assert make_yardsticks([], MEASURES) == ()


def test_score_adds_up_and_the_most_odd_comes_first() -> None:
    patients = _cohort(0.0)
    patients[5] |= {"time_1": 172.0, "time_2": 900.0}
    judged = _judge_all(patients)[5]
    assert [o.measure.key for o in judged.odd] == ["time_2", "time_1"]
    assert judged.score == pytest.approx(LARGEST + 4.1)
