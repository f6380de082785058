"""What broken voxels do to images, and what lies outside of an augmented crop.

``python -m benchmarks.inputs [CROPS]``, with CROPS a folder of NIfTI crops: grey levels of a phase and the
normalised deviation with broken voxels, before and after they are clipped; the share of augmented voxels
from outside of the crop, and how near three rules of padding come to what really lies there, taken from
the crops' outer part; milliseconds a patient.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from preprocessing.images.clipping import OutlierClip
from preprocessing.store.writer import quantise
from radiotrain.config.run_config import AugmentConfig
from radiotrain.data.augmentation import draw, input_from_output
from radiotrain.data.storage import NormalisationRule, for_network

F32 = NDArray[np.float32]
MARGIN = 10.0
# Voxels of a real crop that are hidden along rows and columns.
HIDDEN = 16
RULES = {"edge": "nearest", "reflection": "reflect", "zeros (the mean)": "constant"}


def main(crops: Sequence[Path]) -> None:
    """Print the tables."""
    print("| broken voxels | levels before | levels after | sd before | sd after |")
    print("|---|---|---|---|---|")
    for name, spoil in {
        "none": lambda _: None,
        "one of 1e6": lambda x: x.__setitem__((0, 40, 60, 30), 1e6),
        "one of 6e4": lambda x: x.__setitem__((0, 40, 60, 30), 6e4),
        "20 of 6e4": lambda x: x.__setitem__((0, 40, slice(50, 70), 30), 6e4),
        "one of -6e4": lambda x: x.__setitem__((0, 40, 60, 30), -6e4),
    }.items():
        print(f"| {name} | {' | '.join(_spoilt(spoil))} |")
    for shape, spacing in (((128, 128, 68), (0.7, 0.7, 1.0)), ((112, 112, 8), (0.71, 0.71, 4.0))):
        shares = [_outside(shape, spacing, seed).mean() for seed in range(32)]
        print(f"outside of {shape} at {spacing} mm: {np.mean(shares):.3f}, up to {max(shares):.3f}")
    if crops:
        _padding(crops)
    _times()


def _patient() -> F32:
    rng = np.random.default_rng(0)
    found = rng.rayleigh(8, (4, 128, 128, 68)).astype(np.float32)
    found[:, 20:] += rng.normal(400, 90, found[:, 20:].shape).astype(np.float32)
    for n in range(1, 4):
        found[n, 50:70, 50:70, 25:40] += 300
    return np.rint(found.clip(0))


def _spoilt(spoil: Callable[[F32], None]) -> list[str]:
    images = _patient()
    clean = images.copy()
    spoil(images)
    kept = images[0] == clean[0]
    clip = OutlierClip(MARGIN)
    clipped = np.stack([clip.clip(phase) for phase in images])
    levels, deviations = [], []
    rules: tuple[NormalisationRule, NormalisationRule] = ("plain", "robust")
    for made, rule in zip((images, clipped), rules, strict=True):
        steps, scale = quantise(made)
        levels.append(f"{len(np.unique(steps[0][kept]))}")
        region = np.zeros(steps.shape[1:], np.uint8)
        found = for_network(steps, region, float(scale), rule)
        deviations.append(f"{(found.voxels[0][kept] * found.gain).std():.3f}")
    return [*levels, *deviations]


def _places(
    shape: Sequence[int], spacing: Sequence[float], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return where voxels of a changed crop come from, (3, N), and whether that lies outside."""
    drawn = draw(AugmentConfig(), 1, seed=seed, epoch=0, step=0)
    matrices, offsets = input_from_output(drawn, torch.tensor([spacing], dtype=torch.float32))
    side = np.array(shape)[:, None]
    centred = np.indices(tuple(shape)).reshape(3, -1) - (side - 1) / 2
    places = matrices[0].numpy() @ centred + offsets[0].numpy()[:, None] + (side - 1) / 2
    return places, ((places < -0.5) | (places > side - 0.5)).any(0)


def _outside(shape: Sequence[int], spacing: Sequence[float], seed: int) -> NDArray[np.bool_]:
    return _places(shape, spacing, seed)[1]


def _padding(crops: Sequence[Path]) -> None:
    errors: dict[str, list[float]] = {name: [] for name in RULES}
    for seed, path in enumerate(crops):
        image = nibabel.load(path)
        whole = np.asarray(image.dataobj).astype(float)
        whole = (whole - whole.mean()) / whole.std()
        inner = whole[HIDDEN:-HIDDEN, HIDDEN:-HIDDEN]
        places, outside = _places(inner.shape, image.header.get_zooms()[:3], seed)
        there = places + np.array([HIDDEN, HIDDEN, 0])[:, None]
        side = np.array(whole.shape)[:, None]
        known = outside & ((there >= 0) & (there <= side - 1)).all(0)
        if known.sum() < 50:
            continue
        truth = map_coordinates(whole, there[:, known], order=1, mode="nearest")
        for name, mode in RULES.items():
            found = map_coordinates(inner, places[:, known], order=1, mode=mode, cval=0.0)
            errors[name].append(float(np.sqrt(((found - truth) ** 2).mean())))
    print("| padding | root mean square error, in sd | standard error |")
    print("|---|---|---|")
    for name, values in errors.items():
        print(f"| {name} | {np.mean(values):.3f} | {np.std(values) / len(values) ** 0.5:.3f} |")
    print(f"{len(errors['edge'])} phases")


def _times() -> None:
    steps, scale = quantise(_patient())
    region = np.zeros(steps.shape[1:], np.uint8)
    images = _patient()
    ways: dict[str, Callable[[], object]] = {
        "clip in preprocessing": lambda: [OutlierClip(MARGIN).clip(phase) for phase in images],
        "plain": lambda: for_network(steps, region, float(scale), "plain"),
        "robust": lambda: for_network(steps, region, float(scale), "robust"),
    }
    for name, way in ways.items():
        taken = []
        for _ in range(9):
            start = time.process_time()
            way()
            taken.append(time.process_time() - start)
        print(f"{name}: {1e3 * float(np.median(taken)):.0f} ms of processor time")


if __name__ == "__main__":
    main(sorted(Path(sys.argv[1]).glob("*.nii*"))[::3] if len(sys.argv) > 1 else [])
