"""Networks on a scanner that they were not trained on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.from_runs import predict_runs
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.shortcuts.folds import SCANNER, with_folds_by
from radiotrain.evaluation.shortcuts.left_out import (
    EACH_IN_TURN,
    TrainedWithout,
    networks_left_out,
)
from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from tests.unit.evaluation.naive_auc import naive_stratified
from tests.unit.evaluation.scanner_store import write_scanner_store
from tests.unit.training.synthetic import run_config


def _trained(store: Store, folder: Path, split: str, folds: int) -> list[str]:
    training = {"epochs": 4, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}
    urls = []
    for fold in range(folds):
        url = folder / f"{split}_{fold}"
        config = run_config(store, str(folder / split), url, train=training, fold=fold)
        train(config, reporter=lambda _: None)
        urls.append(config.out)
    return urls


@pytest.mark.slow
def test_a_network_that_reads_the_scanner_is_worth_little_on_one_it_never_saw(
    tmp_path: Path,
) -> None:
    store = write_scanner_store(str(tmp_path / "store"), agreement=0.9)
    split = make_split(store, num_folds=3)
    save_split(split, str(tmp_path / "dealt"))
    by_scanner = with_folds_by(split, store, SCANNER)
    assert (by_scanner.test_ids, by_scanner.groups) == (split.test_ids, ("A", "B"))
    save_split(by_scanner, str(tmp_path / "by_scanner"))
    urls = _trained(store, tmp_path, "dealt", 2) + _trained(store, tmp_path, "by_scanner", 2)
    table, context = predict_runs(urls, None, "a test", lambda _, __: nullcontext(lambda: None))
    networks = {r for r in table["run"] if not is_baseline(r)}
    assert networks == {"dealt_0", "dealt_1", "ER ResNet10-narrow, mean of 2"}
    found = context.shortcuts
    assert found is not None
    mine = {r.scanner: r for r in found.left_out if r.run == "ER ResNet10-narrow"}
    assert set(mine) == {"A", "B", EACH_IN_TURN}
    # Counted pair by pair from what each network says of the scanner that it never saw.
    expected = {}
    for url, name in zip(urls[2:], "AB", strict=True):
        rows = pd.read_parquet(Path(url) / "predictions.parquet")
        rows = rows[rows["split"] == "validation"]
        assert {
            store.records[store.index_of(i)].covariates["manufacturer"] for i in rows["patient_id"]
        } == {name}
        expected[name] = rows
        area = naive_stratified(
            rows["label"].to_numpy(), rows["probability"].to_numpy(), [0] * len(rows)
        )
        assert mine[name].area.auc == pytest.approx(area)
    both = pd.concat([rows.assign(scanner=name) for name, rows in expected.items()])
    area = naive_stratified(
        both["label"].to_numpy(), both["probability"].to_numpy(), both["scanner"].tolist()
    )
    assert mine[EACH_IN_TURN].area.auc == pytest.approx(area)
    assert area < 0.75, "the scanner, which gave the target away, is the same for all pairs"
    details = [d for v in found.verdicts for d in v.details if "Networks trained without" in d]
    assert len(details) == 2
    assert f"AUC {area:.2f}" in details[0]
    out = tmp_path / "report"
    write_report(evaluate_table(table, num_resamples=100), table, out, context=context)
    page = (out / "report.html").read_text("utf-8")
    assert "<details open><summary>On a scanner" in page
    assert "trained without one manufacturer each" in page


def test_what_a_known_scanner_gives_is_counted_in_pairs_of_fold_and_scanner() -> None:
    generator = np.random.default_rng(5)
    ids = [f"P{i}" for i in range(80)]
    group_of = {i: "AB"[k % 2] for k, i in enumerate(ids)}
    labels, p = generator.integers(0, 2, 80), generator.random((2, 80))
    rows = {"patient_id": ids, "target": "ER", "split": "validation", "label": labels}
    without = pd.DataFrame(rows | {"run": "configuration", "fold": 0, "probability": p[0]})
    seen = pd.DataFrame(
        rows | {"run": "run", "fold": [k // 20 for k in range(80)], "probability": p[1]}
    )
    known = TrainedWithout(without, group_of, {"run": "configuration"}, "manufacturer")
    found = {r.scanner: r for r in networks_left_out(known, validate_predictions(seen))}
    for name in ("A", "B"):
        rows_of = [k for k, i in enumerate(ids) if group_of[i] == name]
        folds = [k // 20 for k in rows_of]
        expected = naive_stratified(labels[rows_of], p[1][rows_of], folds)
        assert found[name].area_seen.auc == pytest.approx(expected)
    both = [(group_of[i], k // 20) for k, i in enumerate(ids)]
    assert found[EACH_IN_TURN].area_seen.auc == pytest.approx(naive_stratified(labels, p[1], both))
    alone = TrainedWithout(without, group_of, {"run": "another"}, "manufacturer")
    (reason,) = {r.area_seen.reason for r in networks_left_out(alone, validate_predictions(seen))}
    assert reason == "no run of this configuration is evaluated beside it"


@pytest.mark.slow
def test_other_test_patients_are_refused_before_the_test_set_is_opened(tmp_path: Path) -> None:
    store = write_scanner_store(str(tmp_path / "store"))
    save_split(make_split(store, num_folds=3), str(tmp_path / "dealt"))
    other = with_folds_by(make_split(store, num_folds=3, seed=1), store, "manufacturer")
    save_split(other, str(tmp_path / "by_scanner"))
    urls = _trained(store, tmp_path, "dealt", 1) + _trained(store, tmp_path, "by_scanner", 1)
    with pytest.raises(InputError, match=r"has other test patients than .*the same --seed"):
        predict_runs(urls, None, "a test", lambda _, __: nullcontext(lambda: None))
    assert not read_access_log(str(tmp_path / "dealt")).records


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fold", "baselines", "words"),
    [(None, True, "no scanner was left out"), (0, False, "got --no-baselines with all")],
)
def test_runs_that_cannot_serve_are_refused_before_the_test_set_is_opened(
    tmp_path: Path, fold: int | None, baselines: bool, words: str
) -> None:
    store = write_scanner_store(str(tmp_path / "store"))
    split = make_split(store, num_folds=3)
    save_split(split, str(tmp_path / "dealt"))
    save_split(with_folds_by(split, store, SCANNER), str(tmp_path / "by_scanner"))
    training = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 0}
    urls = []
    for name, of, number in (("run", "dealt", 0), ("all", "by_scanner", fold)):
        config = run_config(store, str(tmp_path / of), tmp_path / name, train=training, fold=number)
        train(config, reporter=lambda _: None)
        urls.append(config.out)
    with pytest.raises(InputError, match=words):
        predict_runs(
            urls, None, "a test", lambda _, __: nullcontext(lambda: None), baselines=baselines
        )
    assert not read_access_log(str(tmp_path / "dealt")).records


@pytest.mark.slow
def test_runs_of_a_split_by_scanner_alone_are_tested(tmp_path: Path) -> None:
    store = write_scanner_store(str(tmp_path / "store"))
    split = with_folds_by(make_split(store, num_folds=3), store, SCANNER)
    save_split(split, str(tmp_path / "by_scanner"))
    urls = _trained(store, tmp_path, "by_scanner", 1)
    table, context = predict_runs(
        urls, None, "a test", lambda _, __: nullcontext(lambda: None), baselines=False
    )
    assert set(table.loc[table["split"] == "test", "patient_id"]) == set(split.test_ids)
    assert context.flow is not None
    assert "one for each manufacturer" in context.flow.note
