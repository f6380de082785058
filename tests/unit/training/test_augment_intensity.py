from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radiotrain.data.augmentation import add_noise, bend, change_enhancement


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(4, 6, 5, 7, generator=torch.Generator().manual_seed(0))


def enhanced(image: torch.Tensor, first: float, last: float) -> torch.Tensor:
    changed = image.clone()
    change_enhancement(changed, first, last)
    return changed


def bent(
    image: torch.Tensor, gamma: float = 1.0, gain: float = 1.0, brightness: float = 0.0
) -> torch.Tensor:
    changed = image.clone()
    bend(changed, gamma, gain, brightness)
    return changed


def test_neutral_values_change_no_bit(image):
    changed = image.clone()
    change_enhancement(changed, 1.0, 1.0)
    bend(changed, 1.0, 1.0, 0.0)
    add_noise(changed, 0.0, 1)
    assert torch.equal(changed, image)


def test_enhancement_follows_its_formula(image):
    factors = torch.tensor([1.1, 1.0, 0.9]).view(3, 1, 1, 1)
    expected = image[:1] + (image[1:] - image[:1]) * factors
    changed = enhanced(image, 1.1, 0.9)
    assert torch.equal(changed[0], image[0])
    assert torch.allclose(changed[1:], expected, atol=1e-6)


@pytest.mark.parametrize("num_phases", [1, 2])
def test_enhancement_of_few_phases(image, num_phases):
    changed = enhanced(image[:num_phases], 1.1, 0.9)
    assert torch.equal(changed[0], image[0])
    if num_phases == 2:
        assert torch.allclose(changed[1], image[0] + (image[1] - image[0]) * 1.1, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    first=st.floats(0.5, 1.5),
    last=st.floats(0.5, 1.5),
    gamma=st.floats(0.5, 2.0),
    gain=st.floats(0.5, 1.5),
    num_phases=st.integers(2, 6),
    seed=st.integers(0, 2**16),
)
def test_what_enhances_goes_on_enhancing(first, last, gamma, gain, num_phases, seed):
    image = torch.randn(num_phases, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    changed = bent(enhanced(image, first, last), gamma, gain, 0.3)
    clearly = (image - image[0]).abs() > 1e-2
    assert torch.equal((changed > changed[0])[clearly], (image > image[0])[clearly])


@settings(max_examples=30, deadline=None)
@given(first=st.floats(0.6, 1.4), last=st.floats(0.6, 1.4), seed=st.integers(0, 2**16))
def test_order_of_a_curve_changes_no_more_than_the_even_course_of_factors(first, last, seed):
    """A later phase overtakes an earlier one only where their factors' ratio makes it."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(5, 3, 4, 5, generator=generator)
    image[0] = 0
    changed = enhanced(image, first, last)
    factors = torch.linspace(first, last, 4)
    for p in range(1, 5):
        for q in range(p + 1, 5):
            ratio = max(factors[p - 1] / factors[q - 1], factors[q - 1] / factors[p - 1])
            clearly = image[q] > image[p] * ratio * 1.001
            assert (changed[q] > changed[p])[clearly].all()


@settings(max_examples=40, deadline=None)
@given(gamma=st.floats(0.5, 2.0), seed=st.integers(0, 2**16))
def test_gamma_rises_within_the_range_of_all_phases(gamma, seed):
    image = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed)) * 5 + 3
    changed = bent(image, gamma)
    order = image.flatten().argsort()
    assert (changed.flatten()[order].diff() >= 0).all()
    assert torch.allclose(changed.aminmax().min, image.min(), atol=1e-4)
    assert torch.allclose(changed.aminmax().max, image.max(), atol=1e-4)


@pytest.mark.parametrize("gamma", [0.9, 1.0, 1.1])
def test_gamma_gain_and_brightness_follow_their_formula(image, gamma):
    exact = image.double()
    lowest, width = exact.min(), exact.max() - exact.min()
    expected = lowest + width * ((exact - lowest) / width) ** gamma
    changed = bent(image, gamma, 1.2, -0.3)
    assert torch.allclose(changed.double(), expected * 1.2 - 0.3, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.1, 2.0])
def test_gamma_leaves_an_image_of_one_value(gamma):
    image = torch.full((2, 3, 3, 3), 4.0)
    assert torch.allclose(bent(image, gamma), image)


def test_gamma_of_opposite_logarithms_undo_each_other(image):
    back = bent(bent(image, math.exp(0.1)), math.exp(-0.1))
    assert torch.allclose(back, image, atol=1e-4)


def test_noise_is_gaussian_and_independent_between_phases_and_neighbours():
    noise = torch.zeros(3, 40, 40, 30)
    add_noise(noise, 0.2, 7)
    standard = noise.double() / 0.2
    # 144 000 values: the standard errors are 0.0026, 0.0019, 0.0065 and 0.013.
    assert abs(standard.mean()) < 0.013
    assert standard.std().item() == pytest.approx(1, abs=0.01)
    assert abs((standard**3).mean()) < 0.035
    assert (standard**4).mean().item() == pytest.approx(3, abs=0.07)
    for shifted in (standard.roll(1, axis) for axis in range(4)):
        assert abs((standard * shifted).mean()) < 0.013


def test_noise_depends_on_its_seed_alone():
    first, again, other = torch.zeros(3, 2, 4, 5, 6)
    add_noise(first, 0.1, 2**61)
    torch.rand(3)
    add_noise(again, 0.1, 2**61)
    add_noise(other, 0.1, 2**61 + 1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_noise_leaves_torchs_own_random_state():
    before = torch.get_rng_state()
    add_noise(torch.zeros(2, 4, 5, 6), 0.1, 1)
    assert torch.equal(before, torch.get_rng_state())
