from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from radiotrain.data.covariates import check_covariate_values
from radiotrain.data.leaky_columns import reason_by_values
from radiotrain.evaluation.baselines.covariates import usable_clinical
from tests.unit.training.test_covariates import records

Values = list[str | float | None]


def _labels(num: int, seed: int = 0, share: float = 0.4) -> NDArray[np.int8]:
    return (np.random.default_rng(seed).random(num) < share).astype(np.int8)


def _reason(values: Values, y: NDArray[np.int8]) -> str | None:
    return reason_by_values(values, {"ER": y})


@pytest.mark.parametrize("num", [24, 134, 922])
def test_the_label_under_another_name_is_found(num: int) -> None:
    y = _labels(num)
    generator = np.random.default_rng(1)
    words = ["yes" if v else "no" for v in y]
    # A different code of each site, so that no code is a number of the label.
    codes = [f"{'PQ'[v]}{generator.integers(3)}" for v in y]
    noisy = [float(v) + float(generator.normal(0, 0.2)) for v in y]
    middle = [float(v == 0) * float(generator.choice([-1, 1])) for v in y]
    some: Values = [float(v) if i % 2 else None for i, v in enumerate(y)]
    known: Values = [1.0 if v else None for v in y]
    for values in (y.tolist(), (-y).tolist(), words, codes, noisy, middle, known):
        assert _reason(list(values), y) is not None, values
    if num > 24:
        assert _reason(some, y) is not None
    reason = _reason(known, y)
    assert reason is not None
    assert reason.startswith("whether it is missing alone reaches AUC 1.00 for ER of")


def test_pairs_of_relatives_with_one_label_tell_it() -> None:
    y = np.repeat(_labels(40), 2)
    assert _reason([f"family {i // 2}" for i in range(80)], y) is not None


def test_one_of_several_targets_suffices_and_unknown_labels_do_not_count() -> None:
    y, other = _labels(60), _labels(60, 1)
    values: Values = y.astype(float).tolist()
    hidden = y.copy()
    hidden[::3] = -1
    values[0] = 1.0 - values[0]  # type: ignore[operator]
    reason = reason_by_values(values, {"HER2": other, "ER": hidden})
    assert reason is not None
    assert "for ER of 40 patients" in reason


@pytest.mark.parametrize("num", [20, 30, 60, 134])
def test_chance_tells_nothing(num: int) -> None:
    """Of 1,000 columns without any effect: numbers, codes, texts of 20 categories, ids, missing values."""
    generator = np.random.default_rng(num)
    found = 0
    for k in range(200):
        y = _labels(num, k, [0.18, 0.5][k % 2])
        columns: list[Values] = [
            generator.normal(size=num).tolist(),
            generator.integers(0, 5, num).tolist(),
            [f"c{i}" for i in generator.integers(0, 20, num)],
            [f"P{i}" for i in range(num)],
            [1.0 if v else None for v in generator.random(num) < 0.7],
        ]
        found += sum(_reason(values, y) is not None for values in columns)
    assert found <= 3


def test_a_moderate_column_is_taken() -> None:
    y = _labels(400)
    values = (y + np.random.default_rng(0).normal(0, 0.8, 400)).tolist()
    assert _reason(values, y) is None


def test_few_patients_of_a_class_say_nothing() -> None:
    y = np.array([1, 1, 1, 1, *[0] * 40], dtype=np.int8)
    assert _reason(y.tolist(), y) is None


def test_training_refuses_it_and_baselines_leave_it_out() -> None:
    y = _labels(60)
    generator = np.random.default_rng(3)
    patients = records(
        *({"marker": float(v), "age": float(generator.normal(50, 9))} for v in y.tolist())
    )
    labels = {"ER": y}
    with pytest.raises(InputError) as caught:
        check_covariate_values(patients, labels, ["age", "marker"])
    assert str(caught.value) == (
        "covariate 'marker' is refused, as it alone reaches AUC 1.00 for ER of 60 patients that train:"
        " expected what does not follow from the target; if it is known before and may be used, set"
        " network.allow_covariates to [marker]"
    )
    check_covariate_values(patients, labels, ["age", "marker"], ["marker"])
    usable = usable_clinical(patients, labels)
    assert [column.name for column in usable.columns] == ["age"]
    assert usable.told == {"marker": "it alone reaches AUC 1.00 for ER of 60 patients"}
    allowed = usable_clinical(patients, labels, ["marker"])
    assert [column.name for column in allowed.columns] == ["age", "marker"]
