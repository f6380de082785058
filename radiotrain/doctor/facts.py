"""Measurements of a machine, and findings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class PackageFacts:
    """A package that the project needs.

    Parameters
    ----------
    found
        Its version, or None where it is not installed.
    wanted
        As in pyproject.toml, e.g. ``>=1.6.1,<1.7``.
    fits
        Whether the one is in the other.
    pinned
        As in constraints.txt, where that is at hand and names it.
    """

    name: str
    found: str | None
    wanted: str
    fits: bool
    pinned: str | None


@dataclass(frozen=True)
class PythonFacts:
    """The interpreter.

    Parameters
    ----------
    wanted
        By the project, or None where it is not installed but runs from its folder.
    """

    found: str
    wanted: str | None
    fits: bool


@dataclass(frozen=True)
class GpuFacts:
    """A GPU as PyTorch sees it."""

    name: str
    memory_gb: float
    has_bfloat16: bool


@dataclass(frozen=True)
class TorchFacts:
    """PyTorch's build.

    Parameters
    ----------
    cuda
        Version that it was built for, or None.
    error
        The last line of what it said where it could not be asked.
    """

    version: str
    cuda: str | None
    gpus: tuple[GpuFacts, ...]
    error: str | None = None


@dataclass(frozen=True)
class DriverFacts:
    """NVIDIA's driver, and the names of the GPUs that it sees."""

    version: str
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class FolderFacts:
    """The folder, here or on an object store, where stores and runs are to lie.

    Parameters
    ----------
    free_gb
        10^9 bytes; None on an object store.
    write_mb_per_s, read_mb_per_s
        Of one file, flushed to the disk; what is read may come from the system's cache.
    error
        Why it could not be written or read, or None.
    """

    url: str
    free_gb: float | None
    write_mb_per_s: float | None = None
    read_mb_per_s: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class ClockFacts:
    """The time of day.

    Parameters
    ----------
    behind_install_s
        By how much it is before the time when packages were installed.
    is_kept
        Whether the kernel says that somebody keeps it right; None where it does not say.
    """

    behind_install_s: float
    is_kept: bool | None


@dataclass(frozen=True)
class PortFacts:
    """What others can connect to.

    Parameters
    ----------
    loopback_error
        Why a process could not connect to another one of this machine, or None.
    taken
        Ports that commands would like to have and others do, with what for.
    """

    loopback_error: str | None
    taken: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class S3Facts:
    """The object store that the environment names.

    Parameters
    ----------
    unreachable
        Why nobody answers there, or None.
    skew_s
        Its clock ahead of this one's.
    refused
        How it refuses the credentials (S3's own word, such as ``InvalidAccessKeyId``), or None.
    """

    endpoint: str
    unreachable: str | None = None
    skew_s: float | None = None
    refused: str | None = None


@dataclass(frozen=True)
class RayFacts:
    """A Ray of one's own that asks for a token, begun and ended.

    Parameters
    ----------
    seconds
        Until it had done a first task.
    error
        Why it had not, or None.
    """

    seconds: float | None
    error: str | None = None


@dataclass(frozen=True)
class TokenFacts:
    """The file with the token of Ray clusters.

    Parameters
    ----------
    mode
        Its permissions.
    is_own
        Whether it belongs to this user.
    """

    path: str
    mode: int
    is_own: bool = True


@dataclass(frozen=True)
class MachineFacts:
    """All that was measured.

    Parameters
    ----------
    cores
        That this process may use.
    memory_gb
        That it may use, 10^9 bytes.
    shared_memory_gb
        Free; None where there is none.
    temporary
        The folder for temporary files, and its free room.
    open_files
        That a process may have.
    s3
        None where neither the environment nor the folder names an object store.
    ray
        None where it was not tried.
    token
        None where there is no file with one.
    """

    python: PythonFacts
    packages: tuple[PackageFacts, ...]
    torch: TorchFacts
    driver: DriverFacts | None
    cores: float
    memory_gb: float
    shared_memory_gb: float | None
    temporary: FolderFacts
    folder: FolderFacts
    open_files: int
    clock: ClockFacts
    ports: PortFacts
    s3: S3Facts | None
    ray: RayFacts | None
    token: TokenFacts | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return asdict(self)


Grade = Literal["ok", "look", "broken"]

# Of a folder that is written to: checkpoints of the larger networks are 0.4 GB each, of which a few are kept.
LITTLE_DISK_GB, NO_DISK_GB = 10.0, 1.0
# Duke's shared copy is 8.2 GB.
LITTLE_SHARED_MEMORY_GB = 9.0


@dataclass(frozen=True)
class Finding:
    """One check's outcome.

    Parameters
    ----------
    what
        Was found, and what to do where it is not ok.
    """

    grade: Grade
    check: str
    what: str


def is_broken(findings: Iterable[Finding]) -> bool:
    """Tell whether anything has to be mended first."""
    return any(finding.grade == "broken" for finding in findings)


def little_disk(what: str, gb: float) -> Finding | None:
    """Judge a folder that is written to; None where it has room."""
    if gb >= LITTLE_DISK_GB:
        return None
    grade: Grade = "broken" if gb < NO_DISK_GB else "look"
    return Finding(grade, "room", f"{what}: make room, or take a larger disk")


def little_shared_memory(what: str, gb: float) -> Finding | None:
    """Judge a machine's shared memory; None where it suffices."""
    if gb >= LITTLE_SHARED_MEMORY_GB:
        return None
    return Finding(
        "look",
        "room",
        f"{what}: Duke's shared copy takes 8.2; a cohort that does not fit is streamed, or"
        " give it more (mount -o remount,size=…), and Ray less (--object-store-memory)",
    )
