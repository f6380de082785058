"""What is drawn for a batch, apart from how it is applied.

Axis legend: B patients; vectors of 3 go along rows, columns, slices.

A draw is made for the whole global batch, from seed, epoch and step alone; a worker then takes
its share of it. So a draw replays, and does not depend on the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from preprocessing.common.errors import InputError
from radiotrain.config import AugmentConfig
from radiotrain.seeds import Purpose, seed_for


@dataclass(frozen=True)
class Draw:
    """What was drawn for B patients; all on the host.

    `spatial.py` and `intensity.py` have the formulas.

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
