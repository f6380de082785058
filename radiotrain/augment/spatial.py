"""Flip, rotation, tilt, zoom and shift as one affine in millimetres, resampled once.

Axis legend: P phases, R rows, C columns, S slices; vectors and matrices go along rows, columns,
slices.

With x in mm from the centre of the crop, what was at x moves to

    y = zoom · R_plane(angle) · R_row(tilt_0) · R_column(tilt_1) · diag(flip) · x + shift

R_plane turns rows towards columns, R_row columns towards slices, R_column slices towards rows.
Voxels are interpolated trilinearly; outside the crop its nearest voxel is repeated: of
three rules it was nearest to what really lies there (docs/decisions/0041-robust-inputs.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from radiotrain.augment.draw import Draw

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
