"""What data sheets say of GPUs, for plans made where there is none."""

from __future__ import annotations

from dataclasses import dataclass

from preprocessing.common.errors import InputError, nearest_hint
from radiotrain.networks.cost import NetworkCost

# Passes over the activations, which have two bytes each in bfloat16, that a training step makes.
_PASSES = 5
# Of validation, whose arithmetic is the forward pass.
_PASSES_FORWARD = 2


@dataclass(frozen=True)
class Gpu:
    """A GPU's data sheet.

    Parameters
    ----------
    tflops
        Dense bfloat16 arithmetic on tensor cores, 10^12 operations a second.
    gb_per_s, gb
        Its memory.
    """

    name: str
    tflops: float
    gb_per_s: float
    gb: float


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("H100", 989, 3350, 80),
        Gpu("A100", 312, 2039, 80),
        Gpu("A10G", 70, 600, 24),
        Gpu("L4", 121, 300, 24),
    )
}
"""NVIDIA's data sheets: H100 SXM, A100 SXM 80 GB, A10G (AWS g5), L4 (AWS g6)."""


def gpu_named(name: str) -> Gpu:
    """Return a GPU's data sheet.

    Raises
    ------
    InputError
        If it is not known.
    """
    known = {key.casefold(): gpu for key, gpu in GPUS.items()}
    found = known.get(name.casefold())
    if found is None:
        hint = nearest_hint(name, list(GPUS))
        raise InputError(f"unknown GPU {name!r}{hint}, expected one of {', '.join(GPUS)}")
    return found


def seconds_a_patient(cost: NetworkCost, gpu: Gpu, efficiency: float) -> tuple[float, float]:
    """Return how long training and validation take a patient, if so much of the roof is reached.

    The roof is what arithmetic or memory traffic allow, whichever is slower (Williams et al., CACM 52
    (2009) 65-76).

    Parameters
    ----------
    efficiency
        From 0 to 1.
    """
    traffic_gb = cost.activation_mb / 2 / 1e3
    train = max(cost.training_gflop / gpu.tflops / 1e3, _PASSES * traffic_gb / gpu.gb_per_s)
    validate = max(
        cost.forward_gflop / gpu.tflops / 1e3, _PASSES_FORWARD * traffic_gb / gpu.gb_per_s
    )
    return train / efficiency, validate / efficiency
