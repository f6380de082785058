"""What preprocessing can be told; stored with the result."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from preprocessing.n4 import N4Settings


class PreprocessConfig(BaseModel):
    """Settings that change voxels; a store holds patients of one setting only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (128, 128, 68)
    """Rows, columns, slices kept around the tumour, in the common orientation."""

    num_phases: int = Field(default=4, ge=1)
    """Phases a patient must have, pre-contrast included; later ones are left out."""

    bias_engine: Literal["separable", "simpleitk", "none"] = "separable"
    """Who fits the N4 field: our separable fit, SimpleITK (some 50 times slower), or nobody."""

    shrink: int = Field(default=4, ge=1, le=8)
    """The field is fitted on the pre-contrast volume averaged over this many voxels an axis."""

    n4_iterations: tuple[int, ...] = (50, 50, 50, 50)
    """Largest number of iterations at each B-spline level."""

    n4_convergence: float = Field(default=0.001, gt=0)
    """A level ends when the field changes by less than this (coefficient of variation)."""

    @property
    def n4(self) -> N4Settings:
        """The N4 settings."""
        return N4Settings(iterations=self.n4_iterations, convergence=self.n4_convergence)
