"""Results by site of an external cohort: which covariate tells sites apart, and what each site shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.store import PatientRecord
from radiotrain.data.covariates import plain_name
from radiotrain.evaluation.baselines.covariates import as_text
from radiotrain.evaluation.external.results import SiteResults, WithinSites
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.shortcuts.acquisition import scanner_name
from radiotrain.evaluation.shortcuts.stratified import stratified_area
from radiotrain.evaluation.statistics.auc import auc
from radiotrain.evaluation.statistics.comparison import holm_adjusted
from radiotrain.evaluation.subgroups.facts import Facts
from radiotrain.evaluation.subgroups.find import find_subgroups
from radiotrain.evaluation.subgroups.results import VariableResult
from radiotrain.evaluation.subgroups.variables import shown_name

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
