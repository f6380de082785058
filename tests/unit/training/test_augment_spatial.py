from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from radiotrain.config.run_config import AugmentConfig
from radiotrain.data.augmentation import (
    Draw,
    apply,
    draw,
    input_from_output,
    resample_on_grid,
    resample_separably,
)

NOTHING = AugmentConfig(
    flip=0,
    rotate_degrees=0,
    zoom=0,
    shift_mm=0,
    intensity_gain=0,
    intensity_shift=0,
    gamma=0,
    enhancement=0,
    noise=0,
)
ANISOTROPIC = (0.7, 0.8, 1.5)


def still(**changes: list[float]) -> Draw:
    values = {name: torch.tensor([value]) for name, value in changes.items()}
    return replace(draw(NOTHING, 1, seed=0, epoch=0, step=0), **values)


def randoms(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def moved(image: torch.Tensor, drawn: Draw, spacing: tuple[float, ...]) -> torch.Tensor:
    return apply(image.unsqueeze(0), drawn, torch.tensor([spacing]))[0]


def oracle(image: torch.Tensor, drawn: Draw, spacing: tuple[float, ...]) -> np.ndarray:
    """Point by point in millimetres: solve `y = forward x + shift` for x, look there."""
    tilt_row, tilt_column = drawn.tilt[0].tolist()
    forward = (
        drawn.zoom.item()
        * Rotation.from_rotvec([0, 0, drawn.angle.item()]).as_matrix()
        @ Rotation.from_rotvec([tilt_row, 0, 0]).as_matrix()
        @ Rotation.from_rotvec([0, tilt_column, 0]).as_matrix()
        @ np.diag(drawn.flip[0].double().numpy())
    )
    spacing_mm = np.array(spacing, np.float32).astype(float)[:, None]
    shape = np.array(image.shape[1:])[:, None]
    places = np.indices(image.shape[1:]).reshape(3, -1)
    y = (places - (shape - 1) / 2) * spacing_mm
    x = np.linalg.solve(forward, y - drawn.shift_mm[0].double().numpy()[:, None])
    places = x / spacing_mm + (shape - 1) / 2
    phases = [
        map_coordinates(phase.double().numpy(), places, order=1, mode="nearest") for phase in image
    ]
    return np.stack(phases).reshape(image.shape)


SHAPES = st.sampled_from([(9, 12, 7), (12, 9, 1), (1, 5, 4), (5, 1, 6), (1, 1, 1), (16, 16, 10)])
SPACINGS = st.sampled_from([(1.0, 1.0, 1.0), ANISOTROPIC, (0.5, 1.2, 3.0)])
CHANGED = AugmentConfig(**(NOTHING.model_dump() | {"flip": 0.5, "zoom": 0.3, "shift_mm": 4}))


@settings(max_examples=60, deadline=None)
@given(SHAPES, SPACINGS, st.sampled_from([0.0, 30.0]), st.integers(0, 2**32))
def test_images_move_as_scipy_moves_them_in_millimetres(shape, spacing, tilt, seed):
    config = CHANGED.model_copy(update={"rotate_degrees": 180.0, "tilt_degrees": tilt})
    drawn = draw(config, 1, seed=seed, epoch=0, step=0)
    image = randoms(2, *shape, seed=seed)
    expected = oracle(image, drawn, spacing)
    np.testing.assert_allclose(moved(image, drawn, spacing).numpy(), expected, atol=1e-4)


def test_an_image_of_real_size_moves_as_scipy_moves_it():
    drawn = draw(AugmentConfig(), 1, seed=5, epoch=0, step=0)
    still_bright = draw(NOTHING, 1, seed=5, epoch=0, step=0)
    spatial = replace(
        still_bright,
        **{name: getattr(drawn, name) for name in ("flip", "angle", "zoom", "shift_mm")},
    )
    image = randoms(1, 128, 128, 68)
    expected = oracle(image, spatial, ANISOTROPIC)
    np.testing.assert_allclose(moved(image, spatial, ANISOTROPIC).numpy(), expected, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(SHAPES, SPACINGS, st.integers(0, 2**32))
def test_separable_way_equals_grid_sample(shape, spacing, seed):
    config = CHANGED.model_copy(update={"rotate_degrees": 180.0})
    matrix, offset = input_from_output(
        draw(config, 1, seed=seed, epoch=0, step=0), torch.tensor([spacing])
    )
    image = randoms(3, *shape, seed=seed)
    one, other = torch.empty_like(image), torch.empty_like(image)
    resample_separably(image, matrix[0], offset[0], one)
    resample_on_grid(image, matrix[0], offset[0], other)
    assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("flip", [[1, 1, -1], [1, -1, 1], [-1, 1, 1], [-1, -1, 1], [-1, -1, -1]])
@pytest.mark.parametrize("shape", [(8, 10, 6), (3, 4, 1)])
def test_flips_alone_are_exact(flip, shape):
    image = randoms(2, *shape)
    axes = [axis + 1 for axis in range(3) if flip[axis] < 0]
    flipped = moved(image, still(flip=[float(f) for f in flip]), ANISOTROPIC)
    assert torch.equal(flipped, image.flip(axes))


def test_nothing_drawn_changes_no_bit():
    image = randoms(3, 8, 10, 6)
    changed = moved(image, still(), ANISOTROPIC)
    assert torch.equal(changed, image)
    assert changed.data_ptr() != image.data_ptr()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_shift_moves_the_content_by_millimetres(axis):
    image = randoms(1, 8, 10, 6)
    shift = [0.0, 0.0, 0.0]
    shift[axis] = 2 * ANISOTROPIC[axis]
    changed = moved(image, still(shift_mm=shift), ANISOTROPIC)
    side = image.shape[1 + axis]
    expected = image.narrow(1 + axis, 0, side - 2)
    assert torch.allclose(changed.narrow(1 + axis, 2, side - 2), expected, atol=1e-5)
    border = changed.narrow(1 + axis, 0, 1)
    assert torch.allclose(border, image.narrow(1 + axis, 0, 1), atol=1e-5)


def test_a_quarter_turn_takes_rows_to_columns():
    image = randoms(1, 6, 6, 3)
    turned = moved(image, still(angle=torch.pi / 2), (1.0, 1.0, 2.0))
    # The content of row r, column c moves to row 5 - c, column r.
    assert torch.allclose(turned, image.transpose(1, 2).flip(1), atol=1e-5)


def ball(
    shape: tuple[int, ...], spacing: tuple[float, ...], centre: np.ndarray, radius: float
) -> torch.Tensor:
    """A ball of given mm around a place in mm from the centre, with a soft edge."""
    side = np.array(shape)[:, None, None, None]
    mm = (np.indices(shape) - (side - 1) / 2) * np.array(spacing)[:, None, None, None]
    distance = np.linalg.norm(mm - centre[:, None, None, None], axis=0)
    return torch.tensor(np.clip((radius - distance) / 3 + 0.5, 0, 1), dtype=torch.float32)[None]


@pytest.mark.parametrize(
    ("angle", "tilt"), [(0.7, [0.0, 0.0]), (0.0, [0.6, 0.0]), (0.4, [-0.5, 0.6])]
)
def test_a_ball_stays_a_ball_where_it_is_turned_to(angle, tilt):
    shape, spacing = (48, 40, 24), (0.7, 0.8, 1.5)
    centre = np.array([4.0, -3.0, 3.0])
    turn = (
        Rotation.from_rotvec([0, 0, angle])
        * Rotation.from_rotvec([tilt[0], 0, 0])
        * Rotation.from_rotvec([0, tilt[1], 0])
    )
    changed = moved(ball(shape, spacing, centre, 7.0), still(angle=angle, tilt=tilt), spacing)
    expected = ball(shape, spacing, turn.apply(centre), 7.0)
    # Interpolating the edge's kinks costs up to 0.1; a shear of voxels would cost 1.
    assert (changed - expected).abs().max() < 0.15
    assert (changed - expected).abs().mean() < 0.003


def test_zoom_enlarges_by_its_factor_in_all_directions():
    shape, spacing = (48, 40, 24), (0.7, 0.8, 1.5)
    centre = np.array([3.0, -2.0, 2.0])
    changed = moved(ball(shape, spacing, centre, 6.0), still(zoom=1.25), spacing)
    volume = (changed > 0.5).sum() / (ball(shape, spacing, centre, 6.0) > 0.5).sum()
    assert volume == pytest.approx(1.25**3, rel=0.05)
    heavy = (changed[0] > 0.5).nonzero().double().mean(0).numpy()
    mm = (heavy - (np.array(shape) - 1) / 2) * np.array(spacing)
    np.testing.assert_allclose(mm, centre * 1.25, atol=0.2)


def test_all_phases_of_a_patient_move_alike():
    phase = randoms(1, 9, 8, 7)
    config = CHANGED.model_copy(update={"rotate_degrees": 40.0, "tilt_degrees": 10.0})
    changed = moved(phase.repeat(4, 1, 1, 1), draw(config, 1, seed=3, epoch=0, step=0), ANISOTROPIC)
    assert torch.equal(changed, changed[:1].expand(4, -1, -1, -1))
