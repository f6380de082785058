"""Augmentation of a batch on its device.

A draw is made for the whole global batch, from seed, epoch and step alone; a worker then takes
its share of it. So a draw replays, and does not depend on the number of workers.

In this order, with x_p the voxels of phase p:

1. enhancement: x_p ← x_0 + (x_p - x_0) · f_p, where f runs evenly from the first post-contrast
   phase to the last, f_p = f_1 · (1 + slope · (p - 1) / (P - 2)); f_p > 0, so what enhances goes
   on enhancing. Later phases gain or lose against earlier ones by that even course alone.
2. gamma: x ← a + w · ((x - a) / w) ** gamma, where [a, a + w] is the patient's range over all
   phases: one rising curve for all phases, so the order of any two voxels stays.
3. gain and brightness: x ← x · gain + brightness.
4. noise: Gaussian, independent in each voxel of each phase.

The numbers are the same for all phases; none changes anything at its neutral value.

With x in mm from the centre of the crop, what was at x moves to

    y = zoom · R_plane(angle) · R_row(tilt_0) · R_column(tilt_1) · diag(flip) · x + shift

R_plane turns rows towards columns, R_row columns towards slices, R_column slices towards rows.
Voxels are interpolated trilinearly; outside the crop its nearest voxel is repeated: of
three rules it was nearest to what really lies there (docs/decisions/0041-robust-inputs.md).

Axis legend: B patients; vectors of 3 go along rows, columns, slices, P phases, R rows, C columns,
S slices; phase 0 is the pre-contrast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from preprocessing.common.errors import InputError
from radiotrain.config.run_config import AugmentConfig
from radiotrain.data.to_device import copy_together
from radiotrain.seeds import Purpose, seed_for


@dataclass(frozen=True)
class Draw:
    """What was drawn for B patients; all on the host.

    The docstring of this module has the formulas.

    Parameters
    ----------
    flip
        float32 (B, 3) of 1 or -1.
    angle
        float32 (B,), radians in the plane of the slices, from rows towards columns.
    tilt
        float32 (B, 2), radians about the row axis (columns towards slices) and about the column
        axis (slices towards rows).
    zoom
        float32 (B,), larger than 1 shows the tumour larger.
    shift_mm
        float32 (B, 3), by which the content moves.
    enhancement
        float32 (B, 2), factors of what the contrast agent adds in the first and in the last
        post-contrast phase.
    gamma
        float32 (B,), exponent.
    gain, brightness, noise
        float32 (B,), factor, summand, and standard deviation.
    noise_seed
        int64 (B,).
    """

    flip: Tensor
    angle: Tensor
    tilt: Tensor
    zoom: Tensor
    shift_mm: Tensor
    enhancement: Tensor
    gamma: Tensor
    gain: Tensor
    brightness: Tensor
    noise: Tensor
    noise_seed: Tensor

    def __len__(self) -> int:
        return len(self.noise_seed)

    def share(self, rank: int, world_size: int) -> Draw:
        """Return what one of `world_size` workers takes."""
        return self._part(slice(rank, None, world_size))

    def rows(self, start: int, stop: int) -> Draw:
        """Return what patients `start` to `stop` - 1 of this batch take."""
        return self._part(slice(start, stop))

    def _part(self, part: slice) -> Draw:
        return Draw(**{name: values[part] for name, values in vars(self).items()})

    def to_json(self) -> dict[str, list[Any]]:
        """Return plain numbers, from which `from_json` makes the same bits again."""
        return {name: values.tolist() for name, values in vars(self).items()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Draw:
        """Rebuild a draw from `to_json`.

        Raises
        ------
        InputError
            When the values are not those of a draw of this version.
        """
        expected = {field.name for field in fields(Draw)}
        if set(values) != expected:
            raise InputError(
                f"a recorded draw has {sorted(values)}, expected {sorted(expected)}:"
                " replay it with the version that recorded it"
            )
        return Draw(**{name: _tensor(name, values[name]) for name in values})


def _tensor(name: str, values: list[Any]) -> Tensor:
    dtype = torch.int64 if name == "noise_seed" else torch.float32
    width = {"flip": (3,), "tilt": (2,), "shift_mm": (3,), "enhancement": (2,)}.get(name, ())
    return torch.tensor(values, dtype=dtype).reshape(-1, *width)


def draw(config: AugmentConfig, num_patients: int, *, seed: int, epoch: int, step: int) -> Draw:
    """Draw the changes of one global batch.

    As many numbers are drawn whatever the settings, so a changed setting leaves the others' draws
    as they were.
    """
    generator = torch.Generator().manual_seed(seed_for(Purpose.AUGMENTATION, seed, epoch, step))

    def spread(largest: float, *shape: int) -> Tensor:
        return (torch.rand(num_patients, *shape, generator=generator) * 2 - 1) * largest

    flip = torch.rand(num_patients, 3, generator=generator) < config.flip
    return Draw(
        flip=1 - 2 * flip.float(),
        angle=spread(math.radians(config.rotate_degrees)),
        tilt=spread(math.radians(config.tilt_degrees), 2),
        zoom=1 + spread(config.zoom),
        shift_mm=spread(config.shift_mm, 3),
        enhancement=1 + spread(config.enhancement, 2),
        gamma=spread(math.log1p(config.gamma)).exp(),
        gain=1 + spread(config.intensity_gain),
        brightness=spread(config.intensity_shift),
        noise=spread(config.noise).abs(),
        noise_seed=torch.randint(2**62, (num_patients,), generator=generator),
    )


# A range this small is one value.
_SMALLEST_RANGE = 1e-12


def change_intensities(image: Tensor, drawn: Draw) -> None:
    """Change one patient's intensities in place.

    Parameters
    ----------
    image
        float32 (P, R, C, S), normalised.
    drawn
        Of this one patient.
    """
    first, last = drawn.enhancement[0].tolist()
    change_enhancement(image, first, last)
    bend(image, drawn.gamma.item(), drawn.gain.item(), drawn.brightness.item())
    add_noise(image, drawn.noise.item(), int(drawn.noise_seed.item()))


def change_enhancement(image: Tensor, first: float, last: float) -> None:
    """Multiply what the contrast agent adds, by `first` to `last` over the post-contrast phases.

    Parameters
    ----------
    image
        float32 (P, R, C, S), changed in place. With one phase nothing is done; with one
        post-contrast phase `first` counts.
    """
    if first == last == 1:
        return
    num_post = len(image) - 1
    for n, post in enumerate(image[1:]):
        factor = first + (last - first) * n / max(num_post - 1, 1)
        torch.lerp(image[0], post, factor, out=post)


def bend(image: Tensor, gamma: float, gain: float, brightness: float) -> None:
    """Apply gamma, gain and brightness in as few passes over memory as they need.

    Parameters
    ----------
    image
        float32 (P, R, C, S), changed in place.
    """
    scale: float | Tensor = gain
    summand: float | Tensor = brightness
    if gamma != 1:
        # Both stay on the device: nothing waits for it.
        lowest, highest = image.aminmax()
        width = (highest - lowest).clamp_(min=_SMALLEST_RANGE)
        image.sub_(lowest).pow_(gamma)
        scale = gain * width ** (1 - gamma)
        summand = gain * lowest + brightness
    image.mul_(scale).add_(summand)


def add_noise(image: Tensor, deviation: float, seed: int) -> None:
    """Add Gaussian noise.

    Parameters
    ----------
    image
        float32 (P, R, C, S), changed in place.
    deviation
        Standard deviation.
    seed
        The noise depends on it and on the kind of device alone.
    """
    if deviation == 0:
        return
    generator = torch.Generator(image.device).manual_seed(seed)
    noise = torch.empty_like(image[0])
    for phase in image:
        phase.add_(noise.normal_(0, deviation, generator=generator))


# Rows of a phase's table that are done at once: what is between the two steps stays in the cache.
_ROWS_AT_ONCE = 4096


def input_from_output(drawn: Draw, spacing_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each voxel of the result comes from.

    Parameters
    ----------
    spacing_mm
        float32 (B, 3), mm per voxel.

    Returns
    -------
    matrix
        float64 (B, 3, 3), on the host: voxels from the centre of the result to voxels from the
        centre of the input.
    offset
        float64 (B, 3), in voxels of the input.
    """
    spacing = spacing_mm.to("cpu", torch.float64)
    tilt_row, tilt_column = drawn.tilt.double().unbind(1)
    turned = (
        _rotation(drawn.angle.double(), 0, 1)
        @ _rotation(tilt_row, 1, 2)
        @ _rotation(tilt_column, 2, 0)
    )
    back = drawn.flip.double().unsqueeze(2) * turned.mT / drawn.zoom.double().view(-1, 1, 1)
    offset_mm = -(back @ drawn.shift_mm.double().unsqueeze(2)).squeeze(2)
    return back * (spacing.unsqueeze(1) / spacing.unsqueeze(2)), offset_mm / spacing


