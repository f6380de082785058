"""``truth.json`` against what the written files say, and the statistics it rests on."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from preprocessing.phantom.anatomy import Texture
from preprocessing.phantom.patient import (
    DUKE_COUNTS,
    analytic_auc,
    best_auc,
    draw_labels,
    draw_latents,
    draw_patient,
    empirical_auc,
    prevalence,
    random_stream,
)
from preprocessing.phantom.settings import TARGETS, PhantomSettings
from preprocessing.phantom.signal import LARGEST, acquire
from preprocessing.phantom.truth import log_field


def rounding_bound(pre, enhancement):
    """How far rounding both signals to integers can move their ratio."""
    return 0.505 * (2 + np.asarray(enhancement)) * np.mean(1 / pre)


@pytest.mark.parametrize("name", ["clean", "fieldless"])
def test_enhancement_told_is_that_of_the_files(name, request):
    """Without noise and motion; a coil field cancels."""
    for patient in request.getfixturevalue(name).patients:
        pre, *posts = (series.voxels[patient.mask] for series in patient.phases)
        told = np.array(patient.truth["enhancement"])
        found = [np.mean(post / pre - 1) for post in posts]
        bound = rounding_bound(pre, told)
        if name == "clean":
            # A field makes the voxels' errors differ, so that their mean is much smaller.
            bound /= 3
        assert bound.max() < 0.01
        assert np.all(np.abs(found - told) < bound), patient.patient_id
        np.testing.assert_array_equal(patient.arrays["enhancement"], told)


def test_enhancement_of_means_told_is_that_of_the_files_without_a_field(fieldless):
    for patient in fieldless.patients:
        pre, *posts = (series.voxels[patient.mask].mean() for series in patient.phases)
        told = np.array(patient.truth["enhancement_of_means"])
        found = [post / pre - 1 for post in posts]
        assert np.all(np.abs(found - told) < rounding_bound(pre, told)), patient.patient_id


def test_enhancement_follows_the_curve_that_the_latents_decide(clean):
    for patient in clean.patients:
        kinetics, told = patient.truth["kinetics"], patient.truth["enhancement"]
        # Partial volume and an irregular border weaken it; they do not change its course.
        assert 0.5 * kinetics["peak"] < told[0] < 1.5 * kinetics["peak"]
        assert (told[2] > told[0]) == (kinetics["slope"] > 0)


def test_field_told_is_the_ratio_of_images_with_and_without_it(clean, fieldless):
    for with_field, without in zip(clean.patients[:3], fieldless.patients, strict=True):
        assert with_field.patient_id == without.patient_id
        for phase in (0, 2):
            series, flat = with_field.phases[phase], without.phases[phase].voxels
            seen = flat > 30
            bright, flat = series.voxels[seen], flat[seen]
            told = log_field(with_field.truth["field_coefficients"], series.lps(*np.nonzero(seen)))
            assert told.std() > 0.1
            # Both were rounded to integers.
            bound = 0.52 / bright + 0.52 / flat
            assert np.all(np.abs(np.log(bright / flat) - told) < bound)


def test_field_coefficients_are_the_same_in_both_places(clean, fieldless):
    for patient in clean.patients:
        told = patient.truth["field_coefficients"]
        np.testing.assert_array_equal(patient.arrays["field_coefficients"], told)
    for patient in fieldless.patients:
        assert not patient.arrays["field_coefficients"].any()


@pytest.mark.parametrize("field_sd", [0.1, 0.3])
def test_log_field_has_mean_zero_and_the_deviation_asked_for_over_the_breasts(field_sd):
    cohort = PhantomSettings(patients=6, matrix=96, slices=32, field_sd=field_sd)
    for number, labels in enumerate(draw_labels(cohort), start=1):
        patient = draw_patient(cohort, number, labels)
        points = patient.protocol.phases[0].stack.points()
        breasts = patient.scene.anatomy.breast_mask(points)
        field = patient.scene.field.at(points)[breasts]
        assert abs(field.mean()) < 0.1 * field_sd
        assert field.std() == pytest.approx(field_sd, rel=0.1)


@pytest.mark.parametrize("effect", [0.0, 0.5, 1.5, 3.0])
def test_simulated_auc_of_a_latent_is_the_analytic_one(effect):
    """Φ(d/√2), from the definition of the latent feature."""
    assert analytic_auc(effect) == pytest.approx(NormalDist().cdf(effect / math.sqrt(2)))
    rng = np.random.default_rng(7)
    effects = {"ER": effect, "PR": 1.0, "HER2": 1.0}
    labels = [{"ER": i % 3 // 2, "PR": 1, "HER2": 0} for i in range(20_000)]
    latents = [draw_latents(row, effects, rng)["ER"] for row in labels]
    found = empirical_auc([row["ER"] for row in labels], latents)
    # The standard error is 0.0044 where it is largest, at effect 0.
    assert found == pytest.approx(analytic_auc(effect), abs=0.015)


def test_latents_have_the_means_and_deviation_told():
    rng = np.random.default_rng(3)
    labels = {"ER": 1, "PR": 0, "HER2": 1}
    effects = {"ER": 2.0, "PR": 3.0, "HER2": 0.0}
    drawn = [draw_latents(labels, effects, rng) for _ in range(20_000)]
    for target, mean in {"ER": 1.0, "PR": -1.5, "HER2": 0.0}.items():
        values = [row[target] for row in drawn]
        assert np.mean(values) == pytest.approx(mean, abs=0.03)
        assert np.std(values) == pytest.approx(1, abs=0.03)


def test_empirical_auc_counts_pairs_with_ties_half():
    labels, scores = [1, 0, 1, 0, 0, 1], [0.9, 0.9, 0.1, 0.4, 0.1, 0.7]
    positive = [s for s, y in zip(scores, labels, strict=True) if y]
    negative = [s for s, y in zip(scores, labels, strict=True) if not y]
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert empirical_auc(labels, scores) == pytest.approx(np.mean(pairs))
    assert empirical_auc([1, 1], [0.3, 0.4]) is None


def latents_of(cohort):
    """Labels and latents as the patients of a cohort have them, without any image."""
    labels = draw_labels(cohort)
    return labels, [
        draw_latents(row, cohort.effects, random_stream(cohort.seed, number, "latents"))
        for number, row in enumerate(labels, start=1)
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_no_latent_tells_about_a_target_of_effect_zero(target):
    """Not even another target's, although receptors are correlated."""
    effects = {**dict.fromkeys(TARGETS, 4.0), target: 0.0}
    labels, latents = latents_of(PhantomSettings(patients=3000, effects=effects))
    truth = [row[target] for row in labels]
    for feature in TARGETS:
        # The standard error is 0.0138 for HER2, the rarest.
        found = empirical_auc(truth, [row[feature] for row in latents])
        assert found == pytest.approx(0.5, abs=0.045), feature
    assert best_auc(target, effects) == 0.5


