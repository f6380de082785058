"""Volumes that are opened first (geometry, findings) and read later (only the part needed)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort import Box, Finding
from preprocessing.geometry import Grid


class UnreadableImageError(Exception):
    """An image that cannot be used, with the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[Finding]]:
        """Keep the finding when crossing processes."""
        return type(self), (self.finding,)


class Volume(Protocol):
    """An opened volume: geometry known, voxels not read yet."""

    grid: Grid
    name: str
    time_s: float | None
    covariates: dict[str, str | float | None]
    findings: tuple[Finding, ...]

    def box_to_positions(self, box: Box) -> Box:
        """Map a box whose slices count as the files do to one that counts positions."""
        ...

    def read(self, part: Box, step: int = 1) -> NDArray[np.float32]:
        """Return the voxels of `part` (row, column, slice), every `step`-th slice of it."""
        ...
