"""Balance the targets of a split by swaps of patients.

Dealing along a Gray code bounds each combination of labels, and so leaves a single target off by
some patients: each combination may fall to the same side. Here two patients of different parts change
places wherever that brings the counts of single labels nearer to their share. A patient is moved only
from a part that has more than its share of the patient's combination to one that has less, so that the
bounds on combinations stay as dealing made them, and so do the sizes of parts.

A deal whose single labels are all within one patient of their share is left as it is. From a local
optimum the search goes on after random swaps; all of it depends on the generator given.

Axis legend: N patients, T targets, K parts, C combinations of labels, M = 1 + 3T counts of a part: its
size, and of each target the patients of label 0, 1 and missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL

BALANCED = "dealt along a Gray code, single labels evened by swaps"
"""What a split says of how it was dealt; those before have nothing."""

_Floats = NDArray[np.float64]

_VALUES = np.array([0, 1, MISSING_LABEL], dtype=np.int8)
# Sizes of parts come before all labels; who is missing a label matters least.
_SIZE, _LABEL, _MISSING = 1e4, 1.0, 0.05
# So many random swaps in a row that lead to nothing better end the search.
_KICKS = 60
_MOST_OF_A_KICK = 3
# Combinations compared at a time: with many targets nearly each patient has one alone.
_MOST_COMBINATIONS = 150
_MOST_SWAPS = 400
_LESS_THAN_ONE = 1 - 1e-6


def count_labels(labels: NDArray[np.int8]) -> _Floats:
    """Return how many patients have label 0, 1 and none of each target: (T, 3)."""
    return np.asarray((labels[:, :, None] == _VALUES).sum(axis=0), dtype=np.float64)


def balance_parts(
    labels: NDArray[np.int8],
    part_of: NDArray[np.int64],
    shares: _Floats,
    generator: np.random.Generator,
    *,
    fixed: Sequence[NDArray[np.int8]] = (),
    due: _Floats | None = None,
) -> NDArray[np.int64]:
    """Return the part of each patient after swaps.

    Parameters
    ----------
    labels
        int8 (N, T) of 0, 1 or -1.
    part_of
        (N,) as dealt.
    shares
        (K,) of all patients that each part has, with a sum of 1.
    fixed
        Labels of the patients that each part had before, none of which is moved; empty where it had none.
    due
        (K, T, 3) of the patients with each label that each part should have; by default its share.
    """
    num_parts = len(shares)
    before = fixed or [labels[:0]] * num_parts
    everyone = np.concatenate([labels, *before])
    kinds, kind_of = np.unique(everyone, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    part_of_all = np.concatenate(
        [part_of, *(np.full(len(rows), k) for k, rows in enumerate(before))]
    )
    counts = np.zeros((len(kinds), num_parts), dtype=np.int64)
    np.add.at(counts, (kind_of, part_of_all), 1)
    movable = np.zeros_like(counts)
    np.add.at(movable, (kind_of[: len(labels)], part_of), 1)
    members = np.concatenate(
        [np.ones((len(kinds), 1)), (kinds[:, :, None] == _VALUES).reshape(len(kinds), -1)], axis=1
    )
    wanted = shares[:, None] * (counts.sum(axis=1) @ members)
    if due is not None:
        wanted[:, 1:] = due.reshape(num_parts, -1)
        wanted[:, 0] = counts.sum(axis=0)
    search = _Search(members, counts.sum(axis=1)[:, None] * shares, wanted, generator)
    found = search.run(_State(counts, movable))
    return _moved(part_of, kind_of[: len(labels)], found.movable, generator)


def most_off(
    labels: NDArray[np.int8], part_of: NDArray[np.int64], shares: NDArray[np.float64]
) -> float:
    """Return by how many patients of label 0 or 1 of a target a part is off its share, at most."""
    due = count_labels(labels)[:, :2]
    found = (count_labels(labels[part_of == k])[:, :2] - s * due for k, s in enumerate(shares))
    return max(float(np.abs(off).max()) for off in found)


@dataclass(frozen=True)
class _State:
    """Patients of each combination in each part, and those of them that may be moved: (C, K) both."""

    counts: NDArray[np.int64]
    movable: NDArray[np.int64]

    def after(self, moves: Sequence[tuple[int, int, int]]) -> _State:
        """Return the state after one patient of each (combination, from, to) was moved."""
        counts, movable = self.counts.copy(), self.movable.copy()
        for kind, start, stop in moves:
            for table in (counts, movable):
                table[kind, start] -= 1
                table[kind, stop] += 1
        return _State(counts, movable)


@dataclass(frozen=True)
class _Swap:
    """What is moved, and by how much that changes the cost."""

    moves: tuple[tuple[int, int, int], ...]
    change: float


class _Search:
    """Descent by the best swap, again and again after random ones.

    Parameters
    ----------
    members
        (C, M) of 0 and 1: which counts a patient of a combination is in.
    kinds_due
        (C, K) share of each part in each combination.
    wanted
        (K, M) share of each part in each count.
    """

    def __init__(
        self,
        members: _Floats,
        kinds_due: _Floats,
        wanted: _Floats,
        generator: np.random.Generator,
    ) -> None:
        self._members, self._kinds_due, self._wanted = members, kinds_due, wanted
        self._generator = generator
        num_targets = (members.shape[1] - 1) // 3
        self._weights = np.array([_SIZE, *[_LABEL, _LABEL, _MISSING] * num_targets])
        self._labels = self._weights == _LABEL
        self._squares = members @ self._weights
        self._pairs = list(combinations(range(len(wanted)), 2))

    def run(self, start: _State) -> _State:
        """Return the best state found: the start where nothing is off by a patient."""
        if self._rank(start)[0] == 0:
            return start
        now = best = min((start, self._descend(start)), key=self._rank)
        kicks = 0
        while self._rank(best)[0] > 0 and kicks < _KICKS:
            found = self._descend(self._kick(now))
            # Not only better ones: a search that goes along among equals gets further.
            if self._rank(found)[0] <= self._rank(now)[0]:
                now = found
            is_better = self._rank(found) < self._rank(best)
            best, kicks = (found, 0) if is_better else (best, kicks + 1)
        return best

    def _rank(self, state: _State) -> tuple[float, float]:
        """Return by how much labels are off that are off by a patient or more, and the cost."""
        off = self._off(state)
        far = np.abs(off[:, self._labels])
        beyond = far[far > _LESS_THAN_ONE].sum()
        return (round(float(beyond), 6), round(float((off**2 @ self._weights).sum()), 6))

    def _off(self, state: _State) -> _Floats:
        off: _Floats = state.counts.T @ self._members - self._wanted
        return off

    def _descend(self, state: _State) -> _State:
        for _ in range(_MOST_SWAPS):
            off = self._off(state)
            found = [s for pair in self._pairs if (s := self._best_swap(state, off, *pair))]
            swap = min(found, key=lambda s: s.change, default=None)
            if swap is None or swap.change > -1e-6:
                break
            state = state.after(swap.moves)
        return state

    def _kick(self, state: _State) -> _State:
        for _ in range(self._generator.integers(1, _MOST_OF_A_KICK + 1)):
            first, second = self._pairs[self._generator.integers(len(self._pairs))]
            there, back = self._movable(state, first, second), self._movable(state, second, first)
            if len(there) and len(back):
                c, d = self._generator.choice(there), self._generator.choice(back)
                state = state.after([(int(c), first, second), (int(d), second, first)])
        return state

    def _movable(self, state: _State, start: int, stop: int) -> NDArray[np.int64]:
        """Return the combinations of which a patient may be moved between two parts."""
        above = state.counts[:, start] > self._kinds_due[:, start] + 1e-9
        below = state.counts[:, stop] < self._kinds_due[:, stop] - 1e-9
        found = np.flatnonzero(above & below & (state.movable[:, start] > 0))
        if len(found) > _MOST_COMBINATIONS:
            found = np.sort(self._generator.choice(found, _MOST_COMBINATIONS, replace=False))
        return found

    def _best_swap(self, state: _State, off: _Floats, first: int, second: int) -> _Swap | None:
        """Return the best exchange of two parts; one of its sides may be empty where sizes differ."""
        there, back = self._movable(state, first, second), self._movable(state, second, first)
        # The last of each side is no patient.
        a = np.concatenate([self._members[there], np.zeros((1, self._members.shape[1]))])
        b = np.concatenate([self._members[back], np.zeros((1, self._members.shape[1]))])
        slope = 2 * self._weights * (off[first] - off[second])
        squares_a, squares_b = (np.append(self._squares[rows], 0) for rows in (there, back))
        apart = squares_a[:, None] + squares_b - 2 * (a * self._weights) @ b.T
        change = (b @ slope)[None, :] - (a @ slope)[:, None] + 2 * apart
        i, j = np.unravel_index(int(np.argmin(change)), change.shape)
        moves = [(int(there[i]), first, second)] if i < len(there) else []
        moves += [(int(back[j]), second, first)] if j < len(back) else []
        return _Swap(tuple(moves), float(change[i, j])) if moves else None


def _moved(
    part_of: NDArray[np.int64],
    kind_of: NDArray[np.int64],
    wanted: NDArray[np.int64],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the parts after as few patients were moved as give the wanted counts (C, K)."""
    result = part_of.copy()
    found = np.zeros_like(wanted)
    np.add.at(found, (kind_of, part_of), 1)
    for kind in np.flatnonzero((found != wanted).any(axis=1)):
        change = wanted[kind] - found[kind]
        leaving = [
            generator.choice(
                np.flatnonzero((kind_of == kind) & (part_of == part)), -num, replace=False
            )
            for part, num in enumerate(change.tolist())
            if num < 0
        ]
        places = np.repeat(np.arange(len(change)), np.maximum(change, 0))
        result[generator.permutation(np.concatenate(leaving))] = places
    return result