def _rotation(angle: Tensor, first: int, second: int) -> Tensor:
    """Return float64 (B, 3, 3) that turns axis `first` towards axis `second`."""
    matrix = torch.eye(3, dtype=torch.float64).repeat(len(angle), 1, 1)
    matrix[:, first, first] = matrix[:, second, second] = torch.cos(angle)
    matrix[:, second, first] = torch.sin(angle)
    matrix[:, first, second] = -torch.sin(angle)
    return matrix


def grid_thetas(matrices: Tensor, offsets: Tensor, shape: Sequence[int]) -> Tensor:
    """Return what torch's affine_grid takes, float32 (B, 3, 4), on the host.

    Parameters
    ----------
    matrices, offsets
        float64 (B, 3, 3) and (B, 3), of `input_from_output`.
    shape
        (R, C, S).
    """
    # grid_sample's axes are slice, column, row and run from -1 to 1 over each side.
    side = torch.tensor(tuple(shape), dtype=torch.float64)
    scaled = matrices * side / side.unsqueeze(1)
    moved = (2 * offsets / side).flip(1).unsqueeze(2)
    return torch.cat([scaled.flip(1, 2), moved], 2).to(torch.float32)


def resample(
    image: Tensor, matrix: Tensor, offset: Tensor, out: Tensor, theta: Tensor | None = None
) -> None:
    """Move one patient's phases by the way that is fastest on their device.

    Parameters
    ----------
    image
        float32 (P, R, C, S).
    matrix, offset
        float64 (3, 3) and (3,), of `input_from_output`.
    out
        float32 (P, R, C, S), contiguous, filled.
    theta
        float32 (1, 3, 4), of `grid_thetas`, on the image's device; None to make and copy it here.
    """
    if not offset.any() and torch.equal(matrix, torch.diag(matrix.diagonal().sign())):
        axes = (matrix.diagonal() < 0).nonzero().flatten() + 1
        out.copy_(image.flip(axes.tolist()))
    elif image.device.type == "cpu" and not _couples_slices(matrix):
        resample_separably(image, matrix, offset, out)
    else:
        resample_on_grid(image, matrix, offset, out, theta)


