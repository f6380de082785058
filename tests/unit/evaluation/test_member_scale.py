"""Members of an ensemble on one scale, held against scipy's optimiser, loops and simulated patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.stability.replicates import add_ensembles
from radiotrain.statistics.member_scale import (
    OWN_SD,
    PENALTY_SD,
    MemberPatients,
    MemberScale,
    cross_fitted_members,
    fit_member_scales,
    on_one_scale,
)


def member(
    generator, num=60, sd=1.0, offset=0.0, strength=1.0, share=0.4, name="P"
) -> MemberPatients:
    signal = generator.standard_normal(num)
    labels = (generator.random(num) < expit(logit(share) + 1.5 * signal)).astype(float)
    x = strength * signal + 0.8 * generator.standard_normal(num)
    return MemberPatients(
        tuple(f"{name}{i}" for i in range(num)), labels, expit(offset + sd * x / x.std())
    )


def standardised(of: MemberPatients) -> np.ndarray:
    x = logit(of.probabilities)
    return (x - x.mean()) / x.std()


def slopes_by_scipy(members: list[MemberPatients]) -> list[float]:
    """The common slope first, then each member's around it."""

    def fit(parts: list[MemberPatients], centre: float, sd: float) -> float:
        def loss(beta: np.ndarray) -> float:
            total = (beta[0] - centre) ** 2 / (2 * sd**2)
            for of, level in zip(parts, beta[1:], strict=True):
                t = level + beta[0] * standardised(of)
                total += np.sum(np.logaddexp(0, t) - of.labels * t)
            return float(total)

        return float(minimize(loss, np.zeros(1 + len(parts)), tol=1e-12).x[0])

    common = fit(members, 0.0, PENALTY_SD)
    return [fit([of], common, OWN_SD) / logit(of.probabilities).std() for of in members]


@pytest.mark.parametrize("num", [22, 60, 150])
def test_a_slope_is_the_penalised_optimum_and_the_level_that_of_all_members(num: int) -> None:
    generator = np.random.default_rng(num)
    members = [member(generator, num, sd, offset) for sd, offset in ((0.12, -1.0), (1.72, 0.7))]
    total = sum(len(m.labels) for m in members)
    share = (sum(m.labels.sum() for m in members) + 0.5) / (total + 1)
    wanted = slopes_by_scipy(members)
    for of, slope, scale in zip(members, wanted, fit_member_scales(members), strict=True):
        assert scale.source == "own patients"
        assert scale.slope == pytest.approx(slope, rel=1e-3)
        assert scale.apply(of.probabilities).mean() == pytest.approx(share, abs=1e-9)


def test_how_loud_a_member_is_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    one, other = member(generator), member(generator, name="Q")
    louder = MemberPatients(one.patient_ids, one.labels, expit(2 * logit(one.probabilities) - 1.3))
    soft, loud = fit_member_scales([one, other]), fit_member_scales([louder, other])
    np.testing.assert_allclose(
        soft[0].apply(one.probabilities), loud[0].apply(louder.probabilities), atol=1e-7
    )


def test_separated_classes_of_20_patients_give_finite_numbers() -> None:
    labels = np.repeat([0.0, 1.0], 10)
    of = MemberPatients(tuple(map(str, range(20))), labels, expit(np.linspace(-0.2, 0.2, 20)))
    (scale,) = fit_member_scales([of])
    calibrated = scale.apply(of.probabilities)
    assert 0 < scale.slope < np.inf
    assert 0.001 < calibrated.min() < calibrated.max() < 0.999


def test_a_member_that_ranks_the_wrong_way_is_not_turned_round() -> None:
    generator = np.random.default_rng(1)
    wrong, right = member(generator, strength=-2.0), member(generator, name="Q")
    scales = fit_member_scales([wrong, right])
    assert roc_auc_score(wrong.labels, wrong.probabilities) < 0.4
    assert scales[0].slope == 0
    assert "did not go with more positives" in scales[0].reason
    assert np.ptp(scales[0].apply([0.01, 0.99])) == 0
    assert scales[1].slope > 0
    # Where all do, their order is kept, so that the test shows it.
    both = [wrong, member(generator, strength=-2.0, name="R")]
    assert [s.source for s in fit_member_scales(both)] == ["equal spread"] * 2
    assert all(s.slope > 0 for s in fit_member_scales(both))
    with pytest.raises(ValueError, match="slope of 0 or more"):
        MemberScale(-1.0, 0.0, "own patients", 20, 10)


def test_too_few_patients_take_the_others_slope_and_it_is_said() -> None:
    generator = np.random.default_rng(2)
    full, other = member(generator), member(generator, name="Q")
    few = MemberPatients(("a", "b", "c", "d"), np.array([0.0, 1, 0, 0]), expit([0, 9, -9, 3.0]))
    alike = MemberPatients(tuple("efghij"), np.array([0.0, 1, 0, 0, 1, 0]), np.full(6, 0.7))
    none = MemberPatients((), np.empty(0), np.empty(0))
    scales = fit_member_scales([full, few, alike, none, other])
    assert [s.source for s in scales] == [
        "own patients", "other members", "own patients", "other members", "own patients",
    ]  # fmt: skip
    assert all(s.reason for s in scales[1:4])
    assert not scales[0].reason
    assert scales[2].slope == 0
    # On their own spread, the slope of these few is that of the others.
    z = [s.slope * logit(m.probabilities).std() for s, m in zip(scales, [full, few], strict=False)]
    assert 0.5 < z[1] / z[0] < 2
    assert [s.source for s in fit_member_scales([none, none])] == ["as predicted"] * 2
    assert fit_member_scales([none])[0].apply([0.3]) == pytest.approx([0.3])


