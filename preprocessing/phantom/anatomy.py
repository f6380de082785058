"""Two breasts hanging from a chest wall, of fat and glandular tissue, as functions of position.

The patient lies prone, so that the breasts point to −y. Signal is in units of glandular tissue
before contrast medium, on a fat-suppressed T1 image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preprocessing.phantom.geometry import F32, Points
from preprocessing.phantom.texture import Texture

_FAT, _GLAND, _MUSCLE, _LUNG = 0.45, 1.0, 0.7, 0.08
_FAT_ENHANCEMENT, _MUSCLE_ENHANCEMENT = 0.02, 0.12
_MUSCLE_MM = 26.0
_TORSO_HALF_WIDTH_MM = 158.0
# How far the chest wall falls back towards the side: y rises by this times x².
_WALL_CURVE_PER_MM = 0.0018
_MIN_EDGE_MM = 2.0


@dataclass(frozen=True)
class Tissue:
    """Relative signal of one series' tissues: fat-suppressed dynamic or plain T1."""

    fat: float = _FAT
    gland: float = _GLAND


PLAIN_T1 = Tissue(fat=1.5, gland=0.7)
FAT_SUPPRESSED = Tissue()
WEAKLY_SUPPRESSED = Tissue(fat=0.8)


@dataclass(frozen=True)
class Anatomy:
    """One patient's body.

    Parameters
    ----------
    half_axes_mm
        Semi-axes (x, y, z) of the half ellipsoid that each breast is.
    offset_mm
        Distance of each breast's middle from the sagittal midplane.
    wall_mm
        y of the chest wall in the midplane.
    density
        Shifts the share of glandular tissue; 0 is average.
    gland_enhancement
        Relative enhancement of glandular tissue at the last phase.
    edge_mm
        Width over which tissues mix at a border, about a voxel.
    texture
        What makes glandular tissue irregular.
    """

    half_axes_mm: tuple[float, float, float]
    offset_mm: float
    wall_mm: float
    density: float
    gland_enhancement: float
    edge_mm: float
    texture: Texture

    @classmethod
    def draw(cls, rng: np.random.Generator, voxel_mm: float) -> Anatomy:
        """Draw a patient; `voxel_mm` is the largest side of the voxels it is going to be seen with."""
        wall = float(rng.uniform(-35, -25))
        a, b, c = rng.uniform((58, 78, 62), (68, 98, 74)).tolist()
        return cls(
            half_axes_mm=(a, b, c),
            offset_mm=float(a + rng.uniform(6, 12)),
            wall_mm=wall,
            density=float(rng.normal(0, 0.5)),
            gland_enhancement=float(rng.uniform(0.05, 0.22)),
            edge_mm=max(_MIN_EDGE_MM, voxel_mm),
            texture=Texture.draw(rng, (-170, -150, -100), (170, 30, 100), length_mm=7.0),
        )

    def signal(self, points: Points, progress: float, tissue: Tissue) -> F32:
        """Return (K, R, C) float32 signal without a tumour and without a coil field.

        Parameters
        ----------
        points
            In the anatomy's own coordinates.
        progress
            Share of the full background enhancement reached: 0 before contrast medium.
        tissue
            Contrast of the series.
        """
        inside, depth = self._breast(points)
        gland = self._gland_share(points, depth)
        fat = tissue.fat * (1 + _FAT_ENHANCEMENT * progress)
        glandular = tissue.gland * (1 + self.gland_enhancement * progress)
        body, torso = self._torso(points, progress)
        signal = (fat + (glandular - fat) * gland) * inside
        signal *= 1 - torso
        signal += body
        return signal

    def is_inside(self, centre_mm: tuple[float, float, float], reach_mm: float) -> bool:
        """Tell whether a ball fits into a breast, clear of skin and chest wall."""
        x, y, z = centre_mm
        a, b, c = self.half_axes_mm
        scaled = np.array([(abs(x) - self.offset_mm) / a, (y - self.wall_mm) / b, z / c])
        clear_of_skin = (1 - float(np.linalg.norm(scaled))) * min(a, b, c) > reach_mm
        return clear_of_skin and self.wall_mm - y > reach_mm

    def breast_mask(self, points: Points) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return (K, R, C) bool: in a breast, in front of the chest wall."""
        inside, _ = self._breast(points)
        return (inside > 0.5) & (points.y < self.wall_mm)[..., None]

    def _breast(self, points: Points) -> tuple[F32, F32]:
        a, b, c = self.half_axes_mm
        across = (((np.abs(points.x) - self.offset_mm) / a) ** 2).astype(np.float32)
        # Behind the wall's foremost line the half ellipsoid goes on as a cylinder into the torso.
        ahead = np.minimum(points.y - self.wall_mm, 0)
        along = ((ahead / b) ** 2 + (points.z / c) ** 2).astype(np.float32)
        depth = along[..., None] + across
        # (1 − q)/2 is the distance to the surface, in semi-axes, where q is near 1.
        slope = np.float32(0.5 * min(a, b, c) / self.edge_mm)
        return np.clip(0.5 + slope * (1 - depth), 0, 1), depth

    def _gland_share(self, points: Points, depth: F32) -> F32:
        share = self.texture.sample(points)
        share *= 0.55
        share += np.float32(0.75 + 0.3 * self.density)
        share -= 1.5 * depth
        return np.clip(share, 0, 1, out=share)

    def _torso(self, points: Points, progress: float) -> tuple[F32, F32]:
        """Return the torso's signal and its share of each voxel: muscle over lungs."""
        edge = np.float32(self.edge_mm)
        wall = self.wall_mm + np.float32(_WALL_CURVE_PER_MM) * points.x**2
        behind = points.y[..., None] - wall
        side = np.clip(0.5 + (_TORSO_HALF_WIDTH_MM - np.abs(points.x)) / edge, 0, 1)
        torso = (np.clip(0.5 + behind / edge, 0, 1) * side).astype(np.float32)
        lung = np.clip(0.5 + (behind - np.float32(_MUSCLE_MM)) / edge, 0, 1)
        muscle = np.float32(_MUSCLE * (1 + _MUSCLE_ENHANCEMENT * progress))
        return torso * (muscle + (np.float32(_LUNG) - muscle) * lung), torso
