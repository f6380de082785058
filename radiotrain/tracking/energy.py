"""Energy used by the device.

Of a GPU, the whole GPU's, as its driver counts it; of a CPU, all packages' and their memory's, as
RAPL counts it. Both count other work on the same device too.

References
----------
https://docs.nvidia.com/deploy/nvml-api/ (nvmlDeviceGetTotalEnergyConsumption)
https://www.kernel.org/doc/html/latest/power/powercap/powercap.html
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch

_POWERCAP = Path("/sys/class/powercap")
# No counter, no permission, no driver, or a driver too old to have one.
_UNREPORTED = (OSError, AttributeError, RuntimeError)


class _Counter(Protocol):
    def joules(self) -> float:
        """Return the energy since the counter was made; raise an OSError where that is unknown."""


class EnergyMeter:
    """Energy used since it was made.

    Parameters
    ----------
    device
        A GPU, or the CPU.
    powercap
        Where the kernel shows RAPL.
    """

    def __init__(self, device: torch.device, powercap: Path = _POWERCAP) -> None:
        self._counter: _Counter | None
        try:
            self._counter = _Nvml(device) if device.type == "cuda" else _Rapl(powercap)
        except _UNREPORTED:
            self._counter = None

    def joules(self) -> float | None:
        """Return the energy since construction; None where it is not reported.

        Asked at least once every few minutes, a CPU's counter is followed when it runs over.
        """
        if self._counter is None:
            return None
        try:
            return self._counter.joules()
        except _UNREPORTED:
            self._counter = None
            return None


class _Rapl:
    """The counters of all packages, and of memory, which is not part of a package's."""

    def __init__(self, powercap: Path) -> None:
        self._zones = [_Zone(folder) for folder in _zone_folders(powercap)]
        if not self._zones:
            raise FileNotFoundError(f"no RAPL in {powercap}")

    def joules(self) -> float:
        return sum(zone.microjoules() for zone in self._zones) / 1e6


class _Zone:
    """One counter, which starts again from 0 after its largest value."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range = _number(folder / "max_energy_range_uj")
        self._last = _number(self._file)
        self._total = 0

    def microjoules(self) -> int:
        now = _number(self._file)
        used = now - self._last
        self._total += used if used >= 0 else used + self._range
        self._last = now
        return self._total


def _zone_folders(powercap: Path) -> Iterator[Path]:
    for folder in sorted(powercap.glob("intel-rapl:*")):
        name = (folder / "name").read_text().strip()
        if name.startswith("package") or name == "dram":
            yield folder


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except ValueError as error:
        raise OSError(f"{path} holds no number") from error


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
