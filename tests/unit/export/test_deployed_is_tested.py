"""What `predict` says of a test patient is the probability whose calibration `evaluate` reports."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.from_runs import predict_runs
from radiotrain.evaluation.measure import deployed_probabilities
from radiotrain.evaluation.patients import patient_scores
from radiotrain.inference.open_model import open_models
from radiotrain.inference.probability import ask, read_answer
from radiotrain.runs.promoted import read_promoted
from radiotrain.statistics.calibration import brier_score, calibration_slope
from tests.unit.export.compare import loop_image
from tests.unit.export.exporting import export
from tests.unit.export.trained import train_run

KINDS = ("single", "ensemble", "ensemble-raw", "folds")


def evaluated(urls: list[str]):
    return predict_runs(
        urls, None, "a test", lambda _, __: nullcontext(lambda: None), baselines=False
    )[0]


def predicted(urls: list[str], store, ids: tuple[str, ...]) -> np.ndarray:
    (model,) = open_models(urls, "cpu")
    said = []
    for patient_id in ids:
        row = store.index_of(patient_id)
        images = torch.from_numpy(loop_image(store, row, model.normalisation))[None]
        probabilities = ask(model, images, store.records[row], 0)
        said.append(read_answer(model.rules[0], probabilities[..., 0]).probability)
    return np.array(said)


@pytest.mark.parametrize("kind", KINDS)
def test_predict_says_what_evaluate_scored(kind, models, store, split_url, tmp_path) -> None:
    urls = [models["single"] if kind == "folds" else models[kind]]
    if kind == "folds":
        train_run(store, split_url, tmp_path / "another", fold=1)
        urls.append(str(tmp_path / "another"))
    table = evaluated(urls)
    runs = table["run"].unique().tolist()
    run = next((r for r in runs if ", mean of 2" in r), runs[0])
    test, validation = (patient_scores(table, run, "ER", part) for part in ("test", "validation"))
    scored, why = deployed_probabilities(test, validation)
    found = predicted(urls, store, test.patient_ids)
    np.testing.assert_allclose(found, scored, rtol=0, atol=1e-6)
    assert np.ptp(found) > 1e-3
    if kind != "folds":
        export(urls[0], "safetensors", tmp_path / "export")
        np.testing.assert_allclose(
            predicted([str(tmp_path / "export")], store, test.patient_ids),
            scored,
            rtol=0,
            atol=1e-6,
        )
    # The report's numbers are of these probabilities.
    results = evaluate_table(table, num_resamples=100).results
    (deployed,) = [r.deployed for r in results if (r.run, r.target) == (run, "ER")]
    assert deployed.is_calibrated == (not why)
    assert deployed.brier == pytest.approx(brier_score(test.labels, found), abs=1e-6)
    slope = calibration_slope(test.labels, found)
    if slope.reason:
        assert deployed.reasons["calibration_slope"] == slope.reason
    else:
        assert deployed.calibration_slope == pytest.approx(slope.value, abs=1e-4)


def test_an_older_ensemble_is_averaged_as_it_was(models, store) -> None:
    """Its promoted.json has no key ``scales``: the plain mean of its networks' probabilities."""
    assert read_promoted(models["ensemble-raw"]).scales == ()
    table = evaluated([models["ensemble-raw"]])
    members = [f"{models['ensemble-raw']}/members/trial_fold{fold}" for fold in (0, 1)]
    alone = [evaluated([url]) for url in members]
    for target in ("ER", "PR"):
        mean = patient_scores(table, "ensemble-raw", target, "test")
        each = [
            patient_scores(t, f"trial_fold{n}", target, "test").scores for n, t in enumerate(alone)
        ]
        np.testing.assert_allclose(mean.scores, np.mean(each, axis=0), atol=1e-9)
        kept = patient_scores(table, "ensemble-raw", target, "validation")
        of_folds = [
            patient_scores(t, f"trial_fold{n}", target, "validation") for n, t in enumerate(alone)
        ]
        by_id = {i: p for f in of_folds for i, p in zip(f.patient_ids, f.scores, strict=True)}
        np.testing.assert_allclose(kept.scores, [by_id[i] for i in kept.patient_ids], atol=1e-6)


def test_a_newer_ensemble_is_the_mean_of_calibrated_networks(models, store) -> None:
    scales = read_promoted(models["ensemble"]).scales
    table = evaluated([models["ensemble"]])
    alone = [evaluated([f"{models['ensemble']}/members/trial_fold{fold}"]) for fold in (0, 1)]
    for target in ("ER", "PR"):
        mean = patient_scores(table, "ensemble", target, "test")
        each = [
            scales[n][target].apply(patient_scores(t, f"trial_fold{n}", target, "test").scores)
            for n, t in enumerate(alone)
        ]
        np.testing.assert_allclose(mean.scores, np.mean(each, axis=0), atol=1e-9)
        raw = [
            patient_scores(t, f"trial_fold{n}", target, "test").scores for n, t in enumerate(alone)
        ]
        assert np.abs(mean.scores - np.mean(raw, axis=0)).max() > 1e-3
