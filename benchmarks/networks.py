"""Time training steps of the networks: as they are, channels last, checkpointed, compiled.

    python -m benchmarks.networks [SEResNet50 ResNet34 … --crop-shape 128 128 68 --batch 2]

Samples a second of forward and backward pass with AdamW, on the GPU in bfloat16 if there is one, on
the CPU in float32 otherwise. The variants take turns, and the best of each counts: on a CPU its CPU
time, so that other work on the machine disturbs less. Ratios of one run are what counts.
Needs torch, monai and numpy beside this package.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from radiotrain.networks.cost import checkpoint_activations
from radiotrain.networks.registry import build_network, check_network_name

NAMES = ("SEResNet50", "SEResNext101", "ResNet34", "DenseNet121", "EfficientNet-b0")
Step = Callable[[], None]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", type=check_network_name, default=list(NAMES))
    parser.add_argument("--crop-shape", nargs=3, type=int, default=[64, 64, 34])
    parser.add_argument("--phases", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    rows, columns, slices = given.crop_shape
    shape = (given.batch, given.phases, rows, columns, slices)
    kind = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads"
    print(f"{kind}, {'bfloat16' if on_gpu else 'float32'}, {'×'.join(map(str, shape))}")
    variants = ("plain", "channels last", "checkpointed", "compiled")
    print(f"{'samples/s':16s}" + "".join(f"{v:>24s}" for v in variants))
    for name in given.names:
        rates = [given.batch / t for t in _least_seconds(name, variants, shape, device, given)]
        cells = "".join(f"{r:15.2f} (×{r / rates[0]:5.2f})" for r in rates)
        print(f"{name:16s}{cells}", flush=True)


def _least_seconds(
    name: str,
    variants: tuple[str, ...],
    shape: tuple[int, int, int, int, int],
    device: torch.device,
    given: argparse.Namespace,
) -> list[float]:
    """Return the least time of one step of each variant, in seconds."""
    steps = [_make_step(name, variant, shape, device) for variant in variants]
    times: list[list[float]] = [[] for _ in steps]
    # The first turn warms caches up and chooses algorithms.
    for turn in range(given.repeats + 1):
        for step, taken in zip(steps, times, strict=True):
            start = _now(device)
            step()
            if turn:
                taken.append(_now(device) - start)
    return [min(taken) for taken in times]


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()


def _make_step(
    name: str, variant: str, shape: tuple[int, int, int, int, int], device: torch.device
) -> Step:
    """Return a training step of the network on random images."""
    torch.manual_seed(0)
    network = build_network(name, shape[1], 1, shape[2:])
    network = network.train().to(device)
    images = torch.randn(shape, device=device)
    if variant == "checkpointed":
        checkpoint_activations(network)
    if variant == "compiled":
        network.compile()
    if variant == "channels last":
        network = network.to(memory_format=torch.channels_last_3d)
        images = images.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=device.type == "cuda")
    labels = torch.zeros(shape[0], 1, device=device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits: Tensor = network(images)
        functional.binary_cross_entropy_with_logits(logits.float(), labels).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
