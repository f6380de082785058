import numpy as np
import pytest

from preprocessing.common.config import N4Settings
from preprocessing.images import n4

SETTINGS = N4Settings(iterations=(5, 5, 5))


def random_volume(shape, seed=0):
    volume = np.random.default_rng(seed).gamma(9, 10, shape) + 1
    return volume * np.exp(0.3 * np.linspace(-1, 1, shape[0]))[:, None, None]


def grid_positions(shape):
    x, y, z = (np.arange(n, dtype=np.float64) for n in shape)
    return x, y, z


def test_same_input_gives_the_same_bits():
    volume = random_volume((20, 18, 9))
    mask = volume > 60
    lattice = n4.fit_lattice(volume, mask, SETTINGS)
    again = n4.fit_lattice(volume.copy(), np.asfortranarray(mask), SETTINGS)
    np.testing.assert_array_equal(lattice, again)


@pytest.mark.parametrize("other", [1e6, -5.0, 0.0, np.nan, np.inf])
def test_voxels_outside_the_mask_do_not_matter(other):
    volume = random_volume((20, 18, 9))
    mask = np.zeros(volume.shape, bool)
    mask[4:15, 2:17, 3:8] = volume[4:15, 2:17, 3:8] > 60
    expected = n4.fit_lattice(volume, mask, SETTINGS)
    found = n4.fit_lattice(np.where(mask, volume, other), mask, SETTINGS)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("unusable", [0.0, -3.0, np.nan])
def test_masked_voxels_not_above_zero_are_left_out(unusable):
    volume = random_volume((12, 11, 10))
    mask = np.ones(volume.shape, bool)
    hole = np.random.default_rng(1).random(volume.shape) < 0.2
    expected = n4.fit_lattice(volume, ~hole, SETTINGS)
    found = n4.fit_lattice(np.where(hole, unusable, volume), mask, SETTINGS)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "shape", [(1, 1, 2), (1, 9, 12), (4, 3, 2), (2, 2, 2), (1, 1, 40), (16, 1, 1), (3, 17, 5)]
)
def test_axes_shorter_than_the_lattice_are_fitted(shape):
    volume = random_volume(shape)
    lattice = n4.fit_lattice(volume, np.ones(shape, bool), N4Settings())
    field = n4.evaluate(lattice, grid_positions(shape), shape)
    assert lattice.shape == (11, 11, 11)
    assert field.shape == shape
    assert np.isfinite(lattice).all()
    assert np.ptp(field) > 0


def test_empty_mask_is_refused():
    volume = random_volume((6, 6, 6))
    with pytest.raises(ValueError, match="no masked voxel"):
        n4.fit_lattice(volume, np.zeros(volume.shape, bool), SETTINGS)


def test_infinite_intensity_is_refused():
    volume = random_volume((6, 6, 6))
    volume[2, 3, 4] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        n4.fit_lattice(volume, np.ones(volume.shape, bool), SETTINGS)


def test_level_ends_when_the_field_hardly_changes():
    volume = random_volume((20, 18, 9))
    mask = np.ones(volume.shape, bool)
    stopped = n4.fit_lattice(volume, mask, N4Settings(iterations=(9, 9), convergence=1e9))
    once_each = n4.fit_lattice(volume, mask, N4Settings(iterations=(1, 1), convergence=0.0))
    np.testing.assert_array_equal(stopped, once_each)


def test_field_is_the_lattice_times_a_basis_matrix_an_axis():
    shape, lattice = (9, 7, 5), np.random.default_rng(0).normal(size=(5, 7, 4))
    expected = np.einsum("abc,ia,jb,kc->ijk", lattice, *n4.grid_bases(shape, lattice.shape))
    found = n4.evaluate(lattice, grid_positions(shape), shape)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    beyond = (np.array([-3.0, 20.0]), np.array([-1.0]), np.array([4.5, 9.0]))
    edges = n4.evaluate(lattice, beyond, shape)
    np.testing.assert_allclose(edges, expected[[0, -1], :1][:, :, [-1, -1]], atol=1e-12)


def naive_sharpen(values, settings):
    """N3's sharpening value by value: each counts linearly for the two bins around it."""
    low, high, num = values.min(), values.max(), settings.num_bins
    slope = (high - low) / (num - 1)
    histogram = np.zeros(num + 1)
    for place in (values - low) / slope:
        lower = min(int(place), num - 1)
        histogram[lower] += 1 - (place - lower)
        histogram[lower + 1] += place - lower
    padded = 512  # of 200 bins
    offset = (padded - num) // 2
    signal = np.pad(histogram[:num], (offset, padded - num - offset))
    distance = np.minimum(np.arange(padded), padded - np.arange(padded)) * slope
    gaussian = np.exp(-4 * np.log(2) * distance**2 / settings.fwhm**2)
    gaussian *= 2 * np.sqrt(np.log(2) / np.pi) * slope / settings.fwhm
    blur = np.fft.fft(gaussian)
    wiener = blur.conj() / (blur.conj() * blur + settings.wiener_noise)
    sharp = np.fft.ifft(np.fft.fft(signal) * wiener.real).real.clip(0)
    centres = low + (np.arange(padded) - offset) * slope
    mean = np.fft.ifft(np.fft.fft(centres * sharp) * blur).real
    mean /= np.fft.ifft(np.fft.fft(sharp) * blur).real
    return np.interp(values, centres[offset : offset + num], mean[offset : offset + num])


def test_sharpening_is_what_the_formula_says():
    """Within a part of a bin for each value, and a hundredth of that on average."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(4.5, 0.2, 4000), rng.normal(5.5, 0.1, 3000)])
    values = values.astype(np.float32)
    settings = N4Settings()
    error = n4.sharpen(values, settings) - naive_sharpen(values.astype(np.float64), settings)
    part = np.ptp(values) / (settings.num_bins - 1) / 64
    assert np.abs(error).max() < part
    assert abs(error.mean()) < part / 100


def test_equal_values_stay_as_they_are():
    values = np.full(10, 4.5, np.float32)
    np.testing.assert_array_equal(n4.sharpen(values, N4Settings()), values)
