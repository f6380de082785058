"""The decision alone, from evidence written down; whole patients are in test_phase_evidence.py."""

from itertools import permutations

import pytest

from preprocessing.images.phases.decide import decide_phases
from preprocessing.images.phases.evidence import Place, SeriesEvidence

GE = ["ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 3rd pass", "ax dyn 4th pass"]


def named(names, times=None, **values):
    times = times or [None] * len(names)
    return [
        SeriesEvidence(str(i), name, series_number=10 + i, time_s=time, num_slices=60, **values)
        for i, (name, time) in enumerate(zip(names, times, strict=True))
    ]


def codes(decided):
    return [f.code for f in decided.findings]


def chosen(series, num_wanted=2):
    """Names in the order decided."""
    by_key = {s.key: s.description for s in series}
    return [by_key[key] for key in decide_phases(series, num_wanted).phases]


@pytest.mark.parametrize(
    "names",
    [
        GE,
        ["ax dyn pre", "ax dyn 1st pas", "ax dyn 2nd pass", "ax dyn 3rd pass"],
        ["Ax Vibrant MultiPhase", "Ph1/Ax Vibrant MultiPhase", "Ph2/Ax Vibrant MultiPhase"],
        ["ax 3d dyn", "Ph1/ax 3d dyn", "Ph2/ax 3d dyn", "Ph3/ax 3d dyn"],
        ["dyn_pre", "dyn_post_1", "dyn_post_2"],
        ["dyn pre", "dyn phase 1", "dyn phase 2"],
        ["ax dyn w/o contrast", "first pass dyn", "second pass dyn"],
    ],
)
def test_names_that_tell_decide_in_any_order_of_files(names):
    for order in list(permutations(range(len(names))))[::7]:
        series = named(names)
        assert chosen([series[i] for i in order]) == names


@pytest.mark.parametrize(
    "name", ["ax 3d dyn", "ax 3d dyn MP", "ax dynamic", "t1_fl3d_tra_dynVIEWS_spair_ax"]
)
def test_names_that_do_not_tell_leave_it_to_time(name):
    names = [f"{name} {c}" for c in "abcd"]
    series = named(names, times=[40.0, 10.0, 30.0, 20.0])
    assert chosen(series) == [names[i] for i in (1, 3, 2, 0)]
    assert decide_phases(series, 2).evidence == ("acquisition time",)


@pytest.mark.parametrize(
    "name",
    ["ax t1", "Ax 3D T1 NON FS", "ax t2 fs", "3 plane loc", "DWI dyn", "sub dyn", "ax t1 tirm",
     "dyn_SUB", "ax dyn 1st pass MIP", "dyn_MOCO", "WASH-IN dyn", "ax dyn MPR", "FAT: dyn"],
)  # fmt: skip
def test_static_and_derived_series_are_left_out(name):
    series = named([name, *GE])
    assert chosen(series) == GE
    assert decide_phases(series, 4).reasons["0"].startswith("no phase: ")


def test_every_series_has_a_reason():
    series = named([*GE, "ax t2", "dyn_SUB"])
    reasons = decide_phases(series, 4).reasons
    assert reasons["0"] == "phase 0, by names"
    assert reasons["6"] == "no phase: subtraction"
    assert set(reasons) == {s.key for s in series}


def test_no_series_gives_no_phases():
    assert decide_phases([], 2).phases == ()


def test_posts_named_pre_are_ordered_by_time_and_said():
    """Breast_MRI_120."""
    series = [
        SeriesEvidence(str(n), "ax dyn pre", n, t, 60)
        for n, t in [(15, 500.0), (6, 0.0), (13, 400.0), (8, 200.0), (11, 300.0)]
    ]
    decided = decide_phases(series, 4)
    assert decided.phases == ("6", "8", "11", "13", "15")
    assert codes(decided) == ["phases-by-time"]


def test_a_copy_is_what_has_the_same_pixels_and_nothing_else():
    series = named(["dynVIEWS"] * 5, times=[0.0, 100.0, 100.0, 200.0, 300.0])
    same = decide_phases(series, 4, lambda one, other: {one, other} == {"1", "2"})
    assert same.phases == ("0", "1", "3", "4")
    assert codes(same) == ["series-repeated"]
    differ = decide_phases(series, 4)
    assert differ.phases == ()
    assert codes(differ) == ["phases-ambiguous"]


