from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from radiotrain.augment.transforms import Draw, apply, draw
from radiotrain.config import AugmentConfig

NOTHING = AugmentConfig(
    flip=0, rotate_degrees=0, zoom=0, shift=0, intensity_gain=0, intensity_shift=0, noise=0
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 2, 8, 10, 6, generator=torch.Generator().manual_seed(0))


def some(num: int, **changes: torch.Tensor) -> Draw:
    return replace(draw(NOTHING, num, seed=0, epoch=0, step=0), **changes)


def test_draw_replays_and_depends_on_seed_epoch_and_step(images: torch.Tensor) -> None:
    def changed(**when: int) -> torch.Tensor:
        return apply(images, draw(AugmentConfig(), 6, **when))

    first = changed(seed=1, epoch=2, step=3)
    assert torch.equal(first, changed(seed=1, epoch=2, step=3))
    for other in ({"seed": 2}, {"epoch": 1}, {"step": 4}):
        assert not torch.equal(first, changed(**({"seed": 1, "epoch": 2, "step": 3} | other)))


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_shares_equal_the_whole_batch(images: torch.Tensor, world_size: int) -> None:
    drawn = draw(AugmentConfig(), 6, seed=1, epoch=0, step=0)
    whole = apply(images, drawn)
    for rank in range(world_size):
        share = apply(images[rank::world_size], drawn.share(rank, world_size))
        assert torch.allclose(share, whole[rank::world_size], atol=1e-6)


def test_nothing_drawn_changes_nothing(images: torch.Tensor) -> None:
    assert torch.allclose(apply(images, some(6)), images, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flip_is_exact_along_each_axis(images: torch.Tensor, axis: int) -> None:
    flip = torch.ones(6, 3)
    flip[:, axis] = -1
    assert torch.allclose(apply(images, some(6, flip=flip)), images.flip(2 + axis), atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8), (8, 12)])
def test_rotation_keeps_shapes_in_the_plane(shape: tuple[int, int]) -> None:
    rows, columns = torch.meshgrid(
        torch.arange(shape[0]) - (shape[0] - 1) / 2,
        torch.arange(shape[1]) - (shape[1] - 1) / 2,
        indexing="ij",
    )
    image = (rows * 1.0 + 0.3 * columns).expand(1, 1, *shape)[..., None].repeat(1, 1, 1, 1, 3)
    turned = apply(image, some(1, angle=torch.tensor([torch.pi / 2])))
    inner = turned[0, 0, 3:5, shape[1] // 2 - 1 : shape[1] // 2 + 1, 1]
    u, v = columns[3:5, shape[1] // 2 - 1 : shape[1] // 2 + 1], rows[3:5, :2]
    assert torch.allclose(inner, u + 0.3 * -v, atol=1e-4)


def test_shift_moves_by_a_fraction_of_each_side(images: torch.Tensor) -> None:
    shift = torch.zeros(6, 3)
    shift[:, 0] = 1 / 8
    moved = apply(images, some(6, shift=shift))
    assert torch.allclose(moved[:, :, :-1], images[:, :, 1:], atol=1e-4)


def test_intensity_changes_keep_ratios_between_phases(images: torch.Tensor) -> None:
    changed = apply(images, some(6, gain=torch.full((6,), 1.5), brightness=torch.full((6,), 0.2)))
    assert torch.allclose(changed, images * 1.5 + 0.2, atol=1e-4)