def test_correlated_targets_tell_about_each_other_where_both_have_an_effect():
    effects = dict.fromkeys(TARGETS, 1.5)
    labels, latents = latents_of(PhantomSettings(patients=3000, effects=effects))
    crossed = empirical_auc([r["PR"] for r in labels], [r["ER"] for r in latents])
    assert crossed > 0.7
    for target in TARGETS:
        assert best_auc(target, effects, 20_000) >= analytic_auc(1.5) - 0.01
    assert best_auc("PR", effects, 20_000) > analytic_auc(1.5) + 0.02


def test_best_auc_is_the_own_one_where_the_other_targets_show_nothing():
    effects = {"ER": 0.0, "PR": 1.0, "HER2": 0.0}
    assert best_auc("PR", effects) == pytest.approx(analytic_auc(1.0), abs=0.006)


@pytest.mark.parametrize(("target", "positives"), [("ER", 686), ("PR", 598), ("HER2", 163)])
def test_prevalence_is_dukes(target, positives):
    assert prevalence(target) == pytest.approx(positives / 922)
    labels = draw_labels(PhantomSettings(patients=922, seed=5))
    assert sum(row[target] for row in labels) == pytest.approx(positives, abs=4)


def test_receptors_go_together_as_at_duke():
    labels = draw_labels(PhantomSettings(patients=922, seed=6))
    for cell, count in DUKE_COUNTS.items():
        found = sum((row["ER"], row["PR"], row["HER2"]) == cell for row in labels)
        assert found == pytest.approx(count, abs=4), cell


@pytest.mark.parametrize("effects", [{}, {"PR": 0.0}, dict.fromkeys(TARGETS, 0.0)])
def test_a_dozen_patients_hold_two_of_every_class(effects):
    for seed in range(40):
        labels = draw_labels(PhantomSettings(patients=12, seed=seed, effects=effects))
        for target in TARGETS:
            assert 2 <= sum(row[target] for row in labels) <= 10, (seed, target)


def test_truth_of_a_cohort_tells_its_targets(cohort):
    labels = draw_labels(cohort.settings)
    for target, told in cohort.truth["targets"].items():
        assert told["effect"] == 1.5
        assert told["own_auc"] == pytest.approx(analytic_auc(1.5))
        assert told["best_auc"] >= told["own_auc"] - 0.005
        assert told["num_positive"] == sum(row[target] for row in labels)
        scores = [p.truth["latents"][target] for p in cohort.patients]
        truth = [p.truth["labels"][target] for p in cohort.patients]
        assert truth == [row[target] for row in labels]
        assert told["empirical_auc"] == empirical_auc(truth, scores)


def test_noise_is_that_of_a_magnitude_image():
    shape, gain, sigma = (4, 64, 64), 300.0, 0.1
    nothing, rng = np.zeros(shape, np.float32), np.random.default_rng(0)
    air = acquire(nothing.copy(), nothing, gain, sigma, rng)
    # Rayleigh: mean σ√(π/2).
    assert air.mean() == pytest.approx(gain * sigma * math.sqrt(math.pi / 2), rel=0.02)
    tissue = acquire(np.full(shape, 2, np.float32), nothing, gain, sigma, rng)
    assert tissue.std() == pytest.approx(gain * sigma, rel=0.02)
    assert tissue.mean() == pytest.approx(gain * (2 + sigma**2 / 4), rel=0.002)


def test_stored_values_stop_at_twelve_bits_and_never_wrap():
    signal = np.array([[[0.0, 0.001, 1.0, 50.0]]], np.float32)
    stored = acquire(signal, np.zeros_like(signal), 300.0, 0.0, np.random.default_rng(0))
    assert stored.dtype == np.uint16
    assert stored.ravel().tolist() == [0, 0, 300, LARGEST]


def test_texture_has_mean_zero_and_deviation_one():
    texture = Texture.draw(np.random.default_rng(2), (-50, -50, -50), (50, 50, 50), length_mm=6.0)
    assert texture.nodes.mean() == pytest.approx(0, abs=1e-5)
    assert texture.nodes.std() == pytest.approx(1, abs=1e-5)
