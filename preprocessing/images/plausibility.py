"""Whether cropped phases can be what a scanner acquired of one tumour: a last net of physics.

Each check reads voxels only and returns a finding with what it measured. Nothing is changed. A phase
that is constant, nearly all zeros or another phase's copy excludes the patient. The other checks
mark, unless the setting `implausible` says otherwise: a tumour that hardly enhances is a tumour.
Limits were set on real crops and on spoilt copies of them, see docs/decisions/0020-the-net-of-physics.md.

That posts stand in the wrong order among themselves cannot be told: a tumour may wash in or out.

Axis legend: P phases, R rows, C columns, S slices of the crop; r, c blocks of `_Blocks`; N pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Finding
from preprocessing.store import BIAS_STEP, REGION_PADDING, REGION_TUMOUR

# Of all findings that `find_implausible` returns; the first three always exclude.
CODES = (
    "phase-constant",
    "phase-mostly-zero",
    "phases-equal",
    "enhancement-reversed",
    "no-enhancement",
    "phase-subtraction",
    "phase-mirrored",
    "phase-displaced",
    "phase-unlike",
    "gain-differs",
    "phases-rescaled",
    "slices-equal",
    "slices-blank",
    "phase-saturated",
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
_Scalar = TypeVar("_Scalar", bound=np.generic)
Mask = NDArray[np.bool_]

# Shares of voxels that are exactly 0: of any phase, and of one where another phase has signal.
_MOSTLY_ZERO, _ZERO_BESIDE_SIGNAL = 0.98, 0.5
# Interpolation and a bias field spread the samples of one value by less, in shares of the largest.
_NEARLY_ONE_VALUE = 0.05
# What a linear function of another phase leaves over, in its standard deviations: real pairs 0.13
# and more, noise-free phantoms 0.011. Rounding to integers leaves a uniform rest of 12 ** -0.5.
_LINEAR_REST, _ROUNDING_REST, _LEAST_SD_TO_ROUND = 0.003, 0.32, 3.0
# Share of voxels at the largest value; data with few values are not judged.
_SATURATED, _FEW_VALUES = 0.01, 32
# Share of equal voxels in two phases' slices with noise of their own: real 8-bit ones 0.12.
_DIFFERS = 0.5
# Of more voxels some are looked at, and this many slices of blocks.
_MANY, _NUM_SLICES = 100_000, 16
_MOST_CLAUSES = 4
# Fewer voxels are no image; fewer blocks or samples than this tell nothing of likeness, gain or saturation.
_FEWEST_VOXELS, _FEWEST = 8, 100
# Fisher's z of correlations: least likeness, lead of a mirrored or a displaced phase.
_UNLIKE, _MIRRORED, _DISPLACED = 0.25, 0.2, 0.5
# Of a phase that may be a subtraction, its likeness to the pre-contrast.
_SUBTRACTION_UNLIKE = 0.87
# Gain to the pre-contrast: least tenth of the tissue, and median; of a post to the one before: median.
_GAIN_HIGH, _GAIN_LOW = 1.9, 0.75
_STEP_HIGH, _STEP_LOW = 1.8, 0.65
# Of the region: mean enhancement against the pre-contrast, its bright tenth in units of noise, and
# standard errors.
_ENHANCED, _BRIGHT_SD, _REVERSED_SE = 0.05, 3.0, 5.0
# Noise is never taken for less than this share of the region's signal: 12-bit images without noise.
_LEAST_NOISE = 0.01
# Tissue is brighter than this share of the bright tenth.
_TISSUE = 0.25
_LARGEST_R = 0.9999
_MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Acquired:
    """A patient's phases before anything was done to their voxels; read for the suspicious only.

    Parameters
    ----------
    in_crop
        Returns the voxels of a phase that lie in the crop, in any order.
    are_equal
        Whether two phases hold the same voxels, in the crop and elsewhere.
    """

    in_crop: Callable[[int], F32]
    are_equal: Callable[[int, int], bool]


def find_implausible(
    images: F32, region: NDArray[np.uint8], log_field: F32 | None, acquired: Acquired
) -> tuple[Finding, ...]:
    """Return what no examination shows, those that exclude first; nothing else is then judged.

    Parameters
    ----------
    images
        Float32 (P, R, C, S), finite, as they would be stored.
    region
        Uint8 (R, C, S), bits of tumour and padding.
    log_field
        Float32 log bias field at every `BIAS_STEP`-th voxel, if one was divided out.
    acquired
        The phases as they were read.
    """
    inside: Mask = (region & REGION_PADDING) == 0
    if inside.sum() < _FEWEST_VOXELS:
        return ()
    raw = _raw_samples(images, inside, log_field)
    constant = dict(_constant(acquired, raw))
    empty = constant | {k: v for k, v in _mostly_zero(images, inside) if k not in constant}
    if empty:
        return tuple(empty.values())
    equal = _equal(images, acquired)
    if any(finding.excludes for finding in equal):
        return tuple(equal)
    tumour: Mask = ((region & REGION_TUMOUR) != 0) & inside
    blocks = _Blocks.of(images, inside, tumour)
    likeness = dict(_likeness(blocks))
    elsewhere = {*likeness.get("phase-subtraction", ()), *likeness.get("phase-mirrored", ())}
    found = {
        **dict(_slices(images, inside)),
        "phases-rescaled": [] if equal else _rescaled(raw),
        "phase-saturated": _saturated(raw),
        **{code: list(clauses.values()) for code, clauses in likeness.items()},
        **dict(_enhancement(images, inside, tumour, elsewhere)),
    }
    marks = (
        Finding(code, _joined(clauses), excludes=False)
        for code, clauses in found.items()
        if clauses
    )
    return (*equal, *marks)


def _joined(clauses: Sequence[str]) -> str:
    more = len(clauses) - _MOST_CLAUSES
    return "; ".join(clauses[:_MOST_CLAUSES]) + (f"; and {more} more" if more > 0 else "")


def _name(phase: int) -> str:
    return f"phase {phase}" if phase else "the pre-contrast"


# --- what no phase can be ---------------------------------------------------------------------


def _constant(acquired: Acquired, raw: F64) -> Iterator[tuple[int, Finding]]:
    """Find phases with one value; those whose samples nearly agree are read again."""
    for p, samples in enumerate(raw):
        if samples.size and np.ptp(samples) > _NEARLY_ONE_VALUE * np.abs(samples).max():
            continue
        values = acquired.in_crop(p)
        if values.size and np.ptp(values) == 0:
            message = f"{_name(p)} has the value {values.flat[0]:.6g} in every voxel of the crop"
            yield p, Finding("phase-constant", message)


def _mostly_zero(images: F32, inside: Mask) -> Iterator[tuple[int, Finding]]:
    """Find phases that are nearly all 0, or 0 where another phase has signal."""
    step = 4 if images[0].size > _MANY else 1
    some: Mask = images[:, ::step, ::step][:, inside[::step, ::step]] != 0
    signal = some.any(axis=0)
    if not signal.any():
        return
    for p, own in enumerate(some):
        zeros, beside = 1 - float(own.mean()), 1 - float(own[signal].mean())
        if beside > _ZERO_BESIDE_SIGNAL:
            where = f"{beside:.0%} of the voxels where another phase has signal"
        elif zeros > _MOSTLY_ZERO:
            where = f"{zeros:.1%} of the crop"
        else:
            continue
        yield p, Finding("phase-mostly-zero", f"{_name(p)} is 0 in {where}")


def _equal(images: F32, acquired: Acquired) -> list[Finding]:
    """Find phases that hold the same voxels. Two acquisitions never do: each has its own noise."""
    copies: list[str] = []
    alike: list[str] = []
    for a, b in combinations(range(len(images)), 2):
        if np.array_equal(images[a, ::4, ::4], images[b, ::4, ::4]) and np.array_equal(
            images[a], images[b]
        ):
            (copies if acquired.are_equal(a, b) else alike).append(f"{_name(a)} and {_name(b)}")
    found = []
    if copies:
        message = f"{_joined(copies)} hold the same voxels: one is a copy of the other"
        found.append(Finding("phases-equal", message))
    if alike:
        message = f"{_joined(alike)} hold the same voxels in the crop, though not elsewhere"
        found.append(Finding("phases-equal", message, excludes=False))
    return found


# --- parts of phases --------------------------------------------------------------------------

_AXES = ("rows", "columns", "slices")


def _slices(images: F32, inside: Mask) -> Iterator[tuple[str, list[str]]]:
    """Describe slices along any axis that two phases share, or that are blank in one phase only."""
    shared, blank = [], []
    for axis, what in enumerate(_AXES):
        if images.shape[axis + 1] < 2:
            continue
        vary = _varying(images, inside, axis)
        for a, b in combinations(range(len(images)), 2):
            num = _num_shared(images, axis, a, b, vary)
            if num:
                shared.append(f"{num} {what} of {_name(a)} are those of {_name(b)}")
        for p, num in enumerate(_num_blank(images, inside, axis, vary)):
            if num:
                blank.append(f"{num} {what} of {_name(p)} are blank and not so in other phases")
    yield "slices-equal", shared
    yield "slices-blank", blank


def _every_fourth(axis: int) -> tuple[slice, slice, slice]:
    r, c, s = (slice(None) if a == axis else slice(None, None, 4) for a in range(3))
    return r, c, s


def _varying(images: F32, inside: Mask, axis: int) -> Mask:
    """Return (P, slices along axis) whether a slice has more than one value inside the image."""
    step = _every_fourth(axis)
    others = tuple(a for a in (1, 2, 3) if a != axis + 1)
    some, there = images[(slice(None), *step)], inside[step]
    high = some.max(axis=others, where=there, initial=-np.inf)
    low = some.min(axis=others, where=there, initial=np.inf)
    found: Mask = high > low
    return found


def _num_blank(images: F32, inside: Mask, axis: int, vary: Mask) -> list[int]:
    """Return for each phase how many of its slices are blank where another phase shows tissue."""
    if vary.all():
        return [0] * len(images)
    step = _every_fourth(axis)
    others = tuple(a for a in (1, 2, 3) if a != axis + 1)
    sums = np.sum(images[(slice(None), *step)], axis=others, where=inside[step], dtype=np.float64)
    means = sums / np.maximum(inside[step].sum(axis=tuple(a - 1 for a in others)), 1)
    tissue = vary & (means > _TISSUE * means.mean(axis=1, keepdims=True))
    return [int((~own & tissue.any(axis=0)).sum()) for own in vary]


def _num_shared(images: F32, axis: int, a: int, b: int, vary: Mask) -> int:
    """Return how many slices two phases share, if the slices beside those differ all over.

    Without noise, slices of tissue that takes up nothing are equal too; beside them lie slices that
    are equal in part.
    """
    step = _every_fourth(axis)
    others = tuple(i for i in range(3) if i != axis)
    share = (images[a][step] == images[b][step]).mean(axis=others)
    alike = (share == 1) & vary[a] & vary[b]
    for k in np.flatnonzero(alike):
        alike[k] = np.array_equal(images[a].take(k, axis), images[b].take(k, axis))
    beside = np.zeros_like(alike)
    beside[1:] |= alike[:-1]
    beside[:-1] |= alike[1:]
    return int(alike.sum()) if (share[beside & ~alike] < _DIFFERS).any() else 0


# --- the scanner's own values -----------------------------------------------------------------


def _raw_samples(images: F32, inside: Mask, log_field: F32 | None) -> F64:
    """Return (P, some voxels) as they were before the bias field was divided out."""
    n = BIAS_STEP if log_field is not None or images[0].size > _MANY else 1
    some = images[:, ::n, ::n, ::n].astype(np.float64)
    if log_field is not None:
        some *= np.exp(log_field.astype(np.float64))
    return some[:, inside[::n, ::n, ::n]]


def _rescaled(raw: F64) -> list[str]:
    """Describe phases that are a linear function of another: copies with another slope or intercept."""
    num = raw.shape[1]
    if num < _FEWEST:
        return []
    centred = raw - raw.mean(axis=1, keepdims=True)
    squares = (centred**2).sum(axis=1)
    limits = [
        _linear_limit(values, float(sd))
        for values, sd in zip(raw, (squares / num) ** 0.5, strict=True)
    ]
    found, told = [], set[int]()
    for a, b in combinations(np.flatnonzero(squares > 0).tolist(), 2):
        if b in told:
            continue
        slope = float(centred[a] @ centred[b] / squares[a])
        rest = float(((centred[b] - slope * centred[a]) ** 2).mean()) ** 0.5
        if rest < limits[b]:
            plus = float(raw[b].mean() - slope * raw[a].mean())
            shift = f" {plus:+.4g}" if abs(plus) > limits[b] else ""
            told.add(b)
            found.append(f"{_name(b)} is {_name(a)} × {slope:.4g}{shift}, without noise of its own")
    return found


def _linear_limit(values: F64, sd: float) -> float:
    whole = sd > _LEAST_SD_TO_ROUND and np.allclose(values, np.rint(values), rtol=0, atol=0.01)
    return max(_LINEAR_REST * sd, _ROUNDING_REST if whole else 0.0)


def _saturated(raw: F64) -> list[str]:
    """Describe phases with more than a few voxels at the largest value."""
    if raw.shape[1] < _FEWEST:
        return []
    found = []
    for p, values in enumerate(raw):
        top = float(values.max())
        share = float((values >= top - 2e-6 * abs(top)).mean())
        if share > _SATURATED and len(np.unique(np.round(values, 3))) > _FEW_VALUES:
            found.append(f"{share:.1%} of {_name(p)} have its largest value, {top:.4g}")
    return found


# --- whether phases show the same tissue ------------------------------------------------------


@dataclass(frozen=True)
class _Blocks:
    """Means over a few voxels of each block of a slice: little noise, and little to compute.

    Parameters
    ----------
    all_slices, all_inside
        (P, r, c, S) intensities, at most 1, and (r, c, S) whether all of a block is in the image.
    values, inside
        The same of some slices, evenly spread from the first to the last.
    tissue
        Blocks of `inside` that are brighter than air, without the tumour if there are enough.
    size
        Voxels along the side of a block.
    """

    all_slices: F32
    all_inside: Mask
    values: F32
    inside: Mask
    tissue: Mask
    size: int

    @staticmethod
    def of(images: F32, inside: Mask, tumour: Mask) -> _Blocks:
        short = min(images.shape[1:3])
        size = 4 * max(1, short // 128) if short >= 32 else 2 if short >= 8 else 1
        corners = _corners(size)
        values = _cut(images, size, *corners[0]).copy()
        for at in corners[1:]:
            values += _cut(images, size, *at)
        largest = float(np.abs(values).max(initial=0.0)) or 1.0
        values /= np.float32(largest)
        there = np.logical_and.reduce([_cut(inside[None], size, *at)[0] for at in corners])
        marked = np.logical_or.reduce([_cut(tumour[None], size, *at)[0] for at in corners])
        num = values.shape[3]
        chosen = np.rint(np.linspace(0, num - 1, min(num, _NUM_SLICES))).astype(int)
        some, kept = values[..., chosen], there[..., chosen]
        tissue = _tissue(some, kept)
        rest = tissue & ~marked[..., chosen]
        if rest.sum() >= _FEWEST:
            tissue = rest
        return _Blocks(values, there, some, kept, tissue, size)

    @property
    def tell(self) -> bool:
        """Whether there are enough of them, and phases to compare."""
        return len(self.values) > 1 and int(self.tissue.sum()) >= _FEWEST

    @cached_property
    def log_tissue(self) -> F32:
        """(P, tissue blocks) logarithms; what is not positive counts as next to nothing."""
        values = self.values[:, self.tissue]
        least = 1e-3 * max(float(np.median(values)), float(np.finfo(np.float32).tiny))
        return np.asarray(np.log(np.maximum(values, np.float32(least))))


def _tissue(values: F32, inside: Mask) -> Mask:
    """Return the blocks whose middle phase is brighter than air."""
    middle = np.median(values, axis=0)
    bright = float(np.percentile(middle[inside], 90)) if inside.any() else 0.0
    found: Mask = inside & (middle > _TISSUE * bright)
    return found


def _corners(size: int) -> list[tuple[int, int]]:
    half = size // 2
    return [(0, 0), (0, half), (half, 0), (half, half)] if size > 1 else [(0, 0)]


def _cut(array: NDArray[_Scalar], size: int, row: int, column: int) -> NDArray[_Scalar]:
    rows, columns = (n - n % size for n in array.shape[1:3])
    found: NDArray[_Scalar] = array[:, row:rows:size, column:columns:size]
    return found


def _likeness(blocks: _Blocks) -> Iterator[tuple[str, dict[int, str]]]:
    """Describe phases that show something else than the others, mirrored, displaced or with another gain."""
    if not blocks.tell:
        return
    z = _fisher(_correlations(blocks.values[:, blocks.inside], blocks.values[:, blocks.inside]))
    mirrored = _mirrored(blocks, z)
    displaced = {p: v for p, v in _displaced(blocks).items() if p not in mirrored}
    gains = _gains(blocks, {*mirrored, *displaced})
    subtractions = {
        p: f"{_name(p)} has {gain:.2g} times the pre-contrast's signal in tissue and correlates with"
        f" it by {np.tanh(z[0, p]):.2f}: it may be a subtraction"
        for p, gain in gains.low.items()
        if p not in mirrored and z[0, p] < _like_a_subtraction(blocks, p, gains.low)
    }
    explained = {*mirrored, *displaced, *subtractions}
    yield "phase-subtraction", subtractions
    yield "phase-mirrored", mirrored
    yield "phase-displaced", displaced
    yield "phase-unlike", {p: v for p, v in _unlike(z).items() if p not in explained}
    yield "gain-differs", {p: v for p, v in gains.clauses.items() if p not in explained}


def _like_a_subtraction(blocks: _Blocks, phase: int, low: Mapping[int, float]) -> float:
    """Return below which likeness to the pre-contrast a dark phase may be a subtraction.

    One is more like another post minus the pre-contrast, or another subtraction, than the pre-contrast.
    """
    values = blocks.values[:, blocks.inside]
    others = [q for q in range(1, len(values)) if q != phase]
    if not others:
        return _SUBTRACTION_UNLIKE
    made = np.stack([values[q] if q in low else values[q] - values[0] for q in others])
    best = _fisher(_correlations(values[phase : phase + 1], made)).max()
    return min(float(best), _SUBTRACTION_UNLIKE)


def _correlations(one: F32, other: F32) -> F64:
    """Return (P, Q) correlations of rows (P, N) and rows (Q, N); 0 where a row is constant."""
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (one, other))
    squares = [np.einsum("pn,pn->p", x, x, dtype=np.float64) for x in (a, b)]
    norms = np.sqrt(np.outer(*squares))
    products = np.asarray(a @ b.T, dtype=np.float64)
    found: F64 = np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)
    return found


def _fisher(r: F64) -> F64:
    return np.asarray(np.arctanh(np.clip(r, -_LARGEST_R, _LARGEST_R)))


def _unlike(z: F64) -> dict[int, str]:
    """Describe phases that correlate with no other one."""
    best = {p: float(np.delete(z[p], p).max()) for p in range(len(z))}
    odd = [p for p, value in best.items() if value < _UNLIKE]
    if len(odd) == len(z):
        odd = odd[1:]  # unlike each other: the pre-contrast is what the others are compared with
    return {
        p: f"{_name(p)} does not show what the other phases show: the largest correlation is"
        f" {np.tanh(best[p]):.2f}"
        for p in odd
    }


def _mirrored(blocks: _Blocks, z: F64) -> dict[int, str]:
    """Describe posts that fit the pre-contrast better when mirrored within the crop."""
    best: dict[int, tuple[float, str]] = {}
    pre = blocks.values[:1]
    for axes, what in (((0,), "rows"), ((1,), "columns"), ((2,), "slices"), ((0, 1), "both")):
        common = blocks.inside & np.flip(blocks.inside, axes)
        if common.sum() < _FEWEST:
            continue
        turned = np.flip(blocks.values, tuple(a + 1 for a in axes))
        flipped = _fisher(_correlations(pre[:, common], turned[:, common]))[0]
        for p in range(1, len(z)):
            if flipped[p] - z[0, p] > max(_MIRRORED, best.get(p, (0.0, ""))[0]):
                along = "rows and columns" if what == "both" else what
                text = (
                    f"{_name(p)} correlates with the pre-contrast by {np.tanh(z[0, p]):.2f}, and by"
                    f" {np.tanh(flipped[p]):.2f} when its {along} are reversed"
                )
                best[p] = float(flipped[p] - z[0, p]), text
    return {p: text for p, (_, text) in best.items()}


def _displaced(blocks: _Blocks) -> dict[int, str]:
    """Describe phases that fit every other phase better when shifted: by blocks, or by slices."""
    best: dict[int, tuple[float, str]] = {}
    for axis, unit in ((0, "rows"), (1, "columns"), (2, "slices")):
        thin = _thinned(blocks, axis)
        for steps in (k for n in (1, 2, 4) for k in (n, -n) if n <= thin.shape[axis + 1] // 4):
            size = abs(steps) * (1 if axis == 2 else blocks.size)
            for p, lead in enumerate(_lead_of_shift(thin, axis, steps)):
                if lead > best.get(p, (_DISPLACED, ""))[0]:
                    best[p] = (lead, f"{size} {unit}")
    if len(best) == len(blocks.values):
        del best[0]  # of two phases: the post is compared with the pre-contrast
    return {
        p: f"{_name(p)} fits the other phases better when shifted by about {by}"
        for p, (_, by) in best.items()
    }


def _thinned(blocks: _Blocks, axis: int) -> F32:
    """Return fewer blocks, all along `axis`; the padding holds the mean, which fits anything."""
    shape = blocks.all_inside.shape
    r, c, s = (slice(None, None, 1 if a == axis else max(1, n // 8)) for a, n in enumerate(shape))
    values, inside = blocks.all_slices[:, r, c, s], blocks.all_inside[r, c, s]
    if inside.all():
        return values
    values = values.copy()
    for phase in values:
        phase[~inside] = phase[inside].mean() if inside.any() else 0.0
    return values


def _lead_of_shift(values: F32, axis: int, steps: int) -> list[float]:
    """Return by how much each phase fits all others better when shifted than where it is."""
    num = len(values)
    ahead: list[slice] = [slice(None)] * 4
    behind: list[slice] = [slice(None)] * 4
    ahead[axis + 1], behind[axis + 1] = slice(abs(steps), None), slice(None, -abs(steps))
    one, other = (
        values[tuple(part)].reshape(num, -1)
        for part in ((ahead, behind) if steps > 0 else (behind, ahead))
    )
    apart = _fisher(_correlations(one, other))
    together = (_fisher(_correlations(one, one)) + _fisher(_correlations(other, other))) / 2
    lead = apart - together
    np.fill_diagonal(lead, np.inf)
    return [float(v) for v in lead.min(axis=1)]


@dataclass(frozen=True)
class _Gains:
    """What phases differ in over tissue outside of the tumour: (phase, clause), and those too dark."""

    clauses: dict[int, str]
    low: dict[int, float]


def _gains(blocks: _Blocks, left_out: Collection[int]) -> _Gains:
    """Compare each post with the pre-contrast and with the post before."""
    logs = blocks.log_tissue
    clauses: dict[int, str] = {}
    low: dict[int, float] = {}
    before = 0
    for p in (p for p in range(1, len(logs)) if p not in left_out):
        least, median = (float(np.exp(v)) for v in np.percentile(logs[p] - logs[0], (10, 50)))
        step = float(np.exp(np.median(logs[p] - logs[before]))) if before else 1.0
        if median < _GAIN_LOW:
            low[p] = median
        if median < _GAIN_LOW or least > _GAIN_HIGH:
            clauses[p] = _gain_text(p, 0, median)
        elif not _STEP_LOW <= step <= _STEP_HIGH:
            clauses[p] = _gain_text(p, before, step)
        if p not in low:
            before = p
    return _Gains(clauses, low)


def _gain_text(phase: int, other: int, ratio: float) -> str:
    return (
        f"{_name(phase)} has {ratio:.2g} times the signal of {_name(other)} in tissue outside of the"
        " tumour"
    )


# --- whether the tumour takes up contrast -----------------------------------------------------


def _enhancement(
    images: F32, inside: Mask, tumour: Mask, left_out: Collection[int]
) -> Iterator[tuple[str, list[str]]]:
    """Describe a region that no post enhances, or that a post shows darker than the pre-contrast."""
    posts = [p for p in range(1, len(images)) if p not in left_out]
    if not posts or not tumour.any():
        return
    before = images[0][tumour].astype(np.float64)
    level = abs(float(before.mean()))
    uptakes = [_Uptake.of(p, images, before, inside, tumour, level) for p in posts]
    darker = [u for u in uptakes if u.is_reversed(level)]
    texts = [
        f"{_name(u.phase)} is darker than the pre-contrast in the tumour: {_percent(u.mean, level)},"
        f" {u.mean / u.noise:.1f} times the noise"
        for u in darker
    ]
    yield "enhancement-reversed", [*texts, "phases may be in the wrong order"] if texts else []
    if not darker and not left_out and not any(u.is_enhanced(level) for u in uptakes):
        most = max(uptakes, key=lambda u: u.mean)
        text = (
            f"the tumour takes up no contrast in any phase: at most {_percent(most.mean, level)} in"
            f" {_name(most.phase)}, {most.mean / most.noise:.1f} times the noise"
        )
        yield "no-enhancement", [text]


def _percent(value: float, level: float) -> str:
    return f"{value / level:+.0%}" if level > 0 else f"{value:+.4g}"


@dataclass(frozen=True)
class _Uptake:
    """A post minus the pre-contrast over the tumour.

    Parameters
    ----------
    mean, bright
        The mean, and the value that a tenth of the voxels exceeds.
    noise
        Standard deviation of the difference where nothing changes.
    """

    phase: int
    mean: float
    bright: float
    noise: float
    num_voxels: int

    @staticmethod
    def of(
        phase: int, images: F32, before: F64, inside: Mask, tumour: Mask, level: float
    ) -> _Uptake:
        change = images[phase][tumour] - before
        noise = max(_noise(images[phase], images[0], inside), _LEAST_NOISE * level)
        noise = noise or float(np.finfo(np.float32).tiny)
        return _Uptake(
            phase, float(change.mean()), float(np.percentile(change, 90)), noise, change.size
        )

    def is_enhanced(self, level: float) -> bool:
        """Whether the region, or a part of it, is brighter than before contrast."""
        return self.mean > _ENHANCED * level or self.bright > _BRIGHT_SD * self.noise

    def is_reversed(self, level: float) -> bool:
        """Whether the region is darker than before contrast, by more than chance."""
        error = self.noise / float(np.sqrt(self.num_voxels))
        return self.mean < -_ENHANCED * level and self.mean < -_REVERSED_SE * error


def _noise(post: F32, pre: F32, inside: Mask) -> float:
    """Return the noise of post − pre: second differences along columns, in which anatomy cancels."""
    n, m = (4, 4) if post.size > _MANY else (1, 1)
    change, there = post[::n, :, ::m] - pre[::n, :, ::m], inside[::n, :, ::m]
    if change.shape[1] < 3:
        return 0.0
    second = change[:, :-2] - 2 * change[:, 1:-1] + change[:, 2:]
    bright = pre[::n, 1:-1, ::m]
    chosen = there[:, :-2] & there[:, 2:]
    if chosen.any():
        chosen &= bright > _TISSUE * np.percentile(bright[chosen][::7], 90)
    values = second[chosen]
    return float(_MAD_TO_SD * np.median(np.abs(values)) / 6**0.5) if values.size else 0.0
