"""The Dask stage: every patient of a cohort into the store, on as many processes as asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from distributed import Client, KilledWorker, as_completed

from preprocessing import files
from preprocessing.cohort import MISSING_LABEL, Cohort, Finding, Patient
from preprocessing.config import PreprocessConfig
from preprocessing.dask_home import DaskHome
from preprocessing.errors import InputError, StorageFullError
from preprocessing.input_digest import input_digest
from preprocessing.patient import process_patient
from preprocessing.store import PatientRecord, Store, StoreSpec, StoreWriter
from preprocessing.store.lock import exclusive

_VERSIONED = ("numpy", "zarr", "numcodecs", "pydicom", "nibabel", "SimpleITK", "radiotrain")
# An object store may fail to answer now and then; a patient costs seconds, a run hours.
_RETRIES = 2


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
    home: DaskHome,
    progress: Callable[[str, int], Any],
    say: Callable[[str], Any] = lambda line: None,
) -> PreprocessResult:
    """Fill the store at `url`; patients that are already in it are left alone.

    Patients that the store does not know are appended. One that was excluded is tried again when
    its files, its box or what the tables say of it have changed.

    Parameters
    ----------
    home
        Where Dask's workers live; see `preprocessing.dask_home`.
    progress
        Called with a description and the number of patients; see `preprocessing.progress`.
    say
        Called with lines for the user.

    Raises
    ------
    InputError
        If the cohort is empty, `url` holds something else, or another run writes to it.
    StorageFullError
        If the disk is full; run again to resume.
    """
    if not cohort.patients:
        raise InputError(f"cohort {cohort.root} has no patients: nothing to preprocess")
    url = files.absolute(url)
    with exclusive(url):
        writer = StoreWriter.create_or_resume(url, make_spec(cohort, config), _versions())
        if files.is_local(url):
            files.remove_partial(url)
        patients = {p.patient_id: p for p in cohort.patients}
        writer.reopen(_changed(writer, patients))
        finished = writer.finished()
        ids = writer.spec.patient_ids
        pending = {i: patients[p] for i, p in enumerate(ids) if i not in finished}
        if pending:
            with home(len(pending)) as client:
                if client.dashboard_link:
                    say(f"Dask dashboard: {client.dashboard_link}")
                _check_workers(client, cohort, url)
                _run(client, writer, config, pending, progress)
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


def _changed(writer: StoreWriter, patients: dict[str, Patient]) -> set[int]:
    """Return the excluded patients whose input is not what it was."""
    records = writer.read_records(writer.finished())
    return {
        i
        for i, record in records.items()
        if record.status == "excluded"
        and record.patient_id in patients
        and record.input_digest != input_digest(patients[record.patient_id])
    }


def _run(
    client: Client,
    writer: StoreWriter,
    config: PreprocessConfig,
    pending: dict[int, Patient],
    progress: Callable[[str, int], Any],
) -> None:
    with progress("preprocess", len(pending)) as advance:
        futures = {
            client.submit(
                _process_and_write, patient, i, writer, config, pure=False, retries=_RETRIES
            ): i
            for i, patient in pending.items()
        }
        for future in as_completed(list(futures)):
            index = futures.pop(future)
            try:
                future.result()
            except KilledWorker:
                # Its processes died, twice: most likely it needs more memory than there is.
                writer.write(_died(pending[index], index), None)
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
    digest = input_digest(patient)
    record, tensor = process_patient(patient, index, config)
    writer.write(replace(record, input_digest=digest), tensor)


def _one_thread() -> None:
    """Keep libraries from starting threads of their own in each of many workers."""
    import numcodecs.blosc
    import SimpleITK as sitk
    import zarr

    numcodecs.blosc.set_nthreads(1)
    zarr.config.set({"threading.max_workers": 1})
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _check_workers(client: Client, cohort: Cohort, url: str) -> None:
    """Refuse workers that cannot do the work: another version, or folders they do not see.

    Raises
    ------
    InputError
        If there is one.
    """
    places = [str(p) for p in (cohort.root, url) if files.is_local(str(p))]
    try:
        answers = client.run(_what_a_worker_sees, places)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the Dask workers lack the module {error.name!r}: install radiotrain"
            f" {version('radiotrain')} where they run"
        ) from error
    for address, (found, absent) in answers.items():
        if found != version("radiotrain"):
            raise InputError(
                f"Dask worker {address} has radiotrain {found}, expected {version('radiotrain')}:"
                " install the same version everywhere"
            )
        if absent:
            raise InputError(
                f"Dask worker {address} does not see {absent[0]}: use a folder that all machines"
                " share, or s3://…"
            )


def _what_a_worker_sees(places: list[str]) -> tuple[str, list[str]]:
    return version("radiotrain"), [place for place in places if not files.exists(place)]


def _died(patient: Patient, index: int) -> PatientRecord:
    finding = Finding("worker-died", "the process working on it died twice, perhaps out of memory")
    return PatientRecord(
        index=index,
        patient_id=patient.patient_id,
        status="excluded",
        findings=(*patient.findings, finding),
        covariates=dict(patient.covariates),
        # No digest: it is tried again by the next run.
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
