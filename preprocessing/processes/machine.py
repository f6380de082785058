"""Memory, processors and host names that this process may use."""

from __future__ import annotations

import getpass
import ipaddress
import math
import os
import re
import resource
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# Processors and memory that this process may use: the machine's, or what a container is given.
#
# Control groups of both versions, the process's own and all above it, the processors it is bound to,
# and the limits of the shell (``ulimit -v``, ``-d``). Batch systems and containers set these; what a
# batch system only writes into variables is not looked at.

_ROOT = Path("/")
# As many bytes as a process's folders of /proc count in.
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Of a group's memory the kernel takes these back before it refuses any.
_RECLAIMABLE = {
    "cgroup2": ("inactive_file", "active_file", "slab_reclaimable"),
    "cgroup": ("total_inactive_file", "total_active_file"),
}
_LIMITS = {"cgroup2": ("memory.max", "memory.high"), "cgroup": ("memory.limit_in_bytes",)}
_USED = {"cgroup2": "memory.current", "cgroup": "memory.usage_in_bytes"}


@dataclass(frozen=True)
class Memory:
    """Bytes of memory: all that there are for this process, and those that are free."""

    total: int
    available: int

    def within(self, limits: Iterable[Memory]) -> Memory:
        """Return what is left of it by the tightest of some limits."""
        both = (self, *limits)
        return Memory(min(m.total for m in both), max(0, min(m.available for m in both)))


@dataclass(frozen=True)
class _Group:
    """A folder of a control group, the process's own or one above it."""

    version: str
    folder: Path


def name_user() -> None:
    """Set the variables that name the user and their home where the system knows neither.

    Containers begin processes as users without an entry in its list. Libraries ask for both when
    they are loaded, and would end there.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = str(os.getuid())
    try:
        Path.home()
    except RuntimeError:
        # As Docker does; nothing can be written there, which libraries are prepared for.
        os.environ["HOME"] = "/"


def num_cpus(root: Path = _ROOT) -> int:
    """Return how many processes or threads can compute at a time: at least one."""
    return max(1, math.ceil(cpus(root)))


def cpus(root: Path = _ROOT) -> float:
    """Return the processors that this process may use; of a container, perhaps a part of one.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(float(own), *_quotas(_groups(root, "cpu")), math.inf)


def memory(root: Path = _ROOT) -> Memory:
    """Return the memory that this process may use.

    Parameters
    ----------
    root
        Where ``proc`` and ``sys`` are.
    """
    groups = _groups(root, "memory")
    limits = [limit for group in groups for limit in _memory_limits(group)]
    return _host_memory(root).within([*limits, *_shell_limits(root)])


def _host_memory(root: Path) -> Memory:
    """Return what Linux says; elsewhere all of the memory, and that half of it is free."""
    with suppress(OSError, KeyError, ValueError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        kb = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
        return Memory(kb["MemTotal"] * 1024, kb["MemAvailable"] * 1024)
    total = _PAGE * os.sysconf("SC_PHYS_PAGES")
    return Memory(total, total // 2)


def _shell_limits(root: Path) -> Iterator[Memory]:
    """Yield what ``ulimit -v`` and ``ulimit -d`` leave to this process."""
    used: tuple[int, ...] = (0,) * 6
    with suppress(OSError, ValueError):
        used = tuple(map(int, (root / "proc/self/statm").read_text().split()))[:6]
    for kind, pages in ((resource.RLIMIT_AS, used[0]), (resource.RLIMIT_DATA, used[5])):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            yield Memory(limit, limit - pages * _PAGE)


def _memory_limits(group: _Group) -> Iterator[Memory]:
    """Yield a group's limits, and what they leave."""
    limits = [_number(group.folder / name) for name in _LIMITS[group.version]]
    counts = _counts(group.folder / "memory.stat")
    # Where those above it cannot be seen, as in a container.
    limits += [counts.get("hierarchical_memory_limit")]
    used = _number(group.folder / _USED[group.version]) or 0
    held = used - sum(counts.get(name, 0) for name in _RECLAIMABLE[group.version])
    for limit in limits:
        if limit is not None:
            yield Memory(limit, limit - max(0, held))


def _quotas(groups: Iterable[_Group]) -> Iterator[float]:
    """Yield how many processors' time each group is given, where that is limited."""
    for group in groups:
        quota = period = None
        if group.version == "cgroup":
            quota = _number(group.folder / "cpu.cfs_quota_us")
            period = _number(group.folder / "cpu.cfs_period_us")
        else:
            with suppress(OSError, ValueError):
                quota, period = map(int, (group.folder / "cpu.max").read_text().split())
        if quota is not None and period is not None and quota > 0 and period > 0:
            yield quota / period


def _groups(root: Path, controller: str) -> list[_Group]:
    """Return the control groups that limit this process: its own, and those above it."""
    own: dict[str, str] = {}
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or controller in controllers.split(","):
                own["cgroup" if controllers else "cgroup2"] = path
    found = []
    for version, mounted, place in _mounts(root, controller):
        # A container sees its own group as the uppermost one, whatever its path is outside.
        inside = own.get(version, "/")
        below = inside[len(mounted) :] if f"{inside}/".startswith(f"{mounted}/") else ""
        parts = [part for part in below.split("/") if part not in ("", "..")]
        folders = [place.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
        found += [_Group(version, folder) for folder in folders]
    return found


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, str, Path]]:
    """Yield where control groups are mounted: their version, the group that is, and the folder."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            version, _, options = after.split(" ", 2)
            if version == "cgroup2" or (version == "cgroup" and controller in options.split(",")):
                mounted, place = map(_unescaped, before.split()[3:5])
                yield version, mounted.rstrip("/"), root / place.lstrip("/")


def _unescaped(path: str) -> str:
    r"""Return a path as it is: the kernel writes a space in one as ``\\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _number(path: Path) -> int | None:
    """Return the number in a file; None where there is none, or ``max``."""
    with suppress(OSError, ValueError):
        number = int(path.read_text())
        return number if number >= 0 else None
    return None


def _counts(path: Path) -> dict[str, int]:
    """Return the named numbers in a file; none where there is no such file."""
    with suppress(OSError, ValueError):
        pairs = (line.split() for line in path.read_text().splitlines())
        return {name: int(number) for name, number in pairs}
    return {}


def is_own_host(header: str | None, *names: str) -> bool:
    """Tell whether a request's Host header is an address, localhost, or a name of this machine.

    Parameters
    ----------
    header
        Such as ``localhost:6006``.
    names
        Other names that this machine is reached by.
    """
    try:
        host = urlsplit(f"//{header or ''}").hostname or ""
    except ValueError:
        return False
    if _is_address(host):
        return True  # no name server has a say in it
    own = socket.gethostname().lower()
    return host in {"localhost", own, own.partition(".")[0], *(n.lower() for n in names)}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
