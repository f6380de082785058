"""AUC pooled over the outer folds of a cross-validated test.

The networks of two parts differ in the level of their probabilities, so that a positive of one part and
a negative of another do not compare. Parts count by their pairs, so that each pair counts once: with one
part this is the plain AUC. A patient's influence on the pooled AUC is known (DeLong's placements); where
all patients are divided several times, a patient's influences in all repeats are summed up first, since
the same patient twice is not two patients.

That variance takes the trained models as given. They are not: patients of one part train the models of
the others, and where there is little to learn, chance similarities of two parts count in both. Taken for
independent test sets, models that learnt nothing would differ from an AUC of 0.5 in up to a fifth of
cohorts (docs/statistics.md). All intervals and p values here are therefore of a variance that is larger
by `dependence_factor`.

Axis legend: m positives, n negatives of a part; N patients, each once; B permutations.

References
----------
LeDell, Petersen, van der Laan, Electronic Journal of Statistics 9 (2015) 1583-1607: cross-validated AUC
and its variance from influence curves. They weigh folds equally; with folds of one size and prevalence
that is the same.
DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845: the variance within a part.
Nadeau, Bengio, Machine Learning 52 (2003) 239-281: the variance of resampled test errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import roc_curve

from radiotrain.statistics.auc import Interval, newcombe_variance, placement_counts, score_interval
from radiotrain.statistics.auc_comparison import Difference, difference_of, swap_parts
from radiotrain.statistics.degrees_of_freedom import Part as Estimated
from radiotrain.statistics.resampling import ChanceTest, percentile_interval

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


def variance_of_given_models(parts: Sequence[Part]) -> float:
    """Return the variance of the pooled AUC over test patients: the sum of their squared influences.

    Where each patient is in one part, it is the sum of DeLong's variances of the parts, each by the square
    of its share of pairs. NaN with fewer than two patients of a class.
    """
    found = _influences(parts, _patients(parts))
    return math.nan if found is None else float(found @ found)


def dependence_factor(parts: Sequence[Part]) -> float:
    """Return by how much the variance is larger as the parts' models learn from each other's patients.

    1 + K / (K - 1) with K parts a repeat: Nadeau and Bengio's correction, whose ratio of test to training
    patients is 1 / (K - 1). 1 for a single part. For a linear model that learns from noise the factor is 2,
    since each pair of parts counts twice, once in either; with a strong signal it is near 1.
    """
    return factor_of_sizes([len(part.patient_ids) for part in parts], len(_patients(parts)))


def factor_of_sizes(sizes: Sequence[int], num_patients: int) -> float:
    """Return `dependence_factor` of parts with so many patients, so many different ones in all."""
    filled = [size for size in sizes if size]
    num_parts = round(len(filled) * num_patients / sum(filled)) if filled else 0
    return 1 + num_parts / (num_parts - 1) if num_parts > 1 else 1.0


def pooled_variance(parts: Sequence[Part]) -> float:
    """Return the variance of the pooled AUC over cohorts; NaN with fewer than two patients of a class."""
    return dependence_factor(parts) * variance_of_given_models(parts)


def pooled_interval(parts: Sequence[Part], confidence: float = 0.95) -> Interval:
    """Return the score interval of the pooled AUC: `auc_interval.auc_interval` where there is one part.

    The variance at each candidate AUC is that of the parts by the square of their shares of pairs, times
    `dependence_factor`. Repeats of the same patients are taken for one test of each there; what they
    narrow is in the ratio of the variance found to that expected.

    Returns
    -------
    (NaN, NaN) with fewer than two patients of a class, or where all scores of each part are tied.
    """
    seen = pooled_variance(parts)
    counts = [
        (int(np.sum(p.labels == 1)), int(np.sum(p.labels != 1))) for p in parts if p.num_pairs
    ]
    if math.isnan(seen) or all(np.ptp(p.scores) == 0 for p in parts if p.num_pairs):
        return _NONE
    patients = _patients(parts)
    pairs = sum(m * n for m, n in counts)
    times = sum(len(part.patient_ids) for part in parts) / len(patients)
    factor = dependence_factor(parts) * times

    def expected(area: float) -> float:
        return factor * sum((m * n / pairs) ** 2 * newcombe_variance(area, m, n) for m, n in counts)

    labels = _labels(parts, patients)
    rarer = int(min(labels.sum(), (1 - labels).sum()))
    return score_interval(pooled_auc(parts), seen, rarer, expected, confidence)


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
    return difference_of(value, _by_class(first, ours - theirs, index), correlation, confidence)


def pooled_unpaired_difference(
    first: Sequence[Part], second: Sequence[Part], confidence: float = 0.95
) -> Difference:
    """Compare the pooled AUCs of two models on different patients."""
    value = pooled_auc(first) - pooled_auc(second)
    found: list[Estimated] = []
    for parts in (first, second):
        index = _patients(parts)
        influences = _influences(parts, index)
        if influences is None:
            return Difference(value, math.nan, _NONE, math.nan, 0.0)
        found += _by_class(parts, influences, index)
    return difference_of(value, found, 0.0, confidence)


def pooled_permutation_test(
    parts: Sequence[Part], *, num_permutations: int = 10_000, seed: int = 0
) -> ChanceTest:
    """Test whether labels go with scores at all, labels being permuted within parts.

    Permuted AUCs lie further from 0.5 by the root of `dependence_factor`, as models are not trained anew.
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
    stretched = math.sqrt(dependence_factor(parts))
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
        areas = np.divide(wins, pairs, out=np.full(num, 0.5), where=pairs > 0)
        found.append(np.clip(0.5 + stretched * (areas - 0.5), 0, 1))
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

    It is wider by the root of `dependence_factor`. Ranks are those within a part; a patient is swapped in all parts or in none. See
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
    stretched = math.sqrt(dependence_factor(first)) * np.concatenate(drawn)
    return percentile_interval(np.clip(stretched, -1, 1), confidence)


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


def _labels(parts: Sequence[Part], index: dict[str, int]) -> NDArray[np.int64]:
    """Return the label of each patient, (N,)."""
    found = np.zeros(len(index), dtype=np.int64)
    for part in parts:
        found[[index[i] for i in part.patient_ids]] = part.labels
    return found


def _by_class(
    parts: Sequence[Part], influences: Floats, index: dict[str, int]
) -> tuple[Estimated, Estimated]:
    """Return what the positives and what the negatives add to the variance over cohorts.

    Each part's own mean takes a degree of freedom of each class, as in DeLong's variance of one part.
    """
    labels, factor = _labels(parts, index), dependence_factor(parts)
    times = sum(len(part.patient_ids) for part in parts) / len(index)
    found = []
    for label in (1, 0):
        mine = influences[labels == label]
        means = sum(bool(np.any(part.labels == label)) for part in parts) / times
        freedom = max(1, round(len(mine) - means))
        found.append(Estimated(factor * float(mine @ mine), freedom))
    return found[0], found[1]
