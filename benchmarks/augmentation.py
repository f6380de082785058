"""Time the random changes of training images against torch's grid_sample and against MONAI's.

    python -m benchmarks.augmentation [--crop-shape 128 128 68 --phases 4 --device cpu]

Needs torch, monai, numpy and pydantic. One patient at a time, default settings, one core or one
GPU; the ways take turns. On a CPU the time is that of the process, so other work on the machine
counts little. Ratios of one run are what counts. See docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from radiotrain.config.run_config import AugmentConfig
from radiotrain.data.augmentation import (
    Draw,
    add_noise,
    apply,
    bend,
    change_enhancement,
    change_intensities,
    draw,
    input_from_output,
    resample,
    resample_on_grid,
)

CONFIG = AugmentConfig()
SPACING_MM = (0.7, 0.7, 1.5)
TILT_DEGREES = 10.0

Way = Callable[[Draw], object]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crop-shape", type=int, nargs=3, default=[128, 128, 68])
    parser.add_argument("--phases", type=int, default=4)
    parser.add_argument("--draws", type=int, default=20, help="as many are done each way")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--without-monai", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    image = torch.randn(arguments.phases, *arguments.crop_shape, device=device)
    print(f"{'×'.join(map(str, image.shape))}, {device.type}; ms per sample, median of draws\n")
    wholes = whole_ways(image)
    if not arguments.without_monai:
        wholes["MONAI"] = monai_way(image)
    times = in_turns(wholes, device, arguments.draws)
    for name, milliseconds in times.items():
        print(f"  {name:32s}{milliseconds:8.1f}{milliseconds / times['ours']:8.2f} × ours")
    print("\n  steps of ours, and one pass over memory")
    for name, milliseconds in in_turns(steps(image), device, arguments.draws).items():
        print(f"  {name:32s}{milliseconds:8.1f}")


def whole_ways(image: Tensor) -> dict[str, Way]:
    """Return our ways from one patient's images (P, R, C, S) to new ones."""
    images, spacing_mm = image.unsqueeze(0), torch.tensor([SPACING_MM])

    def on_grid(drawn: Draw) -> Tensor:
        changed = torch.empty_like(image)
        resample_on_grid(image, *_motion(drawn), changed)
        change_intensities(changed, drawn)
        return changed

    return {
        "ours": lambda drawn: apply(images, drawn, spacing_mm),
        f"ours, tilted by {TILT_DEGREES:.0f}°": lambda drawn: apply(
            images, _tilted(drawn), spacing_mm
        ),
        "ours, grid_sample in any case": on_grid,
    }


def monai_way(image: Tensor) -> Way:
    """Return MONAI's array transforms with our settings; gamma and noise as near as they come."""
    from monai.transforms import (
        Compose,
        RandAdjustContrast,
        RandAffine,
        RandFlip,
        RandGaussianNoise,
        RandScaleIntensity,
        RandShiftIntensity,
    )

    transforms = Compose(
        [
            *(RandFlip(prob=CONFIG.flip, spatial_axis=axis) for axis in range(3)),
            RandAffine(
                prob=1.0,
                rotate_range=(0, 0, math.radians(CONFIG.rotate_degrees)),
                scale_range=(CONFIG.zoom,) * 3,
                translate_range=[CONFIG.shift_mm / spacing for spacing in SPACING_MM],
                padding_mode="border",
                device=image.device,
            ),
            RandAdjustContrast(prob=1.0, gamma=(1 / (1 + CONFIG.gamma), 1 + CONFIG.gamma)),
            RandScaleIntensity(prob=1.0, factors=CONFIG.intensity_gain),
            RandShiftIntensity(prob=1.0, offsets=CONFIG.intensity_shift),
            RandGaussianNoise(prob=1.0, std=CONFIG.noise),
        ]
    )
    return lambda _: transforms(image)


def steps(image: Tensor) -> dict[str, Way]:
    """Return the parts of ours; they write into the same memory again and again."""
    out = image.clone()
    return {
        "resample": lambda one: resample(image, *_motion(one), out),
        "resample by grid_sample": lambda one: resample_on_grid(image, *_motion(one), out),
        "enhancement": lambda one: change_enhancement(out, *one.enhancement[0].tolist()),
        "gamma, gain, brightness": lambda one: bend(out, one.gamma.item(), 1.0, 0.1),
        "noise": lambda one: add_noise(out, 0.05, int(one.noise_seed)),
        "copy": lambda _: out.copy_(image),
    }


def in_turns(ways: Mapping[str, Way], device: torch.device, num_draws: int) -> dict[str, float]:
    """Return each way's median ms over some draws, after one that warms the caches."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for n in range(num_draws + 1):
        drawn = draw(CONFIG, 1, seed=0, epoch=0, step=n)
        for name, way in ways.items():
            times[name].append(_seconds(way, drawn, device))
    return {name: 1000 * median(values[1:]) for name, values in times.items()}


def _seconds(way: Way, drawn: Draw, device: torch.device) -> float:
    clock = time.process_time
    if device.type == "cuda":
        clock = time.perf_counter
        torch.cuda.synchronize(device)
    start = clock()
    way(drawn)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def _motion(drawn: Draw) -> tuple[Tensor, Tensor]:
    matrix, offset = input_from_output(drawn, torch.tensor([SPACING_MM]))
    return matrix[0], offset[0]


def _tilted(drawn: Draw) -> Draw:
    return replace(drawn, tilt=torch.full((1, 2), math.radians(TILT_DEGREES)))


if __name__ == "__main__":
    main()
