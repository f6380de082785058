"""AUC over pairs of one stratum, and how far it falls within scanners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.shortcuts.shortcut_gate import measure_fall
from radiotrain.statistics.auc import auc, delong_interval
from radiotrain.statistics.stratified_auc import (
    Area,
    stratified_area,
    stratified_auc,
    without_small_counts,
)
from tests.unit.evaluation.naive_auc import naive_stratified


def test_stratified_auc_counts_pairs_of_one_stratum() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    scores, strata = generator.integers(0, 9, 60) / 9.0, generator.integers(0, 5, 60).tolist()
    expected = naive_stratified(labels, scores, strata)
    assert stratified_auc(labels, scores, strata) == pytest.approx(expected)
    assert stratified_area(labels, scores, strata).auc == pytest.approx(expected)


def test_one_stratum_is_delong() -> None:
    generator = np.random.default_rng(1)
    labels, scores = generator.integers(0, 2, 50), generator.normal(size=50)
    area = stratified_area(labels, scores, [0] * 50)
    assert area.auc == pytest.approx(auc(labels, scores))
    assert area.interval == pytest.approx(delong_interval(labels, scores))


def test_classes_that_do_not_overlap_have_an_interval() -> None:
    labels = np.arange(40) % 2
    for strata in ([0] * 40, (np.arange(40) // 4).tolist()):
        area = stratified_area(labels, labels.astype(float), strata)
        assert area.auc == pytest.approx(1.0)
        assert area.interval is not None
        assert 0.7 < area.interval[0] < 0.99


def test_a_small_group_has_no_auc_but_a_reason() -> None:
    labels = np.array([1] * 4 + [0] * 20)
    area = stratified_area(labels, labels.astype(float), [0] * 24)
    assert area.auc is None
    assert area.reason == "too small a group, 4 positive and 20 negative"


def test_groups_with_few_of_a_class_give_no_counts_away() -> None:
    shown = Area(0.7, (0.5, 0.9), 20, 5)
    assert without_small_counts(shown) == shown
    few = without_small_counts(
        Area(None, None, 9, 5, "too small a group, 5 positive and 4 negative")
    )
    assert (few.num_patients, few.num_positive) == (9, None)
    assert few.reason == "fewer than 5 of a class: too few to say, counts are withheld"
    assert without_small_counts(Area(None, None, 3, 0)).num_patients is None


def table_of(labels: Any, probabilities: Any, parts: Any) -> pd.DataFrame:
    rows = [
        ("run", f"P{i}", "ER", "test" if part is None else "validation", part, label, probability)
        for i, (label, probability, part) in enumerate(
            zip(labels, probabilities, parts, strict=True)
        )
    ]
    columns = ["run", "patient_id", "target", "split", "fold", "label", "probability"]
    return validate_predictions(pd.DataFrame(rows, columns=columns).astype({"fold": "Int64"}))


def test_a_network_that_reads_the_scanner_falls_within_scanners() -> None:
    generator = np.random.default_rng(2)
    labels = np.arange(160) % 2
    scanner = np.where(generator.random(160) < 0.85, labels, 1 - labels)
    scanners = {f"P{i}": str(s) for i, s in enumerate(scanner)}
    parts = [None if i % 3 else 0 for i in range(160)]
    noise = generator.uniform(0, 0.2, 160)
    reads_scanner = measure_fall(
        table_of(labels, 0.3 + 0.4 * scanner + noise, parts), "run", "ER", scanners
    )
    reads_tumour = measure_fall(
        table_of(labels, 0.3 + 0.1 * labels + noise, parts), "run", "ER", scanners
    )
    assert reads_scanner is not None
    assert reads_tumour is not None
    assert reads_scanner.is_clear
    assert reads_scanner.within == pytest.approx(0.5, abs=0.15)
    assert not reads_tumour.is_clear


def test_the_falls_interval_is_that_of_aucs_of_each_draw() -> None:
    """By a loop that draws patients and computes both AUCs anew each time; ties included."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 2, 60)
    scores = np.round(generator.random(60), 1) / 2 + 0.2
    parts = [None if i % 3 else 0 for i in range(60)]
    scanners = {f"P{i}": str(v) for i, v in enumerate(generator.integers(0, 2, 60))}
    found = measure_fall(table_of(labels, scores, parts), "run", "ER", scanners, seed=3)
    assert found is not None
    by_name = sorted(range(60), key=str)
    order = [i for i in by_name if parts[i] == 0] + [i for i in by_name if parts[i] is None]
    cells: dict[Any, list[int]] = {}
    for i in order:
        cells.setdefault((parts[i], scanners[f"P{i}"], labels[i]), []).append(i)
    draws, falls = np.random.default_rng(3), []
    for _ in range(500):
        rows = [i for cell in cells.values() for i in draws.choice(cell, len(cell))]
        inside = stratified_auc(
            labels[rows], scores[rows], [(parts[i], scanners[f"P{i}"]) for i in rows]
        )
        falls.append(stratified_auc(labels[rows], scores[rows], [parts[i] for i in rows]) - inside)
    assert found.interval == pytest.approx(np.percentile(falls, [2.5, 97.5]), abs=1e-12)
