"""Radiomic features of many patients, measured once for as long as their voxels are the same.

They are kept in a Parquet file beside the store, a row a patient. Features say nothing of labels,
but those of test patients are measured with access to the test set only.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pandas as pd

from preprocessing.common.errors import DamagedFileError, InputError
from preprocessing.processes import machine
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.checked_parquet import check_parquet, from_parquet, to_parquet
from radiotrain.evaluation.baselines.features import Features
from radiotrain.evaluation.baselines.radiomics import SETTINGS, measure_radiomics
from radiotrain.seal import TestAccess, check_sealed
from radiotrain.split import Split

_KEY = "voxels"
_FEWEST_FOR_PROCESSES = 4
_OPENED: list[Store] = []


def check_installed() -> None:
    """Refuse where the package that measures is missing.

    Raises
    ------
    InputError
        If mirp cannot be imported.
    """
    if importlib.util.find_spec("mirp") is None:
        raise InputError(
            "--radiomics needs the package mirp, which is not installed: run"
            " pip install 'radiotrain[radiomics]'"
        )


def cache_url(store: Store) -> str:
    """Return where a store's features are kept."""
    return f"{store.url.rstrip('/')}.radiomics.parquet"


def read_radiomics(
    store: Store,
    split: Split,
    patient_ids: Sequence[str],
    access: TestAccess | None,
    on_patient: Callable[[], object] = lambda: None,
) -> Features:
    """Return radiomic features of patients, NaN where one is not defined.

    Parameters
    ----------
    access
        From `radiotrain.seal.open_test_set`; needed where a patient is in the test set.
    on_patient
        Called after each patient.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    """
    check_sealed(split, patient_ids, access)
    cache = _Cache.read(store)
    keys = {patient_id: _voxels(store, patient_id) for patient_id in patient_ids}
    missing = [i for i in patient_ids if keys[i] not in cache.rows]
    for _ in range(len(patient_ids) - len(missing)):
        on_patient()
    for patient_id, row in zip(missing, _measured(store, missing), strict=True):
        cache.rows[keys[patient_id]] = row
        on_patient()
    if missing:
        # A place that cannot be written to costs time only.
        with suppress(OSError, InputError):
            cache.write()
    rows = [cache.rows[keys[patient_id]] for patient_id in patient_ids]
    names = tuple(sorted({name for row in rows for name in row}))
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows])
    return Features(tuple(patient_ids), names, values.reshape(len(rows), len(names)))


@dataclass(frozen=True)
class _Cache:
    """What was measured so far, by the digest of the patient's voxels."""

    url: str
    about: Mapping[str, str]
    rows: dict[str, Mapping[str, float]]

    @classmethod
    def read(cls, store: Store) -> _Cache:
        url = cache_url(store)
        about = {"settings": json.dumps(SETTINGS), "mirp": _version()}
        empty = cls(url, about, {})
        with suppress(FileNotFoundError, DamagedFileError):
            content = files.read_bytes(url)
            check_parquet(content, url, "it is measured again")
            table, found = from_parquet(content)
            if found == about:
                # Without what is not finite, as it was measured.
                rows = table.set_index(_KEY).T.to_dict()
                finite: dict[str, Mapping[str, float]] = {
                    str(key): {
                        str(name): value for name, value in row.items() if math.isfinite(value)
                    }
                    for key, row in rows.items()
                }
                return cls(url, about, finite)
        return empty

    def write(self) -> None:
        table = pd.DataFrame.from_dict(dict(self.rows), orient="index").rename_axis(_KEY)
        files.write_bytes(self.url, to_parquet(table.reset_index(), self.about))


def _version() -> str:
    from importlib.metadata import version

    return version("mirp")


def _voxels(store: Store, patient_id: str) -> str:
    record = store.records[store.index_of(patient_id)]
    known = (dict(record.checksums), record.spacing_mm, patient_id)
    return json.dumps(known, sort_keys=True)


def _measured(store: Store, patient_ids: Sequence[str]) -> Iterable[Mapping[str, float]]:
    """Yield the features of patients; in processes of their own, since mirp is Python."""
    indices = [store.index_of(patient_id) for patient_id in patient_ids]
    num = min(machine.num_cpus(), len(indices) // _FEWEST_FOR_PROCESSES)
    # mirp logs each image to standard output: a process of its own keeps that apart.
    with ProcessPoolExecutor(
        max(1, num), get_context("spawn"), initializer=_open, initargs=(store.url,)
    ) as pool:
        yield from pool.map(_measure, indices)


def _open(url: str) -> None:
    logging.disable(logging.INFO)
    _OPENED.append(Store.open(url))


def _measure(index: int) -> Mapping[str, float]:
    return measure_radiomics(_OPENED[0], index)
