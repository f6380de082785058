"""Tables with a column ``outer``: what is counted within outer parts, and what is not said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preprocessing.common.errors import InputError
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.predictions import read_predictions, validate_predictions
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.stability.replicates import add_ensembles

NUM_PARTS = 3


def make_table(*runs: str, repeats: int = 1, seed: int = 0, **columns: object) -> pd.DataFrame:
    """Return 60 patients; each part's models have a level of their own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(60) % 2
    rows = []
    for run in runs:
        for number in range(1, NUM_PARTS * repeats + 1):
            division = np.random.default_rng((number - 1) // NUM_PARTS).permutation(60) % NUM_PARTS
            level = 0.3 * number - 0.6
            for i, label in enumerate(labels):
                tested = division[i] == (number - 1) % NUM_PARTS
                x = level + 0.8 * label + rng.normal()
                rows.append(
                    {
                        "run": run,
                        "patient_id": f"P{i:02d}",
                        "target": "ER",
                        "split": "test" if tested else "validation",
                        "fold": pd.NA if tested else i % 2,
                        "label": label,
                        "probability": 1 / (1 + np.exp(-x)),
                        "outer": number,
                    }
                )
    return pd.DataFrame(rows).assign(**columns)


def evaluated(table: pd.DataFrame) -> TargetResult:
    return evaluate_table(table, num_resamples=200).results[0]


def test_calls_are_made_at_the_threshold_of_each_part() -> None:
    table = make_table("a")
    result = evaluated(table)
    assert result.threshold is None
    assert [part.number for part in result.outer] == [1, 2, 3]
    called = 0
    for part in result.outer:
        rows = table[(table["outer"] == part.number) & (table["split"] == "test")]
        assert part.threshold is not None
        called += int(((rows["probability"] >= part.threshold) & (rows["label"] == 1)).sum())
        validation = table[(table["outer"] == part.number) & (table["split"] == "validation")]
        assert part.threshold in set(validation["probability"])
    assert result.confusion is not None
    assert result.confusion.tp == called
    assert sum(vars(result.confusion).values()) == 60


def test_patients_of_a_repeat_count_once_but_for_the_auc() -> None:
    table = make_table("a", repeats=2)
    result = evaluated(table)
    assert result.num_patients == 60
    assert len(result.outer) == 6
    test = patient_scores(validate_predictions(table), "a", "ER", "test")
    first = table[(table["split"] == "test") & (table["outer"] <= NUM_PARTS)]
    expected = first.sort_values("patient_id")["probability"]
    assert test.scores == pytest.approx(expected.to_numpy())
    assert result.brier == pytest.approx(np.mean((test.scores - test.labels) ** 2))


def test_nothing_that_needs_one_scale_is_said_of_all_parts() -> None:
    evaluation = evaluate_table(make_table("a", "b"), num_resamples=200)
    result, (comparison,) = evaluation.results[0], evaluation.comparisons
    for name in ("auc_pr", "auc_ci95_bootstrap", "auc_ci95_delong", "threshold"):
        assert getattr(result, name) is None
        assert result.reasons[name]
    assert comparison.design == "paired"
    assert comparison.p is not None
    assert comparison.equal_rate is None
    assert "not on one scale" in comparison.reasons["equal_rate"]
    assert comparison.sensitivity_p is not None
    assert not any("Leak" in warning for warning in evaluation.warnings)


def test_what_can_be_shown_is_less_than_by_one_test_set_of_as_many() -> None:
    table = make_table("a")
    result = evaluated(table)
    single = evaluated(table[table["split"] == "test"].drop(columns="outer"))
    for name in ("detectable_auc", "detectable_auc_corrected"):
        assert getattr(result, name) > getattr(single, name)
    assert result.auc_half_width is not None
    assert single.auc_half_width is not None
    assert result.auc_half_width > 1.2 * single.auc_half_width


def test_a_single_split_and_a_cross_validated_one_are_not_compared() -> None:
    crossed = make_table("a")
    single = crossed[crossed["split"] == "test"].assign(run="b", outer=pd.NA)
    table = pd.concat([crossed, single], ignore_index=True)
    (comparison,) = evaluate_table(table, num_resamples=200).comparisons
    assert comparison.difference is None
    assert "outer parts" in comparison.reasons["difference"]


def test_runs_whose_parts_are_other_patients_are_not_compared() -> None:
    first, second = make_table("a"), make_table("b")
    second["patient_id"] = [f"P{(int(p[1:]) + 2) % 60:02d}" for p in second["patient_id"]]
    table = pd.concat([first, second], ignore_index=True)
    (comparison,) = evaluate_table(table, num_resamples=200).comparisons
    assert comparison.difference is None
    assert "of different patients" in comparison.reasons["difference"]


def test_ensembles_are_formed_within_parts_and_carry_the_caution() -> None:
    table = make_table("a", "b").assign(configuration="c", seed=pd.NA)
    table.loc[table["run"] == "b", "seed"] = 1
    # Each validates on another inner fold.
    other = (table["split"] == "validation") & ((table["fold"] == 0) == (table["run"] == "b"))
    table = add_ensembles(validate_predictions(table[~other]))
    mean = table[table["run"] == "c, mean of 2"]
    assert len(mean[mean["split"] == "test"]) == 60
    evaluation = evaluate_table(table, num_resamples=200)
    result = next(r for r in evaluation.results if r.run == "c, mean of 2")
    assert [part.num_patients for part in result.outer] == [20, 20, 20]
    assert "averaged over 1 prediction" in result.threshold_caution


def test_an_empty_column_is_none(tmp_path: Path) -> None:
    table = make_table("a")
    single = table[table["outer"] == 1]
    single.assign(outer="").to_csv(tmp_path / "t.csv", index=False)
    assert "outer" not in read_predictions(tmp_path / "t.csv")
    table.to_csv(tmp_path / "o.csv", index=False)
    assert read_predictions(tmp_path / "o.csv")["outer"].tolist() == table["outer"].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outer": 0}, "expected an integer from 1 or empty"),
        ({"outer": 1.5}, "expected an integer from 1 or empty"),
        ({"outer": pd.NA}, "has an outer part in some rows and none in others"),
        ({"split": "train"}, "both predict|is in train and test|leak"),
    ],
)
def test_what_cannot_be_is_one_sentence(change: dict[str, object], message: str) -> None:
    table = make_table("a").astype({"outer": object, "fold": object})
    row = table.index[table["split"] == "test"][0]
    extra = table.loc[[row]].assign(**change)
    if "outer" in change:
        table = table.drop(index=row)
    with pytest.raises(InputError, match=message):
        validate_predictions(pd.concat([table, extra], ignore_index=True))


def test_a_part_without_both_classes_in_validation_has_no_operating_point() -> None:
    table = make_table("a")
    gone = (table["outer"] == 2) & (table["split"] == "validation") & (table["label"] == 1)
    result = evaluated(table[~gone])
    assert result.sensitivity is None
    assert "outer part 2" in result.reasons["sensitivity"]
    assert result.auc is not None
