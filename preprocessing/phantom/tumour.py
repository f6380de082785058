"""The tumour: how its latent features show in form, rim and enhancement curve.

=======  ==========================================================================
target   what its latent feature z (higher in positive patients) changes
=======  ==========================================================================
ER       enhancement after the first pass: persists (z > 0) or washes out (z < 0)
PR       rim enhances more than the centre (z > 0) or less (z < 0)
HER2     height of the first pass, and irregularity of the border (both rise with z)
=======  ==========================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.phantom.anatomy import Anatomy
from preprocessing.phantom.geometry import F32, Points
from preprocessing.phantom.texture import Texture

_SIGNAL = 0.85
_RADIUS_MM = (13.0, 20.0)
# Least and largest distance of the border from the centre, over the mean radius, before the
# stretch.
_BORDER = (0.5, 1.44)
# Half side of the cube that the border's texture fills, over the mean radius.
_TEXTURE_REACH = 1.6


@dataclass(frozen=True)
class Kinetics:
    """Relative enhancement over the phases.

    Parameters
    ----------
    peak
        Mean relative enhancement of the tumour at the first pass.
    slope
        Change from the first to the third pass, as a fraction of `peak`.
    rim
        Contrast of rim against centre, −0.6 to 0.6.
    """

    peak: float
    slope: float
    rim: float

    @classmethod
    def from_latents(cls, latents: Mapping[str, float]) -> Kinetics:
        """Express the latent features, monotonically and within physical limits."""
        return cls(
            peak=1.1 * math.exp(0.9 * math.tanh(0.28 * latents["HER2"])),
            slope=0.7 * math.tanh(0.3 * latents["ER"]) - 0.05,
            rim=0.6 * math.tanh(0.3 * latents["PR"]),
        )

    def level(self, phase: int) -> float:
        """Return the enhancement at `phase` (0: before contrast medium) over its peak."""
        # From the third pass on the curve goes on half as fast.
        passes = min(phase, 3) + 0.5 * max(phase - 3, 0)
        return 0.0 if phase == 0 else 1 + self.slope * (passes - 1) / 2


@dataclass(frozen=True)
class Tumour:
    """One tumour.

    Parameters
    ----------
    centre_mm
        Position in LPS.
    radius_mm
        Mean radius.
    stretch
        Relative semi-axes (x, y, z), product 1.
    irregularity
        Standard deviation of the border's distance from the centre, over `radius_mm`.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    stretch: tuple[float, float, float]
    irregularity: float
    kinetics: Kinetics
    edge_mm: float
    texture: Texture

    @classmethod
    def draw(
        cls, rng: np.random.Generator, anatomy: Anatomy, latents: Mapping[str, float]
    ) -> Tumour:
        """Draw a tumour inside one of the breasts."""
        radius = float(rng.uniform(*_RADIUS_MM))
        centre = _draw_centre(rng, anatomy, 1.3 * radius)
        log_stretch = rng.normal(0, 0.1, 3)
        stretch = np.exp(log_stretch - log_stretch.mean())
        reach = _TEXTURE_REACH * radius
        low = (centre[0] - reach, centre[1] - reach, centre[2] - reach)
        high = (centre[0] + reach, centre[1] + reach, centre[2] + reach)
        return cls(
            centre_mm=centre,
            radius_mm=radius,
            stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
            irregularity=0.12 * math.exp(0.9 * math.tanh(0.28 * latents["HER2"])),
            kinetics=Kinetics.from_latents(latents),
            edge_mm=0.5 * anatomy.edge_mm,
            texture=Texture.draw(rng, low, high, length_mm=5.0),
        )

    @property
    def side(self) -> str:
        """``L`` or ``R``: the patient's, as in the workbook."""
        return "L" if self.centre_mm[0] > 0 else "R"

    @property
    def reach_mm(self) -> float:
        """Distance along any axis beyond which there is no tumour, its soft edge included."""
        return _BORDER[1] * max(self.stretch) * (self.radius_mm + 0.5 * self.edge_mm)

    def radial(self, points: Points) -> F32:
        """Return (K, R, C) float32: 0 at the centre, 1 on the border, larger outside."""
        x, y, z = (
            (p - np.float32(c)) / np.float32(s * self.radius_mm)
            for p, c, s in zip(
                (points.x, points.y, points.z), self.centre_mm, self.stretch, strict=True
            )
        )
        distance = np.sqrt((y**2 + z**2)[..., None] + x**2)
        border = 1 + self.irregularity * self.texture.sample(points)
        radial: F32 = distance / np.clip(border, *_BORDER)
        return radial

    def mask(self, points: Points) -> NDArray[np.bool_]:
        """Return (K, R, C) bool: voxel centre in the tumour."""
        return self.radial(points) < 1

    def paint(self, signal: F32, points: Points, phase: int) -> None:
        """Put the tumour into `signal` (K, R, C), in place.

        Parameters
        ----------
        signal
            Of the anatomy around it, in units of glandular tissue.
        points
            Positions of `signal`, in the anatomy's own coordinates.
        phase
            0 before contrast medium, then 1, 2, …
        """
        part = points.around(self.centre_mm, self.reach_mm)
        if part is None:
            return
        radial = self.radial(points.block(*part))
        share = np.clip(0.5 + (1 - radial) * np.float32(self.radius_mm / self.edge_mm), 0, 1)
        value = np.float32(_SIGNAL) * (1 + self._enhancement(radial, phase))
        signal[part] += share * (value - signal[part])

    def _enhancement(self, radial: F32, phase: int) -> F32:
        # In a ball the mean of ρ² is 3/5, so that the rim's contrast leaves the mean alone.
        profile = (np.minimum(radial, 1) ** 2 - np.float32(0.6)) / np.float32(0.4)
        level = self.kinetics.peak * self.kinetics.level(phase)
        return np.float32(level) * (1 + np.float32(self.kinetics.rim) * profile)


def _draw_centre(
    rng: np.random.Generator, anatomy: Anatomy, reach_mm: float
) -> tuple[float, float, float]:
    side = 1 if rng.random() < 0.5 else -1
    best = (side * anatomy.offset_mm, anatomy.wall_mm - 0.45 * anatomy.half_axes_mm[1], 0.0)
    for _ in range(100):
        dx, dy, dz = rng.uniform((-22, -55, -28), (22, -22, 28)).tolist()
        centre = (side * (anatomy.offset_mm + dx), anatomy.wall_mm + dy, dz)
        if anatomy.is_inside(centre, reach_mm):
            return centre
    return best
