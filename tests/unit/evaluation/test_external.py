"""The parts of an external test against closed forms, published values and naive loops."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from sklearn.metrics import brier_score_loss, roc_auc_score

from preprocessing.common.errors import InputError
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.subgroups.covariates import Facts
from radiotrain.external.case_mix import case_mix, difference_of_means, difference_of_shares
from radiotrain.external.cohort import map_targets, parse_phases, parse_targets
from radiotrain.external.inputs_match import check_shape, setting_differences
from radiotrain.external.transport import (
    cross_fitted,
    find_recalibrations,
    find_transports,
    rate_transport,
)

LABELS = np.array([[1, -1, 0, 1], [0, -1, 0, 0], [1, -1, 0, 1], [0, -1, -1, 1]], dtype=np.int8)
NAMES = ("ER", "PR", "HER2", "HR")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["ER=HR"], {"ER": "HR"}),
        (["ER = HR", "PR"], {"ER": "HR", "PR": "PR"}),
        (["ER=HR,HER2=HER2neu"], {"ER": "HR", "HER2": "HER2neu"}),
        ([], {}),
    ],
)
def test_targets_are_read_as_they_are_written(texts: list[str], expected: dict[str, str]) -> None:
    assert parse_targets(texts) == expected


@pytest.mark.parametrize("texts", [["=HR"], ["ER="], ["ER=HR", "ER=PR"], [""], ["ER,ER"]])
def test_targets_that_say_nothing_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="--targets"):
        parse_targets(texts)


def test_targets_without_labels_are_named_and_left_out() -> None:
    found = map_targets(("ER", "PR", "HER2", "KI67"), LABELS, NAMES, {}, "s")
    assert [(t.target, t.label, t.num_positive, t.num_negative) for t in found.tested] == [
        ("ER", "ER", 2, 2)
    ]
    assert "PR is not tested: the label PR is missing in all 4 patients" in found.left_out
    assert "HER2 is not tested: the label HER2 is negative in all 3" in found.left_out[1]
    assert "no label of that name" in found.left_out[2]
    assert "--targets KI67=LABEL" in found.left_out[2]


def test_a_mapped_target_has_the_labels_of_the_other_name() -> None:
    found = map_targets(("ER",), LABELS, NAMES, {"ER": "HR"}, "s")
    assert found.label_of == {"ER": "HR"}
    assert (found.tested[0].num_positive, found.tested[0].num_negative) == (3, 1)


@pytest.mark.parametrize(
    ("targets", "given", "words"),
    [
        (("PR",), {}, "can test none of the models' targets: PR is not tested"),
        (("ER",), {"EP": "HR"}, "did you mean 'ER'"),
        (("ER",), {"ER": "HRR"}, "did you mean 'HR'"),
    ],
)
def test_what_cannot_be_tested_is_refused(
    targets: tuple[str, ...], given: dict[str, str], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        map_targets(targets, LABELS, NAMES, given, "s")


@pytest.mark.parametrize("text", ["", "1,2", "0,2,1", "0,0", "a", "0,-1", "0;1"])
def test_phases_rise_from_the_pre_contrast(text: str) -> None:
    assert parse_phases("0,1,3") == (0, 1, 3)
    with pytest.raises(InputError, match="--phases"):
        parse_phases(text)


def test_images_of_another_shape_are_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match=r"reads 3 phases, .* has 5 \(pre, a\): .*--phases 0,1,2"):
        check_shape("m", (3, 8, 8, 4), (5, 8, 8, 4), "s", ("pre", "a"))
    with pytest.raises(InputError, match=r"has 2: preprocess the cohort with --num-phases 3$"):
        check_shape("m", (3, 8, 8, 4), (2, 8, 8, 4), "s", ())
    with pytest.raises(InputError, match="--crop-shape 8 8 4"):
        check_shape("m", (3, 8, 8, 4), (3, 8, 8, 8), "s", ())


def test_settings_that_differ_are_listed_or_refused() -> None:
    ours = {"crop_shape": [8, 8, 4], "resample_mm": None, "bias_engine": "separable"}
    assert setting_differences("m", ours, {**ours, "crop_shape": [9, 9, 9]}, "s") == ()
    (found,) = setting_differences("m", ours, {**ours, "bias_engine": "none"}, "s")
    assert 'bias_engine "none"' in found
    assert 'with "separable"' in found
    with pytest.raises(InputError, match=r"resample_mm is \[1.0, 1.0, 2.0\], expected null"):
        setting_differences("m", ours, {**ours, "resample_mm": [1.0, 1.0, 2.0]}, "s")
    # What an older version did not know, it did as the default does.
    assert "motion" in setting_differences("m", {**ours, "motion": "rigid"}, ours, "s")[0]
    assert setting_differences("m", {**ours, "motion": "none"}, ours, "s") == ()
    assert "does not say" in setting_differences("m", {}, ours, "s")[0]


def test_differences_of_shares_have_newcombes_interval() -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10, example (a).
    found = rate_transport(48, 80, 56, 70)
    assert found.difference == pytest.approx(0.2)
    assert found.difference_ci95 == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert rate_transport(0, 0, 5, 10).difference is None
    assert rate_transport(5, 10, 0, 0).external is None
    assert rate_transport(5, 10, 0, 0).difference_ci95 is None


def test_standardized_differences_are_austins() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(50, 8, 60), generator.normal(55, 12, 45)
    pooled = math.sqrt((np.std(a, ddof=1) ** 2 + np.std(b, ddof=1) ** 2) / 2)
    assert difference_of_means(a, b) == pytest.approx((b.mean() - a.mean()) / pooled)
    assert difference_of_means([1.0, 1.0], [1.0, 1.0]) is None
    assert difference_of_means([1.0], [1.0, 2.0]) is None
    p, q = 30 / 50, 20 / 80
    expected = (q - p) / math.sqrt((p * (1 - p) + q * (1 - q)) / 2)
    assert difference_of_shares([20, 30], [60, 20]) == pytest.approx(expected)
    # With more categories the order does not matter, nor which one is left out.
    first, second = [10, 20, 30], [25, 5, 20]
    whole = difference_of_shares(first, second)
    assert whole == pytest.approx(difference_of_shares(first[::-1], second[::-1]))
    assert whole is not None
    assert whole > 0
    assert difference_of_shares([10, 0], [0, 10]) is None
    assert difference_of_shares([10, 10, 0], [10, 10, 0]) == pytest.approx(0)
    assert difference_of_shares([5, 5, 0], [5, 0, 5]) is not None
    assert difference_of_shares([0, 0], [1, 1]) is None


def test_case_mix_joins_the_ways_in_which_a_covariate_is_written() -> None:
    ours = Facts(
        {
            f"a{i}": {"field_t": 1.5, "manufacturer": "GE MEDICAL", "age": 40.0 + i}
            for i in range(9)
        },
        {"ER": {f"a{i}": int(i < 6) for i in range(9)}},
    )
    theirs = Facts(
        {
            f"b{i}": {"field_strength_t": 3.0, "manufacturer": "ge", "age_years": 60.0 + i}
            for i in range(9)
        },
        {"ER": {f"b{i}": -1 if i > 6 else int(i < 3) for i in range(9)}},
    )
    rows = {(r.variable, r.value): r for r in case_mix(ours, theirs, {"ER": "ER"})}
    assert rows["ER", "positive"].training == "6 of 9 (67%)"
    # Three patients would be single ones.
    assert rows["ER", "positive"].external == "<5 of 7"
    assert rows["ER", "label missing"].external == "<5"
    assert rows["age (years)", "mean (SD)"].external == "64.0 (2.7), n = 9"
    assert rows["field strength", "1.5 T"].training == "9 of 9 (100%)"
    assert rows["field strength", "1.5 T"].external == "0 of 9 (0%)"
    assert rows["scanner manufacturer", "ge"].difference == 0.0


def predictions(num: int, shift: float, seed: int = 0) -> pd.DataFrame:
    """Validation patients predicted rightly, and a cohort whose logits lie too high by a shift."""
    generator = np.random.default_rng(seed)
    rows = []
    for split, moved in (("validation", 0.0), ("test", shift)):
        logits = generator.normal(0, 1, num)
        labels = (generator.random(num) < 1 / (1 + np.exp(-logits))).astype(int)
        rows += [
            {
                "run": "r", "patient_id": f"{split}{i}", "target": "ER", "split": split,
                "fold": 0, "label": labels[i], "probability": 1 / (1 + np.exp(-logits[i] - moved)),
            }
            for i in range(num)
        ]  # fmt: skip
    return validate_predictions(pd.DataFrame(rows))


def test_recalibration_in_the_large_takes_a_shift_back_and_is_cross_fitted() -> None:
    table = predictions(400, 1.5)
    (found,) = find_recalibrations(table)
    test = table[table["split"] == "test"]
    y, p = test.sort_values("patient_id")[["label", "probability"]].to_numpy().T
    logits = np.log(p / (1 - p))

    def shift_of(rows: np.ndarray) -> float:
        return brentq(
            lambda a: (1 / (1 + np.exp(-logits[rows] - a)) - y[rows]).sum(), -9, 9, xtol=1e-13
        )

    everyone = np.ones(len(y), dtype=bool)
    assert found.shift == pytest.approx(shift_of(everyone), abs=1e-8)
    assert found.shift == pytest.approx(-1.5, abs=0.3)
    assert found.before.observed_expected == pytest.approx(y.mean() / p.mean())
    assert found.after is not None
    part = np.random.default_rng([0, 400]).permutation(400) % 10
    moved = np.empty(400)
    for k in range(10):
        moved[part == k] = 1 / (1 + np.exp(-logits[part == k] - shift_of(part != k)))
    assert found.after.brier == pytest.approx(brier_score_loss(y, moved), abs=1e-9)
    assert found.before.brier is not None
    assert found.after.brier is not None
    assert found.after.brier < found.before.brier
    # Fitted to all and judged on all, the intercept would be 0 exactly: cross-fitted it is not.
    assert 1e-6 < abs(found.after.intercept or 0) < 0.1


def test_a_cohort_without_two_classes_has_no_shift() -> None:
    one = cross_fitted(np.ones(20, dtype=np.int64), np.linspace(0.1, 0.9, 20), 0)
    assert one[0] is None
    assert "one class" in one[2]
    assert cross_fitted(np.zeros(0, dtype=np.int64), np.zeros(0), 0)[0] is None
    # One positive: without its part there is none.
    labels = np.zeros(20, dtype=np.int64)
    labels[3] = 1
    assert cross_fitted(labels, np.linspace(0.1, 0.9, 20), 0)[0] is None


def test_thresholds_come_from_validation_whatever_the_cohort_says() -> None:
    table = predictions(200, 1.0)
    (found,) = find_transports(table, {})
    flipped = table.copy()
    test = flipped["split"] == "test"
    flipped.loc[test, "label"] = 1 - flipped.loc[test, "label"]
    (other,) = find_transports(flipped, {})
    assert [p.threshold for p in found.points] == [p.threshold for p in other.points]
    validation, external = (table[table["split"] == s] for s in ("validation", "test"))
    youden, ninety = found.points
    assert youden.threshold is not None
    positive = external[external["label"] == 1]["probability"]
    assert youden.sensitivity is not None
    assert youden.sensitivity.external == pytest.approx((positive >= youden.threshold).mean())
    assert ninety.sensitivity is not None
    assert ninety.sensitivity.validation is not None
    assert ninety.sensitivity.validation >= 0.9
    areas = [roc_auc_score(part["label"], part["probability"]) for part in (validation, external)]
    assert found.auc_difference == pytest.approx(areas[1] - areas[0])


def test_without_validation_patients_there_is_no_threshold_and_that_is_said() -> None:
    table = predictions(50, 0.0)
    (found,) = find_transports(table[table["split"] == "test"], {})
    assert found.auc_validation is None
    assert found.auc_difference is None
    assert [p.reason for p in found.points] == ["no threshold: no validation patients"] * 2