def _couples_slices(matrix: Tensor) -> bool:
    return bool(matrix[:2, 2].any() or matrix[2, :2].any())


def resample_on_grid(
    image: Tensor, matrix: Tensor, offset: Tensor, out: Tensor, theta: Tensor | None = None
) -> None:
    """Resample by torch's grid_sample; parameters as for `resample`."""
    if theta is None:
        theta = grid_thetas(matrix[None], offset[None], image.shape[1:]).to(image.device)
    grid = functional.affine_grid(theta, [1, *image.shape], align_corners=False)
    out.copy_(
        functional.grid_sample(
            image.unsqueeze(0), grid, mode="bilinear", padding_mode="border", align_corners=False
        )[0]
    )


def resample_separably(image: Tensor, matrix: Tensor, offset: Tensor, out: Tensor) -> None:
    """Resample in the plane, then along slices, which are not coupled; parameters as for `resample`.

    Trilinear interpolation is the product of the two. In the plane, the four neighbours of a voxel
    are whole columns of S voxels, contiguous in memory.
    """
    num_phases, num_rows, num_columns, num_slices = image.shape
    neighbours, weights = _in_plane(matrix, offset, num_rows, num_columns)
    along = _along_slices(float(matrix[2, 2]), float(offset[2]), num_slices)
    shape = (num_phases, num_rows * num_columns, num_slices)
    for table, result in zip(image.contiguous().view(shape), out.view(shape), strict=True):
        for n in range(0, len(result), _ROWS_AT_ONCE):
            rows = slice(n, n + _ROWS_AT_ONCE)
            moved = functional.embedding_bag(
                neighbours[rows], table, mode="sum", per_sample_weights=weights[rows]
            )
            torch.mm(moved, along, out=result[rows])


