"""Energy used by a GPU.

The driver counts the whole GPU, other work on it too.

References
----------
https://docs.nvidia.com/deploy/nvml-api/ (nvmlDeviceGetTotalEnergyConsumption)
"""

from __future__ import annotations

import ctypes

import torch

# No permission, no driver, or a driver too old to have a counter.
_UNREPORTED = (OSError, AttributeError, RuntimeError)


class EnergyMeter:
    """Energy used since construction.

    Parameters
    ----------
    device
        A GPU; nothing is reported for another device.
    """

    def __init__(self, device: torch.device) -> None:
        self._counter: _Nvml | None = None
        if device.type == "cuda":
            try:
                self._counter = _Nvml(device)
            except _UNREPORTED:
                return

    def joules(self) -> float | None:
        """Return the energy since construction; None where it is not reported."""
        if self._counter is None:
            return None
        try:
            return self._counter.joules()
        except _UNREPORTED:
            self._counter = None
            return None


class _Nvml:
    """A GPU's counter, asked through the driver's own library: no package is needed."""

    def __init__(self, device: torch.device) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._ask("nvmlInit_v2")
        self._handle = ctypes.c_void_p()
        # By UUID: CUDA_VISIBLE_DEVICES renumbers torch's devices, not the driver's.
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
        self._ask("nvmlDeviceGetHandleByUUID", uuid, ctypes.byref(self._handle))
        self._first = self._millijoules()

    def joules(self) -> float:
        return (self._millijoules() - self._first) / 1e3

    def _millijoules(self) -> int:
        value = ctypes.c_ulonglong()
        self._ask("nvmlDeviceGetTotalEnergyConsumption", self._handle, ctypes.byref(value))
        return value.value

    def _ask(self, function: str, *arguments: object) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise OSError(f"{function} answers {status}")
