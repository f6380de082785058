"""The threshold and its rates: from validation patients alone, and from the very model's test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from preprocessing.common.errors import DamagedFileError, MissingPathError
from preprocessing.storage.digests import dump_with_digest
from radiotrain.evaluation.report.metrics_json import SCHEMA_VERSION
from radiotrain.inference.operating_point import Rule, find_tested, make_rule, read_report

# Threshold 0.6: of four positives three are at or above it, of four negatives one.
LABELS = [1, 1, 1, 1, 0, 0, 0, 0]
PROBABILITIES = [0.9, 0.8, 0.6, 0.15, 0.7, 0.2, 0.1, 0.05]


def table(split: str = "validation") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": "run",
            "patient_id": [f"{split}{n}" for n in range(8)],
            "target": "ER",
            "split": split,
            "fold": 0,
            "label": LABELS,
            "probability": PROBABILITIES,
        }
    )


def report(**changes: Any) -> dict[str, Any]:
    result = {
        "threshold": 0.6, "confusion": {"tp": 8, "fp": 3, "tn": 7, "fn": 2}, "auc": 0.81,
        "auc_ci95_bootstrap": [0.61, 0.96], "auc_ci95": [0.6, 0.95],
    }  # fmt: skip
    saliency = {"runs": [{"run": "run", "target": "ER", "kind": "doubtful"}]}
    return {"runs": {"run": {"ER": result | changes}}, "saliency": saliency}


@pytest.fixture
def rule() -> Rule:
    return make_rule(table(), "run", "ER")


def test_the_rates_are_those_counted_by_hand(rule: Rule) -> None:
    assert rule.threshold == 0.6
    assert rule.validation is not None
    assert rule.validation.patients == "validation"
    assert rule.validation.sensitivity == 3 / 4
    assert rule.validation.specificity == 3 / 4
    assert rule.prevalence == 0.5
    # Newcombe 1998, method 3, of 3 in 4.
    assert rule.validation.sensitivity_ci95 == pytest.approx((0.3006, 0.9544), abs=1e-4)


def test_test_patients_have_no_part_in_it(rule: Rule) -> None:
    spoilt = table("test").assign(label=[1 - label for label in LABELS])
    assert make_rule(pd.concat([table(), spoilt]), "run", "ER") == rule


def test_patients_without_a_label_have_no_part_in_it(rule: Rule) -> None:
    missing = table().assign(label=-1, patient_id=[f"m{n}" for n in range(8)])
    assert make_rule(pd.concat([table(), missing]), "run", "ER") == rule


def test_one_class_has_no_threshold_and_says_why() -> None:
    found = make_rule(table().assign(label=1), "run", "ER")
    assert found.threshold is None
    assert found.validation is None
    assert "only one class" in found.no_threshold


def test_the_report_of_the_same_threshold_tells_the_test(rule: Rule) -> None:
    found = find_tested(report(), "run", rule)
    assert found.rates is not None
    assert found.rates.patients == "test"
    assert (found.rates.sensitivity, found.rates.specificity) == (0.8, 0.7)
    assert (found.rates.num_positive, found.rates.num_negative) == (10, 10)
    assert (found.auc, found.auc_ci95, found.attention) == (0.81, (0.6, 0.95), "doubtful")


@pytest.mark.parametrize(
    ("values", "run", "reason"),
    [
        (None, "run", "no report"),
        (report(), "other", "no result of other for ER"),
        (report(threshold=0.61), "run", "another threshold"),
        (report(confusion=None), "run", "no threshold"),
    ],
)
def test_a_test_of_something_else_is_not_told(
    values: dict[str, Any] | None, run: str, reason: str, rule: Rule
) -> None:
    found = find_tested(values, run, rule)
    assert found.rates is None
    assert reason in found.no_rates


def test_only_a_report_is_read_as_one(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="radiotrain evaluate"):
        read_report(str(tmp_path))
    (tmp_path / "metrics.json").write_text('{"runs": 3}')
    with pytest.raises(DamagedFileError, match="make it again with 'radiotrain evaluate'"):
        read_report(str(tmp_path))
    values = report() | {"schema_version": SCHEMA_VERSION}
    (tmp_path / "metrics.json").write_text(dump_with_digest(values))
    assert read_report(str(tmp_path)) == values
