"""Copy the small tensors of a batch to the device together.

Each copy from pageable memory lets the host wait for the device, however few bytes it has. So what a batch
needs beside its voxels (labels, covariates, gains, matrices) crosses as one block of pinned memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The strictest that any dtype asks of an address.
_ALIGNMENT = 16


def copy_together(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Return tensors of the host on a device, bit for bit, by one copy that nothing waits for.

    Parameters
    ----------
    tensors
        Of any dtypes and shapes. Those that are on the device already are returned as they are.

    Returns
    -------
    In the same order, contiguous; what was copied shares one block of memory.
    """
    found = list(tensors)
    moving = [n for n, tensor in enumerate(found) if tensor.device.type == "cpu"]
    if device.type != "cuda" or not moving:
        return found
    block, spans = pack([found[n] for n in moving])
    copied = block.pin_memory().to(device, non_blocking=True)
    for n, span in zip(moving, spans, strict=True):
        found[n] = unpack(copied, span, found[n])
    return found


def pack(tensors: Sequence[Tensor]) -> tuple[Tensor, list[slice]]:
    """Return the bytes of tensors in one uint8 block, each from a multiple of 16 on, and where they are."""
    parts = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in tensors]
    spans, start = [], 0
    for part in parts:
        spans.append(slice(start, start + len(part)))
        start = -(-(start + len(part)) // _ALIGNMENT) * _ALIGNMENT
    block = torch.zeros(start, dtype=torch.uint8)
    for part, span in zip(parts, spans, strict=True):
        block[span] = part
    return block, spans


def unpack(block: Tensor, span: slice, like: Tensor) -> Tensor:
    """Return a tensor of the dtype and shape of another out of a block of `pack`."""
    return block[span].view(like.dtype).view(like.shape)
