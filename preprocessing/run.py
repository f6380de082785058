"""The Dask stage: every patient of a cohort into the store, on as many processes as asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import dask
from distributed import Client, KilledWorker, LocalCluster, as_completed

from preprocessing.cohort import MISSING_LABEL, Cohort, Finding, Patient
from preprocessing.config import PreprocessConfig
from preprocessing.errors import InputError, StorageFullError
from preprocessing.patient import process_patient
from preprocessing.store import PatientRecord, Store, StoreSpec, StoreWriter

_VERSIONED = ("numpy", "zarr", "numcodecs", "pydicom", "nibabel", "SimpleITK", "radiotrain")


@dataclass(frozen=True)
class PreprocessResult:
    """A finished store and how many of its patients were done in this run."""

    store: Store
    num_done_now: int
    num_done_before: int


def preprocess(
    cohort: Cohort,
    url: str,
    config: PreprocessConfig,
    num_workers: int,
    progress: Callable[[str, int], Any],
) -> PreprocessResult:
    """Fill the store at `url`; patients that are already in it are left alone.

    Parameters
    ----------
    num_workers
        Processes, one thread each.
    progress
        Called with a description and the number of patients; see `preprocessing.progress`.

    Raises
    ------
    InputError
        If the cohort is empty, or `url` holds something else.
    StorageFullError
        If the disk is full; run again to resume.
    """
    if not cohort.patients:
        raise InputError(f"cohort {cohort.root} has no patients: nothing to preprocess")
    writer = StoreWriter.create_or_resume(url, make_spec(cohort, config), _versions())
    finished = writer.finished()
    pending = [i for i in range(len(cohort.patients)) if i not in finished]
    if pending:
        _run(cohort, writer, config, pending, num_workers, progress)
    return PreprocessResult(writer.finish(), len(pending), len(finished))


def make_spec(cohort: Cohort, config: PreprocessConfig) -> StoreSpec:
    """Return what the store of this cohort and setting is made for."""
    return StoreSpec(
        patient_ids=tuple(p.patient_id for p in cohort.patients),
        targets=cohort.targets,
        labels=tuple(
            tuple(p.labels.get(t, MISSING_LABEL) for t in cohort.targets) for p in cohort.patients
        ),
        num_phases=config.num_phases,
        crop_shape=config.crop_shape,
        settings=json.loads(config.model_dump_json()),
        cohort={"layout": cohort.layout},
    )


def _run(
    cohort: Cohort,
    writer: StoreWriter,
    config: PreprocessConfig,
    pending: list[int],
    num_workers: int,
    progress: Callable[[str, int], Any],
) -> None:
    # Spawned, since forked workers deadlock in Zarr on S3; a lost patient is tried once more.
    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.scheduler.allowed-failures": 1,
        "distributed.worker.memory.terminate": False,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=min(num_workers, len(pending)),
            threads_per_worker=1,
            dashboard_address=None,
            memory_limit=0,
            # What a worker says while it is being ended is not for the user.
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
        progress("preprocess", len(pending)) as advance,
    ):
        futures = {
            client.submit(_process_and_write, cohort.patients[i], i, writer, config, pure=False): i
            for i in pending
        }
        for future in as_completed(list(futures)):
            index = futures.pop(future)
            try:
                future.result()
            except KilledWorker:
                # Its processes died, twice: most likely it needs more memory than there is.
                writer.write(_died(cohort.patients[index], index), None)
            except StorageFullError:
                client.cancel(list(futures))
                raise
            future.release()
            advance()


def _process_and_write(
    patient: Patient, index: int, writer: StoreWriter, config: PreprocessConfig
) -> None:
    """Do one patient in a worker; what crosses processes is small."""
    _one_thread()
    record, tensor = process_patient(patient, index, config)
    writer.write(record, tensor)


def _one_thread() -> None:
    """Keep libraries from starting threads of their own in each of many workers."""
    import numcodecs.blosc
    import zarr

    numcodecs.blosc.set_nthreads(1)
    zarr.config.set({"threading.max_workers": 1})


def _died(patient: Patient, index: int) -> PatientRecord:
    finding = Finding("worker-died", "the process working on it died twice, perhaps out of memory")
    return PatientRecord(
        index=index,
        patient_id=patient.patient_id,
        status="excluded",
        findings=(*patient.findings, finding),
        covariates=dict(patient.covariates),
    )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _VERSIONED}


def describe(result: PreprocessResult) -> str:
    """Return the run's last line: patients stored and excluded, with reasons counted."""
    store = result.store
    reasons: dict[str, int] = {}
    for record in store.excluded:
        code = next((f.code for f in record.findings if f.excludes), "unknown")
        reasons[code] = reasons.get(code, 0) + 1
    why = ", ".join(f"{n} {code}" for code, n in sorted(reasons.items()))
    line = f"{len(store.patient_ids)} patients stored, {len(store.excluded)} excluded"
    line += f" ({why})" if why else ""
    if result.num_done_before:
        line += f"; {result.num_done_before} were done before, {result.num_done_now} now"
    return f"{line}: {store.url}"
