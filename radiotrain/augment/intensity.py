"""Enhancement, gamma, gain, brightness and noise of one patient.

Axis legend: P phases, R rows, C columns, S slices; phase 0 is the pre-contrast.

In this order, with x_p the voxels of phase p:

1. enhancement: x_p ← x_0 + (x_p - x_0) · f_p, where f runs evenly from the first post-contrast
   phase to the last, f_p = f_1 · (1 + slope · (p - 1) / (P - 2)); f_p > 0, so what enhances goes
   on enhancing. Later phases gain or lose against earlier ones by that even course alone.
2. gamma: x ← a + w · ((x - a) / w) ** gamma, where [a, a + w] is the patient's range over all
   phases: one rising curve for all phases, so the order of any two voxels stays.
3. gain and brightness: x ← x · gain + brightness.
4. noise: Gaussian, independent in each voxel of each phase.

The numbers are the same for all phases; none changes anything at its neutral value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from radiotrain.augment.draw import Draw

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
