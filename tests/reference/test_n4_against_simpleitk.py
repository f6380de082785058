"""Oracle: SimpleITK's N4BiasFieldCorrectionImageFilter on the same voxels, mask and settings."""

import numpy as np
import pytest

from preprocessing.common.config import N4Settings
from preprocessing.images import n4, n4_simpleitk


def inhomogeneous_volume(shape, seed):
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.8
    tissue = np.where(inside, 100 + 80 * (np.sin(5 * x) * np.cos(7 * y) > 0.2), 3)
    log_field = 0.3 * x - 0.2 * y * z + 0.2 * np.cos(2 * x + y)
    noisy = tissue * np.exp(log_field) + rng.normal(0, 2, shape)
    # SimpleITK works in float32: give both engines exactly the same numbers.
    return noisy.clip(0.5).astype(np.float32).astype(np.float64), inside, log_field


def own_positions(shape):
    x, y, z = (np.arange(n, dtype=np.float64) for n in shape)
    return x, y, z


@pytest.mark.parametrize(
    ("shape", "iterations"),
    [((32, 30, 12), (20, 20, 20, 20)), ((40, 24, 16), (5, 5)), ((20, 20, 20), (10,))],
)
def test_separable_fit_gives_simpleitks_field(shape, iterations):
    volume, mask, _ = inhomogeneous_volume(shape, seed=1)
    settings = N4Settings(iterations=iterations)
    ours = n4.evaluate(n4.fit_lattice(volume, mask, settings), own_positions(shape), shape)
    theirs = n4_simpleitk.fit_log_field(volume, mask, settings)
    assert theirs.std() > 0.02  # the oracle found a field at all
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 1e-4


@pytest.mark.parametrize(
    "part", [np.s_[12:15], np.s_[:, 25:], np.s_[3:20, 12:25, 2:9]], ids=["slab", "edge", "corner"]
)
def test_lattice_spans_the_volume_whatever_the_mask(part):
    shape = (32, 30, 12)
    volume, _, _ = inhomogeneous_volume(shape, seed=5)
    mask = np.zeros(shape, bool)
    mask[part] = True
    settings = N4Settings(iterations=(10, 10, 10, 10), convergence=0.0)
    ours = n4.evaluate(n4.fit_lattice(volume, mask, settings), own_positions(shape), shape)
    theirs = n4_simpleitk.fit_log_field(volume, mask, settings)
    assert theirs.std() > 0.02
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 1e-4


@pytest.mark.parametrize(("fwhm", "num_bins"), [(0.3, 200), (0.15, 100)])
def test_sharpening_settings_mean_what_simpleitks_do(fwhm, num_bins):
    shape = (32, 30, 12)
    volume, mask, _ = inhomogeneous_volume(shape, seed=2)
    settings = N4Settings(iterations=(10, 10), fwhm=fwhm, num_bins=num_bins)
    ours = n4.evaluate(n4.fit_lattice(volume, mask, settings), own_positions(shape), shape)
    theirs = n4_simpleitk.fit_log_field(volume, mask, settings)
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 1e-4


def test_reference_engines_lattice_gives_its_own_field():
    shape = (24, 20, 8)  # fewer slices than control points along the last axis
    volume, mask, _ = inhomogeneous_volume(shape, seed=3)
    settings = N4Settings(iterations=(5, 5, 5, 5))
    field = n4_simpleitk.fit_log_field(volume, mask, settings)
    lattice = n4_simpleitk.fit_lattice(volume, mask, settings)
    np.testing.assert_allclose(n4.evaluate(lattice, own_positions(shape), shape), field, atol=1e-4)


def test_field_found_follows_the_field_put_in():
    shape = (48, 48, 20)
    volume, mask, true = inhomogeneous_volume(shape, seed=4)
    lattice = n4.fit_lattice(volume, mask, N4Settings())
    found = n4.evaluate(lattice, own_positions(shape), shape)
    assert np.corrcoef(found[mask], true[mask])[0, 1] > 0.99


def test_no_tissue_is_refused():
    with pytest.raises(ValueError, match="no masked voxel"):
        n4.fit_lattice(np.zeros((8, 8, 8)), np.ones((8, 8, 8), bool), N4Settings())
    with pytest.raises(ValueError, match="varying"):
        n4.fit_lattice(np.ones((8, 8, 8)), np.ones((8, 8, 8), bool), N4Settings())
