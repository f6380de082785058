"""Samples a second of the training loop, against the same step without data and against MONAI's way.

    python -m benchmarks.training [--networks SEResNet50 …] [--batch-size 16] [--patients 64]

Needs torch, monai, numpy, zarr and pydantic; neither Ray, Dask nor an imaging library. Ratios of
one run are what counts. For each network it prints samples a second of

- loop: our training loop, patients' placement chosen as in a run, default augmentation;
- fixed batch: the same step on one batch that lies on the device, no data, no augmentation;
- MONAI: CacheDataset, ThreadDataLoader, dictionary transforms, autocast, the same optimiser;

and the share of what the machine can do: arithmetic against its fastest matrix product, memory
traffic (five passes over the saved activations) against its fastest copy, both measured here.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from preprocessing.store import PatientRecord, PatientTensor, Store, StoreSpec, StoreWriter
from radiotrain.config.run_config import AugmentConfig, RunConfig
from radiotrain.distributed import Worker, autocast_dtype
from radiotrain.networks.cost import network_cost
from radiotrain.networks.registry import build_network
from radiotrain.split.split import Split, make_split
from radiotrain.training.losses import masked_loss
from radiotrain.training.setup import make_optimizer
from radiotrain.training.trainer import Training

NETWORKS = ("SEResNet50", "ResNet34", "SEResNext101", "DenseNet121", "EfficientNet-b0")
SPACING_MM = (0.7, 0.7, 1.5)
_WARM_UP_STEPS = 2
_PASSES_OVER_ACTIVATIONS = 5


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--crop-shape", type=int, nargs=3, default=[128, 128, 68])
    parser.add_argument("--patients", type=int, default=64, help="of the made-up store")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement, at least")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--placement", default="auto")
    parser.add_argument("--without-monai", action="store_true")
    arguments = parser.parse_args()
    device = Worker.single(arguments.device).device
    print(f"{_device_name(device)}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    roofs = Roofs(device)
    print(f"matrix product {roofs.flops / 1e12:.2f} TFLOP/s, copy {roofs.bytes / 1e9:.0f} GB/s\n")
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(folder, arguments.patients, tuple(arguments.crop_shape))
        split = make_split(store, seed=0, num_folds=5)
        print(
            f"{'samples/s':18}{'loop':>8}{'fixed':>8}{'ratio':>8}{'MONAI':>8}{'ratio':>8}"
            f"{'peak GB':>9}{'arithmetic':>12}{'memory':>8}"
        )
        for name in arguments.networks:
            print_network(name, store, split, arguments, device, roofs)


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


def print_network(
    name: str,
    store: Store,
    split: Split,
    arguments: argparse.Namespace,
    device: torch.device,
    roofs: Roofs,
) -> None:
    """Measure one network and print its line."""
    config = make_config(name, store, arguments)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    training = Training(config, Worker.single(arguments.device), store, split)
    training.wrapped.train()
    # In turns: a machine's speed changes while it is measured.
    rates = alternate([loop_steps(training), fixed_steps(training)], arguments.seconds, device)
    peak, batch_size = peak_gigabytes(device), len(training.plan(0)[0].rows)
    del training
    monai = float("nan")
    if not arguments.without_monai:
        steps = monai_steps(config, store, split, batch_size, device)
        monai = alternate([steps], arguments.seconds, device)[0]
    cost = network_cost(name, store.spec.num_phases, 1, store.spec.crop_shape)
    size = 2 if autocast_dtype(config.precision, device) is not None else 4
    traffic = _PASSES_OVER_ACTIVATIONS * cost.activation_mb * 1e6 * size / 4
    print(
        f"{name:18}{rates[0]:8.2f}{rates[1]:8.2f}{rates[0] / rates[1]:8.3f}{monai:8.2f}"
        f"{rates[0] / monai:8.2f}{peak:9.1f}"
        f"{rates[0] * cost.training_gflop * 1e9 / roofs.flops:12.0%}"
        f"{rates[0] * traffic / roofs.bytes:8.0%}",
        flush=True,
    )


def alternate(kinds: Sequence[Iterator[int]], seconds: float, device: torch.device) -> list[float]:
    """Return samples a second of each kind of step, taken in turn for at least `seconds` each."""
    for kind in kinds:
        for _ in range(_WARM_UP_STEPS):
            next(kind)
    spent, done = [0.0] * len(kinds), [0] * len(kinds)
    while min(spent) < seconds:
        for n, kind in enumerate(kinds):
            _synchronise(device)
            start = time.perf_counter()
            # Several at a time: waiting for a GPU after each would count against it.
            for _ in range(8 if device.type == "cuda" else 1):
                done[n] += next(kind)
            _synchronise(device)
            spent[n] += time.perf_counter() - start
    return [samples / taken for samples, taken in zip(done, spent, strict=True)]


def loop_steps(training: Training) -> Iterator[int]:
    """Train, an epoch after the other, as a run does; yield the patients of each step."""
    for epoch in itertools.count():
        steps = training.plan(epoch)
        ready = training.ready(steps)
        for step in steps:
            training.take_step(step, ready)
            yield len(step.rows)


def fixed_steps(training: Training) -> Iterator[int]:
    """Take the same step on one batch that is there already."""
    plain = copy(training)  # of the same network and optimiser
    plain.config = training.config.model_copy(update={"augment": AugmentConfig(enabled=False)})
    step = plain.plan(0)[0]
    batch = plain.patients.batch(step.rows, plain.worker.device)
    while True:
        plain.take_step(step, iter([batch]))
        yield len(step.rows)


def monai_steps(
    config: RunConfig, store: Store, split: Split, batch_size: int, device: torch.device
) -> Iterator[int]:
    """Train as MONAI's tutorials do."""
    loader = _monai_loader(config, store, split, batch_size)
    torch.manual_seed(0)
    network = build_network(
        config.network.name, store.spec.num_phases, 1, store.spec.crop_shape
    ).to(device)
    network.train()
    optimizer = make_optimizer(network, config, device)
    dtype = autocast_dtype(config.precision, device)
    weight = torch.ones(2, 1, device=device)
    while True:
        for batch in loader:
            images = torch.as_tensor(batch["image"]).to(device, non_blocking=True)
            labels = torch.as_tensor(batch["label"]).to(device, non_blocking=True)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                logits = network(images)
            masked_loss(logits, labels, weight).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), config.train.gradient_clip or 1e9)
            optimizer.step()
            yield len(images)


