"""Case mix and sites of an external cohort.

References
----------
Austin, Statistics in Medicine 28 (2009) 3083-3107: standardized differences. Yang, Dalton, SAS Global Forum
(2012) 335: their form for several categories.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.store import PatientRecord
from radiotrain.data.covariates import plain_name
from radiotrain.evaluation.baselines.covariates import as_number, as_text, kind_of
from radiotrain.evaluation.external_results import CaseMixRow, SiteResults, WithinSites
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.shortcuts.acquisition import scanner_name
from radiotrain.evaluation.subgroups.covariates import Facts, Value
from radiotrain.evaluation.subgroups.subgroup_results import FEWEST_SHOWN, VariableResult
from radiotrain.evaluation.subgroups.subgroup_tests import find_subgroups
from radiotrain.evaluation.subgroups.variables import (
    FIELD_STRENGTH,
    UNKNOWN,
    cut_fields,
    cut_texts,
    shown_name,
)
from radiotrain.evaluation.withheld import withheld, withheld_text
from radiotrain.statistics.auc import auc
from radiotrain.statistics.auc_comparison import holm_adjusted
from radiotrain.statistics.stratified_auc import stratified_area

_MOST_VARIABLES = 12
_MANUFACTURER = "scanner manufacturer"


def case_mix(
    training: Facts, external: Facts, targets: Mapping[str, str]
) -> tuple[CaseMixRow, ...]:
    """Compare the patients of two cohorts: prevalence of each target, then their covariates.

    Parameters
    ----------
    training
        Of development patients.
    targets
        Target to what it is called in the table.
    """
    rows: list[CaseMixRow] = []
    for target, name in targets.items():
        rows += _binary(name, training.labels.get(target, {}), external.labels.get(target, {}))
    variables = _by_name(training), _by_name(external)
    names = sorted(
        dict.fromkeys((*variables[0], *variables[1])),
        key=lambda n: (n not in variables[0] or n not in variables[1], *_order(n)),
    )
    for name in names[:_MOST_VARIABLES]:
        rows += _covariate(name, variables[0].get(name, []), variables[1].get(name, []))
    return tuple(rows)


def difference_of_means(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return second − first mean, over the root mean of their variances; None where there is no spread."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(a) < 2 or len(b) < 2:
        return None
    pooled = math.sqrt((float(np.var(a, ddof=1)) + float(np.var(b, ddof=1))) / 2)
    return (float(b.mean()) - float(a.mean())) / pooled if pooled > 0 else None


def difference_of_shares(first: ArrayLike, second: ArrayLike) -> float | None:
    """Return the standardized difference of two distributions over categories.

    Parameters
    ----------
    first, second
        (K,) counts of the same categories.

    Returns
    -------
    For two categories (share of the last, second − first) / root of the mean of p (1 − p); for more the
    length of the vector of differences in units of the mean covariance. None where a cohort has no patient,
    or there is no spread.
    """
    counts = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not counts[0].sum() or not counts[1].sum():
        return None
    p, q = counts[0] / counts[0].sum(), counts[1] / counts[1].sum()
    if len(p) < 2:
        return 0.0
    difference = q[1:] - p[1:]
    spread = (_covariance(p[1:]) + _covariance(q[1:])) / 2
    if len(p) == 2:
        variance = float(spread[0, 0])
        return float(difference[0]) / math.sqrt(variance) if variance > 0 else None
    found = float(difference @ np.linalg.pinv(spread, hermitian=True) @ difference)
    # What lies outside the covariance's space differs without any spread: no number says how far.
    seen = spread @ np.linalg.pinv(spread, hermitian=True) @ difference
    return math.sqrt(max(0.0, found)) if np.allclose(seen, difference, atol=1e-9) else None


def _covariance(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.diag(p) - np.outer(p, p)


def _by_name(facts: Facts) -> dict[str, list[Value]]:
    """Return values by what a covariate is called, so that ``field_t`` and ``field_strength_t`` are one."""
    found: dict[str, list[Value]] = {}
    for covariates in facts.covariates.values():
        for name, value in covariates.items():
            if kind_of(name) != "refused":
                found.setdefault(shown_name(name), []).append(value)
    return {name: values for name, values in found.items() if any(map(_is_known, values))}


def _is_known(value: Value) -> bool:
    return as_text(value) is not None


def _order(name: str) -> tuple[bool, str]:
    first = ("age (years)", "menopausal status", "tumour size (longest side)", _MANUFACTURER)
    return name not in (*first, FIELD_STRENGTH), name


def _binary(name: str, first: Mapping[str, int], second: Mapping[str, int]) -> Iterator[CaseMixRow]:
    counts = [[sum(v == k for v in labels.values()) for k in (0, 1)] for labels in (first, second)]
    texts = [_share(positive, negative + positive) for negative, positive in counts]
    missing = [sum(v not in (0, 1) for v in labels.values()) for labels in (first, second)]
    difference = difference_of_shares(counts[0], counts[1])
    yield CaseMixRow(name, "positive", texts[0], texts[1], difference)
    if any(missing):
        yield CaseMixRow(name, "label missing", _count(missing[0]), _count(missing[1]))


def _covariate(name: str, first: Sequence[Value], second: Sequence[Value]) -> Iterator[CaseMixRow]:
    known = [[v for v in values if _is_known(v)] for values in (first, second)]
    everything = [*known[0], *known[1]]
    if name not in (FIELD_STRENGTH, _MANUFACTURER) and all(
        as_number(v) == as_number(v) for v in everything
    ):
        numbers = [[as_number(v) for v in values] for values in known]
        # Codes such as 0 and 1 are categories.
        if len({*numbers[0], *numbers[1]}) > 4:
            yield CaseMixRow(
                name,
                "mean (SD)",
                _mean(numbers[0]),
                _mean(numbers[1]),
                difference_of_means(numbers[0], numbers[1]),
            )
            return
    yield from _categories(name, known[0], known[1])


def _categories(name: str, first: Sequence[Value], second: Sequence[Value]) -> Iterator[CaseMixRow]:
    values: dict[str, Value] = {f"0 {i}": v for i, v in enumerate(first)}
    values |= {f"1 {i}": v for i, v in enumerate(second)}
    if name == _MANUFACTURER:
        # "GE", "GE MEDICAL SYSTEMS": one maker.
        values = {i: str(v).split()[0].casefold() for i, v in values.items()}
    cut = cut_fields(values) if name == FIELD_STRENGTH else cut_texts(values)
    if isinstance(cut, str):
        return
    counts = [
        Counter(
            group for i, group in cut.group_of.items() if i.startswith(side) and group != UNKNOWN
        )
        for side in ("0 ", "1 ")
    ]
    both = [[found[group] for group in cut.groups] for found in counts]
    sums = [sum(found) for found in both]
    hidden = [withheld(found) for found in both]
    # Of two categories the sign is that of the first row's share.
    difference = difference_of_shares(both[0][::-1], both[1][::-1])
    for k, group in enumerate(cut.groups):
        yield CaseMixRow(
            name,
            group,
            _cell(both[0][k], sums[0], k in hidden[0]),
            _cell(both[1][k], sums[1], k in hidden[1]),
            difference if k == 0 else None,
        )


def _cell(num: int, of: int, is_hidden: bool) -> str:
    return f"{withheld_text(num)} of {of}" if is_hidden else _share(num, of)


def _share(num: int, of: int) -> str:
    if not of:
        return "not known"
    if 0 < num < FEWEST_SHOWN:
        return f"<{FEWEST_SHOWN} of {of}"
    return f"{num} of {of} ({100 * num / of:.0f}%)"


def _count(num: int) -> str:
    return f"<{FEWEST_SHOWN}" if 0 < num < FEWEST_SHOWN else str(num)


def _mean(values: Sequence[float]) -> str:
    if len(values) < FEWEST_SHOWN:
        return "not known" if not values else f"<{FEWEST_SHOWN} known"
    return f"{np.mean(values):.1f} ({np.std(values, ddof=1):.1f}), n = {len(values)}"


_SITE = re.compile(
    r"(^|_)(site|institution|hospital|centre|center|dataset|collection|scanner)(_|$)"
)


def choose_sites(records: Sequence[PatientRecord], by: str | None, store: str) -> tuple[str, ...]:
    """Return the covariates by which results are given.

    Parameters
    ----------
    by
        As the user named it; by default those that are named like a site, else the scanner.

    Raises
    ------
    InputError
        If the cohort has none of that name, or all patients have one value of it.
    """
    names = sorted({name for record in records for name in record.covariates})
    varied = [n for n in names if len({as_text(r.covariates.get(n)) for r in records} - {None}) > 1]
    if by is not None:
        if by not in names:
            raise InputError(
                f"--group-by names {by!r}{nearest_hint(by, names)}, but the patients of store {store} have"
                f" {', '.join(names) or 'no covariates'}: name one of these"
            )
        if by not in varied:
            raise InputError(
                f"--group-by names {by!r}, of which store {store} has one value only: name another covariate,"
                f" such as {', '.join(varied) or 'none there is'}"
            )
        return (by,)
    found = tuple(name for name in varied if _SITE.search(plain_name(name)))
    scanner = scanner_name(records)
    return found or ((scanner,) if scanner else ())


def results_by_site(
    table: pd.DataFrame, records: Sequence[PatientRecord], names: Sequence[str]
) -> tuple[SiteResults, ...]:
    """Measure each run and target at each site, test whether sites have one AUC, and pool pairs within sites.

    Parameters
    ----------
    table
        Validated predictions; the cohort's are part ``test``.
    names
        From `choose_sites`. p values are corrected for all tests of one covariate.
    """
    return tuple(_by(table, records, name) for name in names)


def _by(table: pd.DataFrame, records: Sequence[PatientRecord], name: str) -> SiteResults:
    # As text: a site's number is a name, not a quantity to cut in thirds.
    site_of = {r.patient_id: as_text(r.covariates.get(name)) for r in records}
    label = shown_name(name)
    results: list[VariableResult] = []
    within: list[WithinSites] = []
    for target in dict.fromkeys(table["target"]):
        mine = table[table["target"] == target]
        facts = Facts({i: {"site": _as_name(site)} for i, site in site_of.items()})
        found = find_subgroups(mine, facts)
        results += [replace(r, variable=label) for r in found.results]
        within += [_within(mine, o.run, o.target, site_of) for o in found.overall]
    corrected = holm_adjusted([np.nan if r.p is None else r.p for r in results])
    return SiteResults(
        name,
        tuple(
            r if r.p is None else replace(r, p_holm=float(p))
            for r, p in zip(results, corrected, strict=True)
        ),
        tuple(within),
    )


def _as_name(site: str | None) -> str | None:
    """Return a site that `subgroups.cuts` takes for a text, also where it is a number."""
    if site is None:
        return None
    return f"site {site}" if re.fullmatch(r"[-+0-9.eE]+", site) else site


def _within(
    table: pd.DataFrame, run: str, target: str, site_of: dict[str, str | None]
) -> WithinSites:
    patients = patient_scores(table, run, target, "test")
    known = np.array([site_of.get(i) is not None for i in patients.patient_ids], dtype=bool)
    strata = [site_of[i] for i in np.array(patients.patient_ids, dtype=object)[known]]
    labels, scores = patients.labels[known], patients.scores[known]
    area = stratified_area(labels, scores, strata)
    pairs = auc(labels, scores)
    return WithinSites(
        run, target, area.auc, area.interval, None if np.isnan(pairs) else float(pairs), area.reason
    )