def _in_plane(
    matrix: Tensor, offset: Tensor, num_rows: int, num_columns: int
) -> tuple[Tensor, Tensor]:
    """Return int64 and float32 (R * C, 4): each voxel's neighbours in the plane, and their weights."""
    row = torch.arange(num_rows, dtype=torch.float64).unsqueeze(1) - (num_rows - 1) / 2
    column = torch.arange(num_columns, dtype=torch.float64) - (num_columns - 1) / 2
    from_row, from_column = (
        matrix[axis, 0] * row + matrix[axis, 1] * column + offset[axis] + (side - 1) / 2
        for axis, side in ((0, num_rows), (1, num_columns))
    )
    row_below, row_above, row_part = _between(from_row, num_rows)
    column_below, column_above, column_part = _between(from_column, num_columns)
    neighbours = [
        row_below * num_columns + column_below,
        row_below * num_columns + column_above,
        row_above * num_columns + column_below,
        row_above * num_columns + column_above,
    ]
    weights = [
        (1 - row_part) * (1 - column_part),
        (1 - row_part) * column_part,
        row_part * (1 - column_part),
        row_part * column_part,
    ]
    return torch.stack(neighbours, 2).view(-1, 4), torch.stack(weights, 2).view(-1, 4).float()


def _along_slices(scale: float, offset: float, num_slices: int) -> Tensor:
    """Return float32 (S, S), by which columns of S voxels are multiplied from the right."""
    place = torch.arange(num_slices, dtype=torch.float64)
    middle = (num_slices - 1) / 2
    below, above, part = _between((place - middle) * scale + offset + middle, num_slices)
    matrix = torch.zeros(num_slices, num_slices, dtype=torch.float64)
    result = torch.arange(num_slices)
    matrix[below, result] = 1 - part
    # Added, for the last slice is below and above itself.
    matrix[above, result] += part
    return matrix.float()


def _between(place: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the voxels below and above a place, at the nearest voxel outside, and the part above."""
    place = place.clamp(0, side - 1)
    below = place.long()
    return below, (below + 1).clamp(max=side - 1), place - below


__all__ = ["Draw", "apply", "draw"]


def apply(images: Tensor, drawn: Draw, spacing_mm: Tensor) -> Tensor:
    """Change a batch.

    Each patient is changed on its own, so what becomes of it does not depend on the others.

    Parameters
    ----------
    images
        float32 (B, P, R, C, S), normalised: phases, rows, columns, slices; on any device.
    drawn
        For the same B patients.
    spacing_mm
        float32 (B, 3), mm per voxel along rows, columns, slices.

    Returns
    -------
    float32 (B, P, R, C, S), new memory. Outside the crop the nearest voxel is repeated.

    Raises
    ------
    InputError
        When the draw or the spacing is of another number of patients.
    """
    if not len(images) == len(drawn) == len(spacing_mm):
        raise InputError(
            f"{len(images)} patients' images, {len(drawn)} draws and {len(spacing_mm)} spacings,"
            " expected as many of each: take the draw's share and rows of these patients"
        )
    changed = torch.empty_like(images, memory_format=torch.contiguous_format)
    matrices, offsets = input_from_output(drawn, spacing_mm)
    # One copy for the batch: one for each patient would let the host wait for the device each time.
    (thetas,) = copy_together([grid_thetas(matrices, offsets, images.shape[2:])], images.device)
    for n, image in enumerate(changed):
        resample(images[n], matrices[n], offsets[n], image, thetas[n : n + 1])
        change_intensities(image, drawn.rows(n, n + 1))
    return changed