def _monai_loader(config: RunConfig, store: Store, split: Split, batch_size: int) -> Any:
    from monai.data import CacheDataset, ThreadDataLoader
    from monai.transforms import (
        Compose,
        EnsureTyped,
        NormalizeIntensityd,
        RandAdjustContrastd,
        RandAffined,
        RandFlipd,
        RandGaussianNoised,
        RandScaleIntensityd,
        RandShiftIntensityd,
    )

    augment = config.augment
    angle = float(np.radians(augment.rotate_degrees))
    shift = [augment.shift_mm / spacing for spacing in SPACING_MM]
    transforms = Compose(
        [
            NormalizeIntensityd("image"),
            EnsureTyped("image", track_meta=False),
            *(RandFlipd("image", prob=augment.flip, spatial_axis=axis) for axis in range(3)),
            RandAffined(
                "image",
                prob=1.0,
                rotate_range=(0, 0, angle),
                scale_range=(augment.zoom,) * 3,
                translate_range=shift,
                padding_mode="border",
            ),
            RandScaleIntensityd("image", factors=augment.intensity_gain, prob=1.0),
            RandShiftIntensityd("image", offsets=augment.intensity_shift, prob=1.0),
            RandAdjustContrastd("image", prob=1.0, gamma=(0.9, 1.1)),
            RandGaussianNoised("image", prob=1.0, std=augment.noise),
        ]
    )
    data = [
        {
            "image": store.read_images(i)[0].astype(np.float32),
            "label": store.labels[i, :1],
        }
        for i in map(store.index_of, split.train_ids(0))
    ]
    dataset = CacheDataset(data, transforms, num_workers=4, progress=False)
    return ThreadDataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        num_workers=0,
        buffer_size=2,
        drop_last=True,
    )


class Roofs:
    """What a device does at most, measured: floating operations and bytes moved a second."""

    def __init__(self, device: torch.device) -> None:
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        side = 8192 if device.type == "cuda" else 2048
        a = torch.randn(side, side, device=device, dtype=dtype)
        b = torch.randn(side, side, device=device, dtype=dtype)
        self.flops = 2 * side**3 / _best_seconds(lambda: a @ b, device)
        values = torch.zeros(64 * 2**20, device=device)
        target = torch.empty_like(values)
        self.bytes = 2 * values.nbytes / _best_seconds(lambda: target.copy_(values), device)


def _best_seconds(action: Callable[[], object], device: torch.device, repeats: int = 10) -> float:
    best = float("inf")
    for _ in range(repeats):
        _synchronise(device)
        start = time.perf_counter()
        action()
        _synchronise(device)
        best = min(best, time.perf_counter() - start)
    return best


def make_store(folder: str, num_patients: int, crop_shape: tuple[int, int, int]) -> Store:
    """Write a store of noise around an anatomy that compresses as MR does."""
    generator = np.random.default_rng(0)
    labels = tuple((n % 2,) for n in range(num_patients))
    ids = tuple(f"P{n:04d}" for n in range(num_patients))
    spec = StoreSpec(ids, ("ER",), labels, 4, crop_shape)
    writer = StoreWriter.create_or_resume(str(Path(folder, "store")), spec, {})
    region = np.zeros(crop_shape, dtype=np.uint8)
    for index, patient_id in enumerate(ids):
        images = generator.normal(300, 30, (4, *crop_shape)).astype(np.float32)
        record = PatientRecord(
            index=index, patient_id=patient_id, status="stored", spacing_mm=SPACING_MM
        )
        writer.write(record, PatientTensor(images, region))
    return writer.finish()


def make_config(name: str, store: Store, arguments: argparse.Namespace) -> RunConfig:
    """Return a run's configuration with default augmentation."""
    return RunConfig.model_validate(
        {
            "store": store.url,
            "split": "unused",
            "out": "unused-run",
            "targets": ["ER"],
            "device": arguments.device,
            "network": {"name": name},
            "train": {"batch_size": arguments.batch_size},
            "speed": {
                "compile": arguments.compile,
                "channels_last": arguments.channels_last,
                "placement": arguments.placement,
            },
        }
    )


def peak_gigabytes(device: torch.device) -> float:
    """Return the most memory used: the GPU's, or this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="monai")
    main()
