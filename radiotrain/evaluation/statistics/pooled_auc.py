"""AUC of a cross-validated test: pairs of patients of one outer part only, pooled over all parts.

The networks of two parts differ in the level of their probabilities, so that a positive of one part and
a negative of another do not compare. Parts count by their pairs, so that each pair counts once: with one
part this is the plain AUC. A patient's influence on the pooled AUC is known (DeLong's placements); where
all patients are divided several times, a patient's influences in all repeats are summed up first, since
the same patient twice is not two patients.

All intervals and p values take the trained models as given: see docs/statistics.md.

Axis legend: m positives, n negatives of a part; N patients, each once; B resamples.

References
----------
LeDell, Petersen, van der Laan, Electronic Journal of Statistics 9 (2015) 1583-1607: cross-validated AUC
and its variance from influence curves. They weigh folds equally; with folds of one size and prevalence
that is the same.
DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845: the variance within a part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import norm, rankdata
from sklearn.metrics import roc_curve

from radiotrain.evaluation.statistics.auc import Interval, placement_counts
from radiotrain.evaluation.statistics.bootstrap import percentile_interval
from radiotrain.evaluation.statistics.comparison import Difference
from radiotrain.evaluation.statistics.paired_permutation import swap_parts
from radiotrain.evaluation.statistics.permutation import ChanceTest

_CELLS_AT_A_TIME = 2_000_000
_NONE = (math.nan, math.nan)
# Of an AUC: far less than half a pair of any test set, far more than rounding.
_ROUNDING = 1e-12

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Test patients of one outer part, whose probabilities are of the same models.

    Parameters
    ----------
    patient_ids
        (m + n,) texts.
    labels
        (m + n,) of 0 and 1.
    scores
        (m + n,) finite.
    """

    patient_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: Floats

    @property
    def num_pairs(self) -> int:
        """Positives times negatives."""
        num_positive = int(np.sum(self.labels == 1))
        return num_positive * (len(self.labels) - num_positive)


def pooled_auc(parts: Sequence[Part]) -> float:
    """Return the share of pairs within a part in which the positive scores higher, ties counting half.

    NaN where no part has both classes.
    """
    pairs = sum(part.num_pairs for part in parts)
    if not pairs:
        return math.nan
    wins = sum(float(placement_counts(*_by_label(part))[0].sum()) for part in parts)
    return wins / pairs


def pooled_variance(parts: Sequence[Part]) -> float:
    """Return the variance of the pooled AUC: the sum of squared influences of patients.

    Where each patient is in one part, it is the sum of DeLong's variances of the parts, each by the square
    of its share of pairs. NaN with fewer than two patients of a class.
    """
    found = _influences(parts, _patients(parts))
    return math.nan if found is None else float(found @ found)


def pooled_interval(parts: Sequence[Part], confidence: float = 0.95) -> Interval:
    """Return the pooled AUC ± z·SE, cut at 0 and 1; (NaN, NaN) where its variance is NaN or 0."""
    variance = pooled_variance(parts)
    if not variance > 0:
        return _NONE
    value = pooled_auc(parts)
    reach = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return max(0.0, value - reach), min(1.0, value + reach)


def pooled_difference(
    first: Sequence[Part], second: Sequence[Part], confidence: float = 0.95
) -> Difference:
    """Compare the pooled AUCs of two models on the same parts of the same patients.

    Special cases are those of `comparison.paired_difference`, which it is for one part.

    Parameters
    ----------
    first, second
        Parts with the same patients and labels.
    """
    value = pooled_auc(first) - pooled_auc(second)
    if math.isnan(value):
        return Difference(math.nan, math.nan, _NONE, math.nan, math.nan)
    pairs = list(zip(first, second, strict=True))
    if all(_rank_alike(one, other) for one, other in pairs):
        return Difference(0.0, 0.0, _NONE, 1.0, math.nan)
    index = _patients(first)
    ours, theirs = _influences(first, index), _influences(second, index)
    if ours is None or theirs is None:
        return Difference(value, math.nan, _NONE, math.nan, math.nan)
    spread = math.sqrt(float(ours @ ours) * float(theirs @ theirs))
    correlation = min(1.0, max(-1.0, float(ours @ theirs) / spread)) if spread else math.nan
    variance = float((ours - theirs) @ (ours - theirs))
    return _difference(value, variance, correlation, confidence)


