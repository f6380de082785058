"""Stopping is fair: within a group, at equal epochs, and whoever came first."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.sweep.halving import (
    Action,
    FoldCurve,
    TrialCurve,
    fold_score,
    judge,
    make_schedule,
    score_at,
)

EPOCHS = 9


def ladder_for(num_folds=1, grace=1, factor=3.0, smooth=1, epochs=EPOCHS):
    return make_schedule(num_folds, epochs, grace, factor, smooth)


def places(schedule):
    return [(rung.fold, rung.epochs) for rung in schedule.rungs]


@pytest.mark.parametrize(
    ("folds", "epochs", "grace", "factor", "expected"),
    [
        (1, 54, 6, 3, [(0, 6), (0, 18), (0, 54)]),
        (1, 60, 10, 3, [(0, 10), (0, 30), (0, 60)]),
        (1, 5, 10, 3, [(0, 5)]),
        (1, 10, 10, 3, [(0, 10)]),
        (1, 8, 2, 2, [(0, 2), (0, 4), (0, 8)]),
        (1, 6, 1, 1.5, [(0, 1), (0, 2), (0, 3), (0, 5), (0, 6)]),
        (5, 60, 10, 3, [(0, 10), (0, 30), (0, 60), (2, 60), (4, 60)]),
        (2, 4, 4, 3, [(0, 4), (1, 4)]),
    ],
)
def test_rungs_lie_at_powers_of_the_factor_and_at_the_ends_of_folds(
    folds, epochs, grace, factor, expected
):
    schedule = make_schedule(folds, epochs, grace, factor, 3)
    assert places(schedule) == expected
    assert [rung.number for rung in schedule.rungs] == list(range(len(expected)))


def test_without_halving_there_is_only_the_end():
    assert places(make_schedule(3, 20, 2, 3, 1, halving=False)) == [(2, 20)]


def test_score_is_the_best_mean_of_successive_epochs():
    aucs = [0.5, 0.9, 0.4, 0.6, 0.7]
    assert fold_score(aucs, 1) == 0.9
    assert fold_score(aucs, 2) == pytest.approx(0.7)
    assert fold_score(aucs, 3) == pytest.approx(1.9 / 3)
    # The first epoch alone is no more than a part of what there is.
    assert fold_score(aucs[:1], 3) == 0.5
    assert fold_score([0.9, 0.1], 3) == pytest.approx(0.5)
    assert fold_score([0.5, math.nan, 0.7], 3) == pytest.approx(0.6)
    assert fold_score([math.nan, math.nan], 3) == -1
    assert fold_score([], 3) == -1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 5))
def test_score_matches_a_naive_loop_and_never_falls_once_it_is_whole(aucs, smooth):
    best, naive = -1.0, []
    for number in range(1, len(aucs) + 1):
        if number < smooth:
            naive.append(math.fsum(aucs[:number]) / number)
        else:
            best = max(best, math.fsum(aucs[number - smooth : number]) / smooth)
            naive.append(best)
    found = [fold_score(aucs[: n + 1], smooth) for n in range(len(aucs))]
    assert found == pytest.approx(naive)
    assert found[smooth - 1 :] == sorted(found[smooth - 1 :])


def test_a_fold_that_ended_early_keeps_its_score_at_later_rungs():
    schedule = ladder_for()
    early = (FoldCurve((0.6, 0.8), ended=True),)
    assert [score_at(early, rung, 1) for rung in schedule.rungs] == [0.6, 0.8, 0.8]
    on_its_way = (FoldCurve((0.6, 0.8), ended=False),)
    assert [score_at(on_its_way, rung, 1) for rung in schedule.rungs] == [0.6, None, None]


def test_folds_count_alike():
    schedule = ladder_for(num_folds=3, grace=9)
    assert places(schedule) == [(0, 9), (2, 9)]
    folds = tuple(FoldCurve((auc,) * 9, ended=True) for auc in (0.9, 0.6, 0.6))
    assert score_at(folds, schedule.top, 1) == pytest.approx(0.7)
    assert score_at(folds[:2], schedule.top, 1) is None


def trial(name, *aucs, ended=False, failed=False):
    return TrialCurve(name, (FoldCurve(aucs, ended),) if aucs else (), failed)


def actions(trial_curves, schedule, num=None):
    return {name: v.action.value for name, v in judge(trial_curves, schedule, num).items()}


def test_the_best_third_goes_on_when_all_are_there():
    trial_curves = [trial(f"t{i}", auc) for i, auc in enumerate([0.6, 0.9, 0.5, 0.8, 0.7, 0.4])]
    verdicts = judge(trial_curves, ladder_for())
    assert {n for n, v in verdicts.items() if v.action is Action.TRAIN} == {"t1", "t3"}
    assert {v.action for n, v in verdicts.items() if n not in ("t1", "t3")} == {Action.STOP}
    assert verdicts["t1"].rung.epochs == 3
    assert verdicts["t1"].score == 0.9
    assert verdicts["t0"].reason == "0.600 after 1 epochs is number 4 of 6; promoted from here: 2"


def test_nobody_is_judged_before_it_is_certain():
    schedule = ladder_for()
    some = [trial("a", 0.9), trial("b", 0.8), trial("c", 0.7), trial("d"), trial("e"), trial("f")]
    # Two places: c is beaten whatever comes; a could still be beaten by two of the three.
    assert actions(some, schedule) == {
        "a": "wait", "b": "wait", "c": "stop", "d": "train", "e": "train", "f": "train",
    }  # fmt: skip
    # Only one to come: the first cannot lose its place any more.
    most = [*some[:3], trial("d", 0.1), trial("e", 0.2), trial("f")]
    assert actions(most, schedule)["a"] == "train"
    assert actions(most, schedule)["b"] == "wait"


def test_trials_that_are_still_to_be_suggested_are_waited_for():
    trial_curves = [trial("a", 0.9), trial("b", 0.8)]
    assert set(actions(trial_curves, ladder_for(), num=6).values()) == {"wait"}
    assert actions(trial_curves, ladder_for()) == {"a": "train", "b": "stop"}


def test_a_failed_trial_is_not_waited_for():
    trial_curves = [trial("a", 0.9), trial("b", 0.8), trial("c", 0.7), trial("d", failed=True)]
    assert actions(trial_curves, ladder_for()) == {
        "a": "train", "b": "train", "c": "stop", "d": "failed",
    }  # fmt: skip
    everyone = [trial(name, failed=True) for name in "abc"]
    assert set(actions(everyone, ladder_for()).values()) == {"failed"}


def test_a_trial_that_fails_further_up_leaves_the_others_their_places():
    trial_curves = [
        trial("a", 0.9, 0.9, 0.9, *[0.9] * 6, ended=True),
        trial("b", 0.8, failed=True),
        trial("c", 0.7),
        trial("d", 0.6),
    ]
    assert actions(trial_curves, ladder_for()) == {
        "a": "done", "b": "failed", "c": "stop", "d": "stop",
    }  # fmt: skip


def test_equals_are_told_apart_by_who_learned_sooner():
    trial_curves = [trial("slow", 0.5, 0.5, 1.0), trial("quick", 0.9, 1.0, 1.0)]
    assert actions(trial_curves, ladder_for(grace=3, factor=2)) == {
        "slow": "stop",
        "quick": "train",
    }


def test_undefined_aucs_are_below_all_others():
    trial_curves = [trial("nan", math.nan), trial("bad", 0.01)]
    verdicts = judge(trial_curves, ladder_for(factor=2))
    assert verdicts["nan"].action is Action.STOP
    assert verdicts["nan"].reason.startswith("no AUC after 1 epochs")


def test_a_bad_first_fold_stops_a_cross_validated_trial():
    schedule = ladder_for(num_folds=4, grace=9, factor=2)
    assert places(schedule) == [(0, 9), (1, 9), (3, 9)]
    good, bad = (TrialCurve(n, (FoldCurve((a,) * 9, True),)) for n, a in (("g", 0.8), ("b", 0.5)))
    verdicts = judge([good, bad], schedule)
    assert verdicts["b"].action is Action.STOP
    assert "of fold 1" in verdicts["b"].reason
    assert (verdicts["g"].action, verdicts["g"].rung.fold) == (Action.TRAIN, 1)


curves = st.lists(
    st.lists(
        st.sampled_from([0.2, 0.4, 0.5, 0.6, 0.8, math.nan]), min_size=EPOCHS, max_size=EPOCHS
    ),
    min_size=1,
    max_size=9,
)


def climb(full, order, failing=frozenset()):
    """Train in some order, always from rung to rung, as a sweep does; return how all ended."""
    schedule = ladder_for(smooth=2)
    reached = dict.fromkeys(range(len(full)), 0)
    failed = set()
    seen = {}
    while True:
        trial_curves = [
            trial(f"t{i}", *full[i][: reached[i]], ended=reached[i] == EPOCHS, failed=i in failed)
            for i in range(len(full))
        ]
        verdicts = judge(trial_curves, schedule)
        for name, verdict in verdicts.items():
            settled = seen.get(name)
            if settled in (Action.STOP, Action.DONE):
                assert verdict.action is settled, "a verdict was taken back"
            seen[name] = verdict.action
        able = [i for i in order if verdicts[f"t{i}"].action is Action.TRAIN]
        if not able:
            assert Action.WAIT not in seen.values(), "somebody waits for nobody"
            return verdicts, reached
        chosen = able[0]
        order = [*order[1:], order[0]]
        if chosen in failing and reached[chosen] >= 1:
            failed.add(chosen)
        else:
            reached[chosen] = verdicts[f"t{chosen}"].rung.epochs


@given(curves, st.randoms(use_true_random=False))
def test_who_came_first_makes_no_difference(full, rng):
    one, other = list(range(len(full))), list(range(len(full)))
    rng.shuffle(other)
    assert climb(full, one) == climb(full, other)


@given(curves, st.sets(st.integers(0, 8)), st.randoms(use_true_random=False))
def test_verdicts_are_never_taken_back_and_nobody_waits_for_ever(full, failing, rng):
    order = list(range(len(full)))
    rng.shuffle(order)
    climb(full, order, frozenset(failing))


def test_what_goes_on_is_what_sorting_says():
    rng = random.Random(0)
    full = [[rng.random() for _ in range(EPOCHS)] for _ in range(9)]
    verdicts, reached = climb(full, list(range(9)))

    def best(count, epochs, among):
        return set(sorted(among, key=lambda i: -fold_score(full[i][:epochs], 2))[:count])

    second = best(3, 1, range(9))
    third = best(1, 3, second)
    assert {i for i, n in reached.items() if n >= 3} == second
    assert {i for i, n in reached.items() if n == 9} == third
    assert [n for n, v in verdicts.items() if v.action is Action.DONE] == [f"t{min(third)}"]
