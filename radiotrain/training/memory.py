"""When memory runs out: told from other errors, and what can be done about it."""

from __future__ import annotations

import torch

from preprocessing.errors import InputError

# torch on a CPU raises a plain RuntimeError.
_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a device, or the host, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_ALLOCATOR)


def out_of_memory(num_patients: int, device: torch.device) -> InputError:
    """Return the sentence about `num_patients` that were too many to compute at a time."""
    advice = "set speed.activation_checkpointing to true or take a smaller network"
    if num_patients > 2:
        smaller = max(2, num_patients // 2)
        advice = (
            f"set train.micro_batch_size to {smaller} (the global batch stays as it is), give"
            " --auto-batch, or set speed.activation_checkpointing to true"
        )
    return InputError(
        f"{num_patients} patients at a time do not fit into the {_name(device)}'s memory: {advice}"
    )


def _name(device: torch.device) -> str:
    if device.type != "cuda":
        return "machine"
    total = torch.cuda.get_device_properties(device).total_memory
    return f"{torch.cuda.get_device_name(device)} ({total / 1e9:.0f} GB)"
