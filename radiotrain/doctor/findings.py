"""What a doctor says, of a machine or of a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

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
