from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from preprocessing.qc.measures import (
    PLANES,
    Plane,
    colour_span,
    log_field_in_plane,
    range_percent,
    span_percent,
)
from preprocessing.store import BIAS_STEP

SHAPE = (13, 9, 6)
CENTRE = (6, 3, 5)


@pytest.mark.parametrize("plane", PLANES, ids=lambda p: p.name)
def test_field_is_linear_between_samples(plane: Plane) -> None:
    samples = [np.arange(-(-n // BIAS_STEP)) * BIAS_STEP for n in SHAPE]
    field = np.random.default_rng(0).normal(size=[len(s) for s in samples]).astype(np.float32)
    # Beyond the last sample the last slope goes on, as in `fill_value=None`.
    oracle = RegularGridInterpolator(samples, field, bounds_error=False, fill_value=None)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1)
    expected = plane.cut(oracle(voxels), CENTRE)
    np.testing.assert_allclose(log_field_in_plane(field, SHAPE, plane, CENTRE), expected, atol=1e-6)


def test_field_of_one_sample_is_constant() -> None:
    field = np.full((1, 1, 1), 0.3, np.float32)
    for plane in PLANES:
        np.testing.assert_allclose(log_field_in_plane(field, (4, 3, 2), plane, (1, 1, 1)), 0.3)


def test_range_is_of_the_tissue_in_percent() -> None:
    field = np.zeros((2, 2, 2), np.float32)
    field[0, 0, 0], field[1, 0, 0], field[1, 1, 1] = np.log(1.2), np.log(0.9), np.log(3)
    tissue = np.ones((5, 5, 5), dtype=bool)
    tissue[4, 4, 4] = False
    assert range_percent(field, tissue) == pytest.approx((-10, 20), abs=1e-4)


def test_no_correction_has_no_range() -> None:
    assert range_percent(np.zeros((2, 2, 2), np.float32), np.ones((5, 5, 5), dtype=bool)) is None


def test_range_without_tissue_is_of_the_crop() -> None:
    field = np.linspace(0, np.log(1.5), 8, dtype=np.float32).reshape(2, 2, 2)
    found = range_percent(field, np.zeros((5, 5, 5), dtype=bool))
    assert found == pytest.approx((0, 50), abs=1e-4)


def test_next_to_no_field_is_not_blown_up() -> None:
    assert colour_span((-0.5, 0.25)) == 0.05


def test_colours_take_half_as_bright_for_as_much_as_twice() -> None:
    assert colour_span((-50, 20)) == colour_span((-10, 100)) == pytest.approx(np.log(2))
    assert span_percent(np.log(2)) == pytest.approx((-50, 100))
