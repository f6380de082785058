"""What preprocessing can be told; stored with the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

# Settings that were added after stores had been made, each with the value that those were made with:
# a store that does not name one is read, extended and compared as if it did.
ADDED_SETTINGS: Mapping[str, Any] = {"outlier_margin": None}

Millimetres = Annotated[float, Field(gt=0.05, le=20)]


@dataclass(frozen=True)
class N4Settings:
    """Settings with ITK's names and defaults.

    Parameters
    ----------
    iterations
        Largest number of iterations at each level; as many levels as entries. The lattice
        has one span an axis at the first level and twice as many at each next one.
    convergence
        A level ends when the coefficient of variation of the field's change falls below this.
    num_bins, fwhm, wiener_noise
        Histogram sharpening: bins, full width at half maximum of the field's log histogram,
        and the noise of the Wiener filter.
    """

    iterations: tuple[int, ...] = (50, 50, 50, 50)
    convergence: float = 0.001
    num_bins: int = 200
    fwhm: float = 0.15
    wiener_noise: float = 0.01


class PreprocessConfig(BaseModel):
    """Settings that change voxels; a store holds patients of one setting only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    crop_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (128, 128, 68)
    """Rows, columns, slices kept around the tumour, in the common orientation."""

    num_phases: int = Field(default=4, ge=1)
    """Phases a patient must have, pre-contrast included."""

    phase_choice: Literal["first", "even", "last"] = "first"
    """Which posts of a patient with more than needed: the first ones (the paper's), some evenly
    spread from the first to the last, or the last ones. The pre-contrast is always the first."""

    phase_images: Literal["acquired", "motion-corrected", "subtraction"] = "acquired"
    """Which DICOM images are the phases: those that were acquired, their motion-corrected copies, or
    subtractions (after the acquired pre-contrast). Other derived images are never phases."""

    resample_mm: tuple[Millimetres, Millimetres, Millimetres] | None = None
    """Voxel size (row, column, slice) in mm that all patients are brought to by linear
    interpolation; None keeps each patient's own voxels (the paper's)."""

    align: Literal["exact", "resample"] = "exact"
    """What is done with phases whose voxels are not the pre-contrast's: those turned, mirrored or
    shifted by whole voxels are brought onto them in any case, value by value; others exclude the
    patient, or are interpolated linearly onto them."""

    lesions: Literal["largest", "all"] = "largest"
    """Of a segmentation in several pieces, what is the tumour: the largest one, or all but stray
    voxels."""

    region: Literal["mask", "box"] = "mask"
    """What the tumour region is where a segmentation is given: its voxels, or the box around
    them. Where only a box is given, it is the box."""

    motion: Literal["none", "rigid"] = "none"
    """Whether each post-contrast phase is moved onto the pre-contrast: rotation and shift that
    maximise mutual information around the tumour."""

    intensity: Literal["scanner", "tissue"] = "scanner"
    """Units of the stored values: the scanner's own, or 1000 for the median of the corrected
    pre-contrast tissue. One gain a patient, so that the enhancement curve is what it was."""

    outlier_margin: float | None = Field(default=10.0, ge=1)
    """How far beyond its tissue a voxel may lie before it is set to the limit, with a finding: p99 plus
    this many spreads, p1 less as many, of each phase in the crop without its zeros; a spread is p99 − p1,
    or the median if that is larger. So no broken voxel takes the grey levels of all others. None clips
    nothing, as in stores of earlier versions."""

    implausible: Literal["mark", "exclude"] = "mark"
    """What becomes of a patient whose crops no examination shows, such as a tumour that takes up no
    contrast or a phase with another gain: used with a finding, or excluded. Phases that are constant,
    nearly all 0 or copies of each other always exclude."""

    bias_engine: Literal["separable", "simpleitk", "none"] = "separable"
    """Who fits the N4 field: our separable fit, SimpleITK (many times slower), or nobody."""

    shrink: int = Field(default=4, ge=1, le=8)
    """The field is fitted on the pre-contrast volume averaged over this many voxels an axis."""

    n4_iterations: tuple[PositiveInt, ...] = Field(default=(50, 50, 50, 50), min_length=1)
    """Largest number of iterations at each B-spline level."""

    n4_convergence: float = Field(default=0.001, gt=0)
    """A level ends when the field changes by less than this (coefficient of variation)."""

    @model_validator(mode="after")
    def _has_a_phase_to_move(self) -> PreprocessConfig:
        if self.num_phases == 1 and self.motion != "none":
            raise ValueError("motion is 'rigid', but num_phases is 1: there is no phase to move")
        return self

    @property
    def n4(self) -> N4Settings:
        """The N4 settings."""
        return N4Settings(iterations=self.n4_iterations, convergence=self.n4_convergence)


def with_added_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a store's settings with those of `ADDED_SETTINGS` that it does not name.

    Empty settings stay empty: nothing is known of that store.
    """
    return {**ADDED_SETTINGS, **settings} if settings else {}
