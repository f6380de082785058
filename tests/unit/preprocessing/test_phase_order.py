import pytest

from preprocessing.phase_order import (
    SeriesSummary,
    choose_dynamic,
    choose_study,
    is_dynamic,
    order_phases,
)

GE = ["ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 3rd pass", "ax dyn 4th pass"]


def chosen(names, times=None, files=None):
    """Names in the order chosen; times default to the reverse of the order given."""
    times = times or [None] * len(names)
    files = files or [60] * len(names)
    series = [
        SeriesSummary(str(i), n, 10 + i, t, f)
        for i, (n, t, f) in enumerate(zip(names, times, files, strict=True))
    ]
    return [s.description for s in order_phases(choose_dynamic(series).series).series]


@pytest.mark.parametrize(
    "names",
    [
        GE,
        ["ax dyn pre", "ax dyn 1st pas", "ax dyn 2nd pass", "ax dyn 3rd pass"],
        ["Ax Vibrant MultiPhase", "Ph1/Ax Vibrant MultiPhase", "Ph2/Ax Vibrant MultiPhase"],
        ["ax 3d dyn", "Ph1/ax 3d dyn", "Ph2/ax 3d dyn", "Ph3/ax 3d dyn"],
    ],
)
def test_names_that_tell_decide_over_time(names):
    backwards = list(reversed(names))
    assert chosen(backwards, times=[float(i) for i in range(len(names))]) == names


@pytest.mark.parametrize(
    "name", ["ax 3d dyn", "ax 3d dyn MP", "ax dynamic", "t1_fl3d_tra_dynVIEWS_spair_ax"]
)
def test_names_that_do_not_tell_leave_it_to_time(name):
    names = [f"{name} {c}" for c in "abcd"]
    assert chosen(names, times=[40.0, 10.0, 30.0, 20.0]) == [names[i] for i in (1, 3, 2, 0)]


@pytest.mark.parametrize(
    "name",
    ["ax t1", "Ax 3D T1 NON FS", "ax t2 fs", "3 plane loc", "DWI dyn", "sub dyn", "ax t1 tirm"],
)
def test_static_series_are_left_out(name):
    assert not is_dynamic(name)
    assert chosen([name, *GE]) == GE


def test_repeated_phase_is_reported_and_the_fuller_series_used():
    series = [
        SeriesSummary("a", "ax dyn pre", 4, 1.0, 60),
        SeriesSummary("b", "ax dyn 1st pass", 5, 2.0, 12),
        SeriesSummary("c", "ax dyn 1st pass", 6, 3.0, 60),
    ]
    ordered = order_phases(series)
    assert [s.key for s in ordered.series] == ["a", "c"]
    assert [f.code for f in ordered.findings] == ["series-repeated"]


def test_no_series_gives_no_phases():
    assert order_phases([]).series == ()


def test_posts_named_pre_are_ordered_by_time_and_said():
    """Breast_MRI_120."""
    series = [
        SeriesSummary(str(n), "ax dyn pre", n, t, 60)
        for n, t in [(15, 500.0), (6, 0.0), (13, 400.0), (8, 200.0), (11, 300.0)]
    ]
    ordered = order_phases(series, 4)
    assert [s.series_number for s in ordered.series] == [6, 8, 11, 13, 15]
    assert [f.code for f in ordered.findings] == ["phases-by-time"]


def test_names_that_leave_too_few_phases_are_not_believed():
    names = ["ax dyn pre", "ax dyn pre", "ax dyn pre", "ax dyn 1st pass"]
    series = [SeriesSummary(str(i), n, i, 100.0 * i, 60) for i, n in enumerate(names)]
    assert len(order_phases(series, 4).series) == 4
    assert len(order_phases(series, 2).series) == 2


def test_one_series_exported_twice_is_one_phase():
    names = ["dynVIEWS"] * 5
    times = [0.0, 100.0, 100.0, 200.0, 300.0]
    series = [
        SeriesSummary(str(i), n, i, t, 60)
        for i, (n, t) in enumerate(zip(names, times, strict=True))
    ]
    ordered = order_phases(series, 4)
    assert [s.time_s for s in ordered.series] == [0.0, 100.0, 200.0, 300.0]
    assert [f.code for f in ordered.findings] == ["series-repeated"]


def test_a_table_decides_over_names():
    series = [
        SeriesSummary("a", "ax dyn pre", 1, 1.0, 60, known_phase=2),
        SeriesSummary("b", "SER 9", 2, 1.0, 60, known_phase=0),
        SeriesSummary("c", "ax dyn 4th pass", 3, 1.0, 60, known_phase=-1),
        SeriesSummary("d", "SER 8", 4, 1.0, 60, known_phase=1),
    ]
    ordered = order_phases(choose_dynamic(series).series, 3)
    assert [s.key for s in ordered.series] == ["b", "d", "a"]
    assert ordered.findings == ()


def test_without_names_the_largest_group_of_one_geometry_is_taken():
    series = [
        SeriesSummary(str(i), f"SER {i}", i, 10.0 * i, 60, geometry=(i > 1,)) for i in range(6)
    ]
    chosen = choose_dynamic(series)
    assert [s.key for s in chosen.series] == ["2", "3", "4", "5"]
    assert [f.code for f in chosen.findings] == ["phases-by-geometry"]
    assert choose_dynamic(series[:1]).series == ()


def test_the_fuller_then_the_earlier_examination_is_used():
    first = [SeriesSummary(f"a{i}", "dyn", i, 100.0 * i, 60, study="x") for i in range(4)]
    later = [SeriesSummary(f"b{i}", "dyn", i, 9e6 + 100.0 * i, 60, study="a") for i in range(4)]
    chosen = choose_study([*later, *first])
    assert [s.key for s in chosen.series] == ["a0", "a1", "a2", "a3"]
    assert [f.code for f in chosen.findings] == ["several-studies"]
    assert [s.key for s in choose_study([*later, *first[:3]]).series] == [s.key for s in later]
    assert choose_study(first).findings == ()


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["ax dyn pre", "ax dyn 2nd pass", "ax dyn 3rd pass", "ax dyn 4th pass"], "phase 1"),
        (["Ph1/dyn", "Ph2/dyn", "Ph3/dyn", "Ph4/dyn"], "pre-contrast"),
    ],
)
def test_no_later_phase_takes_the_place_of_a_missing_one(names, missing):
    series = [SeriesSummary(str(i), n, i, 100.0 * i, 60) for i, n in enumerate(names)]
    ordered = order_phases(series, 4)
    assert ordered.series == ()
    assert [(f.code, f.excludes) for f in ordered.findings] == [("phase-missing", True)]
    assert missing in ordered.findings[0].message


def test_a_missing_phase_that_is_not_needed_is_no_matter():
    names = ["ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 4th pass"]
    series = [SeriesSummary(str(i), n, i, 100.0 * i, 60) for i, n in enumerate(names)]
    assert [s.description for s in order_phases(series, 3).series][:3] == names[:3]
