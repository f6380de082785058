import pytest

from preprocessing.readers.duke_series import SeriesSummary, is_dynamic, order_phases

GE = ["ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 3rd pass", "ax dyn 4th pass"]


def chosen(names, times=None, files=None):
    """Names in the order chosen; times default to the reverse of the order given."""
    times = times or [None] * len(names)
    files = files or [60] * len(names)
    series = [
        SeriesSummary(str(i), n, 10 + i, t, f)
        for i, (n, t, f) in enumerate(zip(names, times, files, strict=True))
    ]
    return [s.description for s in order_phases(series).series]


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
