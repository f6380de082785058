"""Smooth random fields over the patient, the source of every irregular form in the phantom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from preprocessing.phantom.geometry import F32, Points

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
