"""Covariates of networks that tell a target: what was allowed by name, and what older versions took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import PatientRecord, Store
from radiotrain.config import NetworkConfig
from radiotrain.data.leaky_names import reason_to_refuse
from radiotrain.data.leaky_values import reason_by_values
from radiotrain.split import Split


def notes_on_covariates(
    networks: Mapping[str, NetworkConfig], store: Store | None, split: Split | None
) -> tuple[str, ...]:
    """Return sentences on covariates that tell a target, and on those that were allowed by name.

    Parameters
    ----------
    networks
        By run.
    store, split
        Of which values are judged on development patients; None where only names can be.
    """
    records: Sequence[PatientRecord] = ()
    labels: dict[str, NDArray[np.integer]] = {}
    if store is not None and split is not None:
        rows = [store.index_of(patient_id) for patient_id in split.development_ids]
        records = [store.records[row] for row in rows]
        labels = dict(zip(store.targets, store.labels[rows].T, strict=True))
    runs: dict[tuple[str, bool], list[str]] = {}
    for run, network in networks.items():
        for name in network.covariates:
            runs.setdefault((name, name in network.allow_covariates), []).append(run)
    return tuple(
        sentence
        for (name, is_allowed), of in runs.items()
        for sentence in _sentences(name, is_allowed, of, _reason(name, records, labels))
    )


def _reason(
    name: str, records: Sequence[PatientRecord], labels: Mapping[str, NDArray[np.integer]]
) -> str | None:
    by_name = reason_to_refuse(name)
    if by_name is not None or not records:
        return by_name
    found = reason_by_values([record.covariates.get(name) for record in records], labels)
    return None if found is None else f"{found} in development"


def _sentences(
    name: str, is_allowed: bool, runs: Sequence[str], reason: str | None
) -> Iterator[str]:
    reads = f"Run{'s' * (len(runs) > 1)} {', '.join(runs)} read{'s' * (len(runs) == 1)} {name}"
    if is_allowed and reason is None:
        yield f"{reads}, which network.allow_covariates allows by name."
    elif is_allowed:
        yield (
            f"{reads}, which network.allow_covariates allows by name, although {reason}: what the network"
            " reaches may be this column's."
        )
    elif reason is not None:
        yield (
            f"{reads}, which is refused now, as {reason}: what the network reaches may be this column's. It"
            " was trained before this was asked, and is evaluated by its own rules."
        )
