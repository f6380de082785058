"""From anatomy to what a scanner stores: coil field, noise, motion, 12-bit integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.phantom.anatomy import FAT_SUPPRESSED, PLAIN_T1, Anatomy, Tissue, Tumour
from preprocessing.phantom.voxels import F32, Points, Pose

LARGEST = 4095

_ORDERS = 3
_FIELD_CENTRE_MM = (0.0, 10.0, 0.0)
_FIELD_HALF_MM = (180.0, 180.0, 110.0)
_PITCH_RAD_PER_VOXEL = math.radians(0.5)


@dataclass(frozen=True)
class CoilField:
    """Log of the multiplicative coil field: cosines of order 0 to 2 along each axis.

    ``Σ a[i,j,k] · cos(iπ(u+1)/2) · cos(jπ(v+1)/2) · cos(kπ(w+1)/2)``, where (u, v, w) is the
    position less (0, 10, 0) mm over (180, 180, 110) mm. It belongs to the scanner: a patient who
    moves moves through it.

    Parameters
    ----------
    coefficients
        a, (3, 3, 3) float64 over (x, y, z).
    """

    coefficients: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, anatomy: Anatomy, field_sd: float) -> CoilField:
        """Draw a field with mean 0 and deviation `field_sd` over the breasts."""
        order = np.add.outer(
            np.add.outer(np.arange(_ORDERS), np.arange(_ORDERS)), np.arange(_ORDERS)
        )
        raw = rng.normal(0, 1, (_ORDERS,) * 3) / (1.0 + order) ** 2
        # A breast coil lies in front of the patient: brighter towards −y.
        raw[0, 1, 0] = rng.uniform(0.3, 0.6)
        raw[0, 0, 0] = 0.0
        inside = cls(raw).at(_COARSE)[anatomy.breast_mask(_COARSE)]
        raw[0, 0, 0] = -float(inside.mean())
        return cls(raw * (field_sd / float(inside.std())))

    def at(self, points: Points) -> F32:
        """Return (K, R, C) float32 log field."""
        bases = [
            _cosines(p, axis).astype(np.float32)
            for axis, p in enumerate((points.x, points.y, points.z))
        ]
        along_yz = np.einsum(
            "abc,bkr,ckr->akr", self.coefficients.astype(np.float32), bases[1], bases[2]
        )
        total = np.zeros(points.shape, np.float32)
        for plane, row in zip(along_yz, bases[0], strict=True):
            total += plane[..., None] * row
        return total

    def at_positions(
        self, x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (P,) float64 log field at P positions, each (P,) in mm."""
        bases = [_cosines(p, axis) for axis, p in enumerate((x, y, z))]
        values: NDArray[np.float64] = np.einsum("abc,ap,bp,cp->p", self.coefficients, *bases)
        return values


def _cosines(position_mm: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    u = (position_mm - _FIELD_CENTRE_MM[axis]) / _FIELD_HALF_MM[axis]
    return np.stack([np.cos(n * np.pi * (u + 1) / 2) for n in range(_ORDERS)])


def _coarse_points() -> Points:
    y, z = np.meshgrid(np.arange(-135, -20, 6.0), np.arange(-75, 76, 6.0))
    return Points(
        np.arange(-150, 151, 6.0, dtype=np.float32), y.astype(np.float32), z.astype(np.float32)
    )


_COARSE = _coarse_points()


def draw_pose(
    rng: np.random.Generator, motion: float, voxel_mm: tuple[float, float, float], wall_mm: float
) -> Pose:
    """Draw how the patient lies in a phase, relative to the pre-contrast one.

    Parameters
    ----------
    motion
        Standard deviation in voxels; see `PhantomSettings`.
    voxel_mm
        Voxel size along (x, y, z).
    wall_mm
        y about which the patient pitches.
    """
    draws = np.clip(rng.standard_normal(4), -2, 2) * motion
    if motion == 0:
        return Pose()
    x, y, z = (float(d) * size for d, size in zip(draws, voxel_mm, strict=False))
    return Pose((x, y, z), float(draws[3]) * _PITCH_RAD_PER_VOXEL, (wall_mm, 0.0))


@dataclass(frozen=True)
class Scene:
    """All that decides one patient's clean signal."""

    anatomy: Anatomy
    tumour: Tumour
    field: CoilField
    num_posts: int
    tissue: Tissue = FAT_SUPPRESSED

    def dynamic(self, points: Points, phase: int) -> F32:
        """Return (K, R, C) signal of a phase without field, in units of glandular tissue.

        Parameters
        ----------
        points
            In the anatomy's own coordinates.
        phase
            0 before contrast medium.
        """
        signal = self.anatomy.signal(points, phase / self.num_posts, self.tissue)
        self.tumour.paint(signal, points, phase)
        return signal

    def plain(self, points: Points) -> F32:
        """Return (K, R, C) signal of the series that is not dynamic."""
        signal = self.anatomy.signal(points, 0.0, PLAIN_T1)
        self.tumour.paint(signal, points, 0)
        return signal


def acquire(
    signal: F32, log_field: F32, gain: float, noise: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Return stored values: field, Rician noise, rounding and the 12-bit limit.

    Parameters
    ----------
    signal
        (K, R, C) in units of glandular tissue; used as work space.
    log_field
        (K, R, C).
    gain
        Stored value of glandular tissue where the field is 1.
    noise
        Standard deviation in each channel, in units of glandular tissue.
    rng
        Source of the noise.

    References
    ----------
    Gudbjartsson, Patz, "The Rician distribution of noisy MRI data", MRM 34(6), 1995.
    """
    signal *= np.exp(log_field)
    if noise > 0:
        real = rng.standard_normal(signal.shape, dtype=np.float32)
        real *= np.float32(noise)
        real += signal
        imaginary = rng.standard_normal(signal.shape, dtype=np.float32)
        imaginary *= np.float32(noise)
        signal = np.hypot(real, imaginary, out=signal)
    signal *= np.float32(gain)
    return np.clip(np.rint(signal, out=signal), 0, LARGEST).astype(np.uint16)
