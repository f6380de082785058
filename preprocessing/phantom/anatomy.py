"""Breasts, their texture, and the tumour, as functions of position."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from preprocessing.phantom.voxels import F32, Points

_NODE_MM = 4.0


@dataclass(frozen=True)
class Texture:
    """A random field with mean 0 and standard deviation 1, trilinear between nodes 4 mm apart.

    Parameters
    ----------
    origin_mm
        Position (x, y, z) of the first node.
    nodes
        (Z, Y, X) float32 values at the nodes. Outside them the nearest counts.
    """

    origin_mm: tuple[float, float, float]
    nodes: F32

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        low_mm: tuple[float, float, float],
        high_mm: tuple[float, float, float],
        length_mm: float,
    ) -> Texture:
        """Draw a field over a cuboid; `length_mm` is the deviation of its smoothing kernel."""
        sizes = [int(np.ceil((b - a) / _NODE_MM)) + 1 for a, b in zip(low_mm, high_mm, strict=True)]
        white = rng.standard_normal(sizes[::-1], dtype=np.float32)
        smooth: F32 = gaussian_filter(white, length_mm / _NODE_MM, mode="wrap")
        smooth -= smooth.mean()
        smooth /= smooth.std()
        return cls(low_mm, smooth)

    def sample(self, points: Points) -> F32:
        """Return (K, R, C) float32 values at the points."""
        along_x = _interpolate_last(self.nodes, self._nodes_at(points.x, 0))
        y, z = self._nodes_at(points.y, 1), self._nodes_at(points.z, 2)
        y0, wy = _floor(y, self.nodes.shape[1])
        z0, wz = _floor(z, self.nodes.shape[0])
        total = np.zeros(points.shape, np.float32)
        for dz, weight_z in ((0, 1 - wz), (1, wz)):
            for dy, weight_y in ((0, 1 - wy), (1, wy)):
                total += along_x[z0 + dz, y0 + dy] * (weight_z * weight_y)[..., None]
        return total

    def _nodes_at(self, position_mm: F32, axis: int) -> F32:
        return (position_mm - np.float32(self.origin_mm[axis])) / np.float32(_NODE_MM)


def _interpolate_last(nodes: F32, at: F32) -> F32:
    index, weight = _floor(at, nodes.shape[-1])
    return nodes[..., index] * (1 - weight) + nodes[..., index + 1] * weight


def _floor(at: F32, size: int) -> tuple[NDArray[np.intp], F32]:
    at = np.clip(at, 0, size - 1)
    index = np.minimum(at.astype(np.intp), size - 2)
    return index, (at - index).astype(np.float32)


# Two breasts hanging from a chest wall, of fat and glandular tissue, as functions of position.
#
# The patient lies prone, so that the breasts point to −y. Signal is in units of glandular tissue
# before contrast medium, on a fat-suppressed T1 image.

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