def pooled_unpaired_difference(
    first: Sequence[Part], second: Sequence[Part], confidence: float = 0.95
) -> Difference:
    """Compare the pooled AUCs of two models on different patients."""
    value = pooled_auc(first) - pooled_auc(second)
    variance = pooled_variance(first) + pooled_variance(second)
    return _difference(value, variance, 0.0, confidence)


def pooled_bootstrap(
    parts: Sequence[Part], *, num_resamples: int = 10_000, seed: int = 0
) -> Floats:
    """Return the pooled AUC of resamples of patients, (B,).

    Patients are drawn within their class and their first part, and bring all their predictions with them,
    so that a patient who is tested in several repeats counts as one. With one seed the same patients are
    drawn whatever their scores.

    Returns
    -------
    Empty where no part has both classes.
    """
    if not sum(part.num_pairs for part in parts):
        return np.empty(0)
    index = _patients(parts)
    strata = list(_strata(parts, index))
    tables = [_Sorted.of(part, index) for part in parts]
    rng = np.random.default_rng(seed)
    batch = max(1, _CELLS_AT_A_TIME // len(index))
    found = []
    for start in range(0, num_resamples, batch):
        num = min(batch, num_resamples - start)
        drawn = np.zeros((num, len(index)), dtype=np.int64)
        for rows in strata:
            drawn[:, rows] = _count(rng, len(rows), num)
        found.append(_auc_of([table.counts(drawn) for table in tables]))
    return np.concatenate(found)


def pooled_bootstrap_interval(
    parts: Sequence[Part],
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of `pooled_bootstrap`; (NaN, NaN) where it has no meaning."""
    if math.isnan(pooled_variance(parts)):
        return _NONE
    drawn = pooled_bootstrap(parts, num_resamples=num_resamples, seed=seed)
    return percentile_interval(drawn[np.isfinite(drawn)], confidence)


def pooled_bootstrap_difference_interval(
    first: Sequence[Part],
    second: Sequence[Part],
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of the first pooled AUC less the second, on the same resamples."""
    if math.isnan(pooled_variance(first)):
        return _NONE
    drawn = [pooled_bootstrap(p, num_resamples=num_resamples, seed=seed) for p in (first, second)]
    return percentile_interval(drawn[0] - drawn[1], confidence)


def pooled_permutation_test(
    parts: Sequence[Part], *, num_permutations: int = 10_000, seed: int = 0
) -> ChanceTest:
    """Test whether labels go with scores at all, labels being permuted within parts.

    Where patients are tested several times, labels are permuted over all patients instead: each keeps one
    label in all its parts. NaN where no part has both classes.

    References
    ----------
    Phipson, Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010) article 39.
    """
    area = pooled_auc(parts)
    if math.isnan(area):
        return ChanceTest(math.nan, _NONE)
    drawn = pooled_permuted_aucs(parts, num_permutations=num_permutations, seed=seed)
    as_far = int((np.abs(drawn - 0.5) >= abs(area - 0.5) - _ROUNDING).sum())
    return ChanceTest((1 + as_far) / (1 + num_permutations), percentile_interval(drawn))


def pooled_permuted_aucs(
    parts: Sequence[Part], *, num_permutations: int = 10_000, seed: int = 0
) -> Floats:
    """Return pooled AUCs (B,) of permuted labels; see `pooled_permutation_test`."""
    index = _patients(parts)
    labels = np.zeros(len(index), dtype=bool)
    rows = [np.array([index[i] for i in part.patient_ids], dtype=np.int64) for part in parts]
    for part, at in zip(parts, rows, strict=True):
        labels[at] = part.labels == 1
    once = sum(map(len, rows)) == len(index)
    strata = [at for at in rows if len(at)] if once else [np.arange(len(index))]
    # Twice the midranks: whole numbers.
    ranks = [(2 * rankdata(part.scores)).astype(np.int64) for part in parts]
    rng = np.random.default_rng(seed)
    batch = max(1, _CELLS_AT_A_TIME // len(index))
    found = []
    for start in range(0, num_permutations, batch):
        num = min(batch, num_permutations - start)
        drawn = np.zeros((num, len(index)), dtype=bool)
        for at in strata:
            drawn[:, at] = rng.permuted(np.tile(labels[at], (num, 1)), axis=1)
        wins, pairs = np.zeros(num), np.zeros(num)
        for at, rank in zip(rows, ranks, strict=True):
            chosen = drawn[:, at]
            m = chosen.sum(axis=1)
            wins += chosen @ rank - m * (m + 1)
            pairs += 2 * m * (len(at) - m)
        found.append(np.divide(wins, pairs, out=np.full(num, 0.5), where=pairs > 0))
    return np.concatenate(found)


def pooled_null_range(
    first: Sequence[Part],
    second: Sequence[Part],
    *,
    confidence: float = 0.95,
    num_permutations: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the middle of the differences where the two models are swapped within patients at random.

    Ranks are those within a part; a patient is swapped in all parts or in none. See
    `paired_permutation.swapped_differences`.
    """
    index = _patients(first)
    pairs = sum(part.num_pairs for part in first)
    if not pairs:
        return _NONE
    share = np.zeros(len(index))
    for one, other in zip(first, second, strict=True):
        if one.num_pairs:
            swapped = swap_parts(one.labels, one.scores, other.scores)
            share[_positives_first(one, index)] += swapped * (one.num_pairs / pairs)
    rng = np.random.default_rng(seed)
    batch = max(1, _CELLS_AT_A_TIME // len(index))
    drawn = [
        (2.0 * rng.integers(0, 2, size=(min(batch, num_permutations - start), len(index))) - 1)
        @ share
        for start in range(0, num_permutations, batch)
    ]
    return percentile_interval(np.concatenate(drawn), confidence)


def pooled_roc(parts: Sequence[Part], false_positive_rates: Floats) -> Floats:
    """Return the mean of the parts' ROC curves weighted by their pairs: sensitivities (G,).

    The area under it is the pooled AUC.

    Parameters
    ----------
    false_positive_rates
        (G,) in rising order.
    """
    total, pairs = np.zeros(len(false_positive_rates)), 0
    for part in parts:
        if part.num_pairs:
            alarms, hits, _ = roc_curve(part.labels, part.scores, drop_intermediate=False)
            total += part.num_pairs * np.interp(false_positive_rates, alarms, hits)
            pairs += part.num_pairs
    return total / pairs if pairs else np.full(len(false_positive_rates), np.nan)


def _by_label(part: Part) -> tuple[Floats, Floats]:
    return part.scores[part.labels == 1], part.scores[part.labels != 1]


def _patients(parts: Sequence[Part]) -> dict[str, int]:
    """Return the row of each patient, in the order in which they first come."""
    index: dict[str, int] = {}
    for part in parts:
        for patient_id in part.patient_ids:
            index.setdefault(patient_id, len(index))
    return index


def _positives_first(part: Part, index: dict[str, int]) -> NDArray[np.int64]:
    rows = np.array([index[i] for i in part.patient_ids], dtype=np.int64)
    return np.concatenate([rows[part.labels == 1], rows[part.labels != 1]])


def _rank_alike(one: Part, other: Part) -> bool:
    counts = [placement_counts(*_by_label(part)) for part in (one, other)]
    return all(np.array_equal(a, b) for a, b in zip(*counts, strict=True))


def _influences(parts: Sequence[Part], index: dict[str, int]) -> Floats | None:
    """Return each patient's influence on the pooled AUC, (N,); None with too few of a class.

    In a part with m positives they are scaled by sqrt(m / (m - 1)), so that their squares are DeLong's
    unbiased variance. A part's only patient of a class shows no spread in it, and is compared with the
    pooled AUC instead of the part's own.
    """
    value = pooled_auc(parts)
    pairs = sum(part.num_pairs for part in parts)
    found = np.zeros(len(index))
    num = [0, 0]
    for label in (1, 0):
        ids = {i for p in parts for i, y in zip(p.patient_ids, p.labels, strict=True) if y == label}
        num[label] = len(ids)
    if not pairs or min(num) < 2:
        return None
    for part in parts:
        if not part.num_pairs:
            continue
        rows = np.array([index[i] for i in part.patient_ids], dtype=np.int64)
        above, below = placement_counts(*_by_label(part))
        m, n = len(above), len(below)
        own = float(above.sum()) / (m * n)
        for label, counts, others in ((1, above, n), (0, below, m)):
            centre, size = (own, len(counts)) if len(counts) > 1 else (value, num[label])
            # (m n / pairs) · (placement - centre) / m, and the same of negatives.
            influence = (counts - centre * others) / pairs * math.sqrt(size / (size - 1))
            np.add.at(found, rows[(part.labels == 1) == (label == 1)], influence)
    return found


def _strata(parts: Sequence[Part], index: dict[str, int]) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of patients of one class who are tested first in the same part."""
    seen: set[str] = set()
    for part in parts:
        for label in (1, 0):
            rows = [
                index[i]
                for i, y in zip(part.patient_ids, part.labels, strict=True)
                if y == label and i not in seen
            ]
            if rows:
                yield np.array(rows, dtype=np.int64)
        seen |= {*part.patient_ids}


_Drawn = tuple[NDArray[np.int64], NDArray[np.int64]]
"""How often each positive and negative score was drawn, (B, K) each, the K scores in rising order."""


@dataclass(frozen=True)
class _Sorted:
    """A part's patients by score, to count in it how often each was drawn."""

    columns: tuple[csr_matrix, csr_matrix]

    @classmethod
    def of(cls, part: Part, index: dict[str, int]) -> _Sorted:
        distinct, places = np.unique(part.scores, return_inverse=True)
        rows = np.array([index[i] for i in part.patient_ids], dtype=np.int64)
        shape = len(distinct), len(index)

        def of(mine: NDArray[np.bool_]) -> csr_matrix:
            ones = np.ones(int(mine.sum()), dtype=np.int64)
            return csr_matrix((ones, (places[mine], rows[mine])), shape=shape)

        return cls((of(part.labels == 1), of(part.labels != 1)))

    def counts(self, drawn: NDArray[np.int64]) -> _Drawn:
        positive, negative = (np.asarray((columns @ drawn.T).T) for columns in self.columns)
        return positive, negative


def _auc_of(drawn: Sequence[_Drawn]) -> Floats:
    wins, pairs = np.zeros(len(drawn[0][0])), np.zeros(len(drawn[0][0]))
    for positive, negative in drawn:
        below = 2 * np.cumsum(negative, axis=1) - negative
        wins += np.einsum("bk,bk->b", positive, below)
        pairs += 2.0 * positive.sum(axis=1) * negative.sum(axis=1)
    found: Floats = np.divide(wins, pairs, out=np.full(len(wins), np.nan), where=pairs > 0)
    return found


def _count(rng: np.random.Generator, size: int, num: int) -> NDArray[np.int64]:
    """Return how often each of some patients is drawn in each of some resamples, (num, size)."""
    cells = rng.integers(0, size, size=(num, size)) + size * np.arange(num)[:, None]
    return np.bincount(cells.ravel(), minlength=num * size).reshape(num, size)


def _difference(value: float, variance: float, correlation: float, confidence: float) -> Difference:
    if not variance > 0:
        error = math.nan if math.isnan(variance) else 0.0
        return Difference(value, error, _NONE, math.nan, correlation)
    error = math.sqrt(variance)
    reach = float(norm.ppf(0.5 + confidence / 2)) * error
    interval = max(-1.0, value - reach), min(1.0, value + reach)
    return Difference(value, error, interval, float(2 * norm.sf(abs(value) / error)), correlation)
