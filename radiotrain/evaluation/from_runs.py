"""From trained runs to a predictions table: the only place where a test set is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from preprocessing.errors import InputError
from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.evaluation.report import CohortFlow, ReportContext
from radiotrain.predict import predict_run
from radiotrain.runs import RunRecord, open_run
from radiotrain.seal import open_test_set, read_openings
from radiotrain.split import Split, load_split


@dataclass(frozen=True)
class _Run:
    name: str
    url: str
    config: RunConfig
    record: RunRecord


def predict_runs(
    urls: Sequence[str],
    store_url: str | None,
    purpose: str,
    progress: Callable[[str, int], Any],
) -> tuple[pd.DataFrame, ReportContext]:
    """Predict validation and test patients with each run; the opening of the test is logged.

    Parameters
    ----------
    urls
        Run folders, all of one split.
    store_url
        Where the store is now; None: where the runs found it.
    purpose
        Goes into the log of openings.
    progress
        See `preprocessing.progress`.

    Returns
    -------
    Predictions table, and what the report can say beyond it.

    Raises
    ------
    InputError
        If the runs do not belong together, or to the store; the test set is not opened then.
    """
    runs = [_open(url) for url in urls]
    _check_together(runs)
    first = runs[0].config
    store = Store.open(store_url or first.store)
    split = load_split(first.split, store)
    tables = []
    with progress("predict", 2 * len(runs)) as advance:
        # All that could be refused is refused before the test set is opened.
        for run in runs:
            tables.append(predict_run(run.url, store, split, "validation"))
            advance()
        access = open_test_set(first.split, purpose, [run.name for run in runs])
        for run in runs:
            tables.append(predict_run(run.url, store, split, "test", access))
            advance()
    context = ReportContext(
        flow=_flow(store, split, sorted({run.config.fold for run in runs})),
        openings=read_openings(first.split),
        provenance=_provenance(runs, store, split),
        generated_at=datetime.now(UTC).isoformat(timespec="minutes"),
    )
    return pd.concat(tables, ignore_index=True), context


def _open(url: str) -> _Run:
    folder, config, record = open_run(url)
    if record.status not in ("finished", "stopped"):
        raise InputError(
            f"run {folder.url} is {record.status}, expected a finished one: run 'radiotrain train'"
            " or 'radiotrain tune' again first"
        )
    return _Run(folder.name, folder.url, config, record)


def _check_together(runs: Sequence[_Run]) -> None:
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two runs are both named {name!r}: evaluate them one by one")
    splits = {run.config.split for run in runs}
    if len(splits) > 1:
        raise InputError(
            f"the runs belong to {len(splits)} splits, {', '.join(sorted(splits))}, expected one:"
            " evaluate those of one split together"
        )


def _flow(store: Store, split: Split, folds: Sequence[int]) -> CohortFlow:
    reasons = {r.patient_id: next(f for f in r.findings if f.excludes) for r in store.excluded}
    fold = folds[0]
    named = ", ".join(str(f) for f in folds)
    return CohortFlow(
        num_patients=len(store.spec.patient_ids),
        excluded=tuple((i, finding.code, finding.message) for i, finding in reasons.items()),
        num_train=len(split.train_ids(fold)),
        num_validation=len(split.validation_ids(fold)),
        num_test=len(split.test_ids),
        note=(
            f"{split.num_folds} folds, stratified jointly over {', '.join(split.targets)};"
            f" validated on fold {named}."
        ),
    )


def _provenance(runs: Sequence[_Run], store: Store, split: Split) -> dict[str, Any]:
    return {
        "store": f"{store.url}, fingerprint {store.fingerprint}",
        "split": f"{runs[0].config.split}, fingerprint {split.fingerprint}, seed {split.seed}",
        "preprocessing": dict(store.spec.settings),
        "software": dict(runs[0].record.versions),
        **{f"run {run.name}": run.config.model_dump(mode="json") for run in runs},
    }
