"""Random changes of a batch on its device: what is drawn is apart from how it is applied.

Axis legend: B patients, P phases, R rows, C columns, S slices.

A draw is made for the whole global batch, from seed, epoch and step alone; a worker then takes
its share of it. So a draw replays, and does not depend on the number of workers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from radiotrain.config import AugmentConfig
from radiotrain.seeds import Purpose, seed_for


@dataclass(frozen=True)
class Draw:
    """What was drawn for B patients; all on the host.

    Parameters
    ----------
    flip
        float32 (B, 3) of 1 or -1, along rows, columns, slices.
    angle
        float32 (B,), radians in the plane of the slices.
    zoom
        float32 (B,), larger than 1 shows the tumour larger.
    shift
        float32 (B, 3), fraction of each side.
    gain, brightness, noise
        float32 (B,).
    noise_seed
        int64 (B,).
    """

    flip: Tensor
    angle: Tensor
    zoom: Tensor
    shift: Tensor
    gain: Tensor
    brightness: Tensor
    noise: Tensor
    noise_seed: Tensor

    def share(self, rank: int, world_size: int) -> Draw:
        """Return what one of `world_size` workers takes."""
        return Draw(**{name: values[rank::world_size] for name, values in vars(self).items()})


def draw(config: AugmentConfig, num_patients: int, *, seed: int, epoch: int, step: int) -> Draw:
    """Draw the changes of one global batch."""
    generator = torch.Generator().manual_seed(seed_for(Purpose.AUGMENTATION, seed, epoch, step))

    def spread(largest: float, *shape: int) -> Tensor:
        return (torch.rand(num_patients, *shape, generator=generator) * 2 - 1) * largest

    flip = torch.rand(num_patients, 3, generator=generator) < config.flip
    return Draw(
        flip=1 - 2 * flip.float(),
        angle=spread(math.radians(config.rotate_degrees)),
        zoom=1 + spread(config.zoom),
        shift=spread(config.shift, 3),
        gain=1 + spread(config.intensity_gain),
        brightness=spread(config.intensity_shift),
        noise=spread(config.noise).abs(),
        noise_seed=torch.randint(2**62, (num_patients,), generator=generator),
    )


def apply(images: Tensor, drawn: Draw) -> Tensor:
    """Change a batch.

    Parameters
    ----------
    images
        float32 (B, P, R, C, S), normalised.

    Returns
    -------
    float32 (B, P, R, C, S), new memory. Outside the crop the nearest voxel is repeated.
    """
    device = images.device
    theta = affine(drawn, images.shape[2], images.shape[3]).to(device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    changed = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    shape = (-1, 1, 1, 1, 1)
    changed.mul_(drawn.gain.to(device).view(shape))
    changed.add_(drawn.brightness.to(device).view(shape))
    for image, deviation, seed in zip(
        changed, drawn.noise.tolist(), drawn.noise_seed.tolist(), strict=True
    ):
        if deviation > 0:
            generator = torch.Generator(device).manual_seed(seed)
            image.add_(torch.randn(image.shape, generator=generator, device=device) * deviation)
    return changed


def affine(drawn: Draw, num_rows: int, num_columns: int) -> Tensor:
    """Return float32 (B, 3, 4) from output to input coordinates, as torch's affine_grid has it.

    Its axes are (slice, column, row) and run from -1 to 1 over each side. Voxels are taken to
    be square in the plane, as MR's are.
    """
    cos, sin = torch.cos(drawn.angle), torch.sin(drawn.angle)
    aspect = num_rows / num_columns
    flip_row, flip_column, flip_slice = drawn.flip.unbind(1)
    zero = torch.zeros_like(cos)
    matrix = torch.stack(
        [
            torch.stack([flip_slice, zero, zero], 1),
            torch.stack([zero, cos * flip_column, -sin * aspect * flip_row], 1),
            torch.stack([zero, sin / aspect * flip_column, cos * flip_row], 1),
        ],
        1,
    )
    shift = (2 * drawn.shift.flip(1)).unsqueeze(2)
    return torch.cat([matrix / drawn.zoom.view(-1, 1, 1), shift], 2)
