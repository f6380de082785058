"""One examination under two ids: found by looking at the crops, whatever their files are called.

Axis legend: R rows, C columns, S slices of a crop; T shifts, K points that are compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

# In voxels of the crop. Two readers' boxes round one tumour lie this far apart; slices are thicker.
_REACH, _REACH_SLICES = 8, 2
_STEP = 2
_GRID, _GRID_SLICES = 4, 2
# More of the grid's points tell no more, and cost time for every pair.
_MOST_POINTS = 2000
# With fewer points two breasts look alike; then only a crop at the same place is compared.
_ENOUGH_POINTS = 1000
# Of 134 real crops no two patients came above 0.51, and a crop that was shifted by up to 8 voxels,
# rescaled and made noisy not below 0.92.
_SIMILAR, _SAME = 0.9, 0.99
# In cohorts that are more alike, such as phantoms, a duplicate is this many times closer to 1 than all
# but a tenth of the pairs.
_TIMES_CLOSER, _ORDINARY = 3, 0.9
_ENOUGH_PAIRS = 100


@dataclass(frozen=True)
class Duplicate:
    """Two patients with what looks like one examination.

    Parameters
    ----------
    similarity
        Correlation of their pre-contrast crops without slow changes, at most 1.
    """

    first: str
    second: str
    similarity: float


class CropComparer:
    """Compares pre-contrast crops of one shape, each with all before it."""

    def __init__(self, crop_shape: tuple[int, int, int]) -> None:
        rows, columns, slices = crop_shape
        reach = min(_REACH, min(rows, columns) // 8 // _STEP * _STEP)
        points = _grid(rows, columns, slices, reach, _REACH_SLICES)
        self._least = _SIMILAR
        if len(points) < _ENOUGH_POINTS:
            points, reach = _grid(rows, columns, slices, 0, 0), 0
            self._least = _SAME
        keep = np.random.default_rng(0).permutation(len(points))[:_MOST_POINTS]
        self._points = points[np.sort(keep)]
        self._shifts = _shifts(reach, _REACH_SLICES if reach else 0)
        self._seen: list[NDArray[np.float32]] = []

    def add(self, pre: NDArray[np.int16]) -> NDArray[np.float32]:
        """Take up a patient; return how similar the ones before are: (patients before,), at most 1.

        Parameters
        ----------
        pre
            (R, C, S).
        """
        shifted = self._fingerprints(pre)
        found = np.zeros(0, dtype=np.float32)
        if self._seen:
            found = np.minimum((np.stack(self._seen) @ shifted.T).max(axis=1), 1)
        self._seen.append(shifted[len(self._shifts) // 2])
        return found

    def threshold(self, similarities: NDArray[np.float32]) -> float:
        """Return from which similarity on two crops show one examination, given that of all pairs."""
        if len(similarities) < _ENOUGH_PAIRS:
            return self._least
        ordinary = float(np.quantile(similarities, _ORDINARY))
        return max(self._least, 1 - (1 - ordinary) / _TIMES_CLOSER)

    def _fingerprints(self, pre: NDArray[np.int16]) -> NDArray[np.float32]:
        """Return, for each shift, what is seen at the points: (T, K), mean 0 and length 1."""
        fine = _without_slow_changes(pre)
        rows = np.stack([fine[tuple((self._points + shift).T)] for shift in self._shifts])
        rows -= rows.mean(axis=1, keepdims=True)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        # A crop without any contrast is like none.
        unit: NDArray[np.float32] = np.divide(
            rows, length, out=np.zeros_like(rows), where=length > 0
        )
        return unit


def find_duplicates(
    crop_shape: tuple[int, int, int], crops: Iterable[tuple[str, NDArray[np.int16]]]
) -> tuple[Duplicate, ...]:
    """Return all pairs of patients whose crops show one examination, the most similar first.

    Parameters
    ----------
    crops
        Patient id and pre-contrast crop (R, C, S) of each patient.
    """
    comparer, ids = CropComparer(crop_shape), list[str]()
    rows = []
    for patient_id, pre in crops:
        rows.append(comparer.add(pre))
        ids.append(patient_id)
    if not rows:
        return ()
    threshold = comparer.threshold(np.concatenate(rows))
    found = [
        Duplicate(ids[first], ids[second], float(row[first]))
        for second, row in enumerate(rows)
        for first in np.flatnonzero(row >= threshold)
    ]
    return tuple(sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second)))


def _without_slow_changes(pre: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return a crop between two scales: neither its noise nor the coil's and the breast's shading."""
    images = pre.astype(np.float32)
    fine = gaussian_filter(images, (_GRID / 2, _GRID / 2, _GRID_SLICES / 2), truncate=3)
    slow = gaussian_filter(images, (1.5 * _GRID, 1.5 * _GRID, 1.5 * _GRID_SLICES), truncate=2)
    difference: NDArray[np.float32] = fine - slow
    return difference


def _grid(rows: int, columns: int, slices: int, reach: int, reach_slices: int) -> NDArray[np.intp]:
    """Return the points of a crop that stay inside it wherever they are shifted: (K, 3)."""
    axes = (
        range(reach, rows - reach, _GRID),
        range(reach, columns - reach, _GRID),
        range(
            min(reach_slices, slices // 2),
            max(slices - reach_slices, slices // 2 + 1),
            _GRID_SLICES,
        ),
    )
    return np.array(list(itertools.product(*axes)), dtype=np.intp)


def _shifts(reach: int, reach_slices: int) -> Sequence[tuple[int, int, int]]:
    """Return all shifts, none being in the middle."""
    in_plane = range(-reach, reach + 1, _STEP)
    return list(itertools.product(in_plane, in_plane, range(-reach_slices, reach_slices + 1)))