def test_a_table_decides_over_names():
    series = [
        SeriesEvidence("a", "ax dyn pre", 1, 1.0, 60, known_phase=2),
        SeriesEvidence("b", "SER 9", 2, 1.0, 60, known_phase=0),
        SeriesEvidence("c", "ax dyn 4th pass", 3, 1.0, 60, known_phase=-1),
        SeriesEvidence("d", "SER 8_SUB", 4, 1.0, 60, known_phase=1),
    ]
    decided = decide_phases(series, 3)
    assert decided.phases == ("b", "d", "a")
    assert decided.findings == ()
    assert decided.evidence == ("table",)


def test_without_names_the_largest_group_of_one_geometry_is_taken():
    series = [
        SeriesEvidence(
            str(i), f"SER {i}", i, 10.0 * i, 60,
            place=Place((1, 1, 1), (0, 0, 0), (9, 9, 9), geometry=(i > 1,)),
        )
        for i in range(6)
    ]  # fmt: skip
    decided = decide_phases(series, 4)
    assert decided.phases == ("2", "3", "4", "5")
    assert codes(decided) == ["phases-by-geometry"]
    assert decide_phases(series[:1], 4).phases == ()


def test_two_groups_of_one_size_without_names_are_ambiguous():
    def of(sequence, first):
        return [
            SeriesEvidence(
                str(first + i), f"SER {first + i}", first + i, 10.0 * i, 60, sequence=sequence
            )
            for i in range(3)
        ]

    assert codes(decide_phases([*of("fl3d1", 0), *of("fl3d2", 3)], 3)) == ["phases-ambiguous"]


def test_the_fuller_then_the_earlier_examination_is_used():
    first = [SeriesEvidence(f"a{i}", "dyn", i, 100.0 * i, 60, study="x") for i in range(4)]
    later = [SeriesEvidence(f"b{i}", "dyn", i, 9e6 + 100.0 * i, 60, study="a") for i in range(4)]
    decided = decide_phases([*later, *first], 4)
    assert decided.phases == ("a0", "a1", "a2", "a3")
    assert codes(decided) == ["several-studies"]
    assert decide_phases([*later, *first[:3]], 4).phases == ("b0", "b1", "b2", "b3")
    assert codes(decide_phases(first, 4)) == []


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["ax dyn pre", "ax dyn 2nd pass", "ax dyn 3rd pass", "ax dyn 4th pass"], "phase 1"),
        (["Ph1/dyn", "Ph2/dyn", "Ph3/dyn", "Ph4/dyn"], "pre-contrast"),
        (["ax dyn 1st pass"], "pre-contrast"),
    ],
)
def test_no_later_phase_takes_the_place_of_a_missing_one(names, missing):
    series = named(names, times=[100.0 * i for i in range(len(names))])
    decided = decide_phases(series, min(4, len(names)))
    assert decided.phases == ()
    assert [(f.code, f.excludes) for f in decided.findings] == [("phase-missing", True)]
    assert missing in decided.findings[0].message


def test_a_missing_phase_that_is_not_needed_is_no_matter():
    names = ["ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 4th pass"]
    assert chosen(named(names, times=[100.0 * i for i in range(4)]), 3)[:3] == names[:3]


@pytest.mark.parametrize(
    "other", [{"time_s": 50.0}, {"temporal_position": 1}, {"trigger_time_ms": 100.0}]
)
def test_one_measurement_against_names_is_ambiguous(other):
    series = named(["dyn pre", "dyn post 1"])
    values = {"time_s": 100.0, "temporal_position": 2, "trigger_time_ms": 9000.0}
    (key,) = other
    pre = SeriesEvidence("0", "dyn pre", 10, num_slices=60, **{key: values[key]})
    post = SeriesEvidence("1", "dyn post 1", 11, num_slices=60, **other)
    assert chosen(series) == ["dyn pre", "dyn post 1"]
    assert codes(decide_phases([pre, post], 2)) == ["phases-ambiguous"]


def test_weak_evidence_counts_where_two_kinds_agree():
    def series(number, acquisition):
        return [
            SeriesEvidence(
                str(i), "dyn", number[i], 0.0, 60, acquisition_number=acquisition[i], series=str(i)
            )
            for i in range(3)
        ]

    decided = decide_phases(series([7, 5, 6], [3, 1, 2]), 3)
    assert decided.phases == ("1", "2", "0")
    assert decided.evidence == ("acquisition number", "series number")
    assert codes(decide_phases(series([7, 5, 6], [1, 1, 1]), 3)) == ["phases-ambiguous"]
    assert codes(decide_phases(series([7, 5, 6], [1, 3, 2]), 3)) == ["phases-ambiguous"]