def test_held_out_patients_do_not_fit_their_own_slope() -> None:
    generator = np.random.default_rng(3)
    members = [member(generator, 40), member(generator, 40, name="Q")]
    before = cross_fitted_members(members)
    shuffled = [
        MemberPatients(
            tuple(np.array(m.patient_ids)[order]), m.labels[order], m.probabilities[order]
        )
        for m in members[::-1]
        for order in [generator.permutation(40)]
    ]
    again = cross_fitted_members(shuffled)[::-1]
    for m, mixed, one, other in zip(members, shuffled[::-1], before, again, strict=True):
        by_id = dict(zip(mixed.patient_ids, other, strict=True))
        np.testing.assert_allclose(one, [by_id[i] for i in m.patient_ids], atol=1e-12)
    # Five curves a member, each with the same level, none that of all patients.
    for m, scale, held in zip(members, fit_member_scales(members), before, strict=True):
        x, y = logit(m.probabilities), logit(held)
        slopes = {
            round(float((y[i] - y[j]) / (x[i] - x[j])), 9) for i in range(40) for j in range(i)
        }
        assert round(scale.slope, 9) not in slopes


def test_networks_without_signal_do_not_gain_any_by_their_calibration() -> None:
    """Levels of each member's own few patients would: AUC 0.56 instead of 0.5."""
    areas, in_sample = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        members = []
        for k in range(5):
            labels = (generator.random(22) < 0.35).astype(float)
            p = expit(generator.normal(k, 0.3 + k, 22))
            members.append(MemberPatients(tuple(f"{k}-{i}" for i in range(22)), labels, p))
        y = np.concatenate([m.labels for m in members])
        areas.append(roc_auc_score(y, np.concatenate(cross_fitted_members(members))))
        scales = fit_member_scales(members)
        fitted = [s.apply(m.probabilities) for s, m in zip(scales, members, strict=True)]
        in_sample.append(roc_auc_score(y, np.concatenate(fitted)))
    assert np.mean(areas) < 0.515
    # The same patients that fitted the slopes look better than they are.
    assert np.mean(in_sample) > np.mean(areas) + 0.03


def table_of(averaging: str | None) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    tested = generator.integers(0, 2, 30)
    parts = []
    for fold, (sd, offset) in enumerate(((0.12, 1.0), (1.72, -1.0))):
        of = member(generator, 50, sd, offset, name=f"F{fold}-")
        for split, ids, labels, p in (
            ("validation", of.patient_ids, of.labels, of.probabilities),
            ("test", [f"T{i}" for i in range(30)], tested, expit(generator.normal(offset, sd, 30))),
        ):
            parts.append(
                pd.DataFrame(
                    {
                        "run": f"run{fold}", "patient_id": ids, "target": "ER", "split": split,
                        "fold": fold, "label": np.asarray(labels, dtype=int), "probability": p,
                        "configuration": "ER net",
                    }
                )
            )  # fmt: skip
    found = pd.concat(parts, ignore_index=True)
    return found if averaging is None else found.assign(averaging=averaging)


@pytest.mark.parametrize("averaging", [None, "", "raw", "calibrated"])
def test_the_mean_of_runs_follows_the_column_of_the_table(averaging: str | None) -> None:
    table = validate_predictions(table_of(averaging))
    whole = add_ensembles(table)
    mean = whole[whole["run"] == "ER net, mean of 2"]
    found = mean[mean["split"] == "test"].set_index("patient_id")["probability"]
    each = []
    members = []
    for run in ("run0", "run1"):
        rows = table[(table["run"] == run) & (table["split"] == "validation")]
        members.append(
            MemberPatients(
                tuple(rows["patient_id"]),
                rows["label"].to_numpy(float),
                rows["probability"].to_numpy(),
            )
        )
    scales = fit_member_scales(members)
    for run, scale in zip(("run0", "run1"), scales, strict=True):
        rows = table[(table["run"] == run) & (table["split"] == "test")].set_index("patient_id")
        p = rows["probability"].to_numpy()
        each.append(scale.apply(p) if averaging == "calibrated" else p)
    np.testing.assert_allclose(found[rows.index].to_numpy(), np.mean(each, axis=0), atol=1e-12)
    seen = mean[mean["split"] == "validation"]["probability"].to_numpy()
    raw = table[table["split"] == "validation"]["probability"].to_numpy()
    wanted = np.concatenate(cross_fitted_members(members)) if averaging == "calibrated" else raw
    np.testing.assert_allclose(np.sort(seen), np.sort(wanted), atol=1e-12)
    # Judged again, nothing changes; the runs' own rows are as they were.
    pd.testing.assert_frame_equal(add_ensembles(whole), whole)
    own = whole[whole["run"] == "run1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, table[table["run"] == "run1"].reset_index(drop=True))


def test_targets_have_their_own_scales() -> None:
    scales = {
        "ER": MemberScale(2.0, 0.5, "own patients", 30, 10),
        "PR": MemberScale(0.5, 0.0, "own patients", 30, 10),
    }
    given = np.array([[0.2, 0.7], [0.9, 0.4]])
    found = on_one_scale(given, ["PR", "ER"], scales)
    np.testing.assert_allclose(found[:, 0], expit(0.5 * logit(given[:, 0])))
    np.testing.assert_allclose(found[:, 1], expit(2 * logit(given[:, 1]) + 0.5))
    np.testing.assert_array_equal(on_one_scale(given, ["PR", "ER"], None), given)
