"""The Dask stage: every patient of a cohort into the store, on as many processes as asked for."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import Any

from distributed import Client, KilledWorker, as_completed, get_worker

from preprocessing.cohort.cohort import MISSING_LABEL, Cohort, Finding, Patient
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError, RadiotrainError
from preprocessing.images.load_patient import choose_phases, input_digest
from preprocessing.images.plausibility import CODES
from preprocessing.images.volumes import (
    UnreadableImageError,
    any_internal,
    finding_of,
    is_of_one_patient,
)
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.processes.dask_client import ClientFactory
from preprocessing.processes.worker_process import prepare_worker_process
from preprocessing.storage import files
from preprocessing.storage.folder_lock import exclusive
from preprocessing.storage.lock_notes import LOCK_NAME, is_lock
from preprocessing.store import PatientRecord, Store, StoreSpec, StoreWriter

_VERSIONED = ("numpy", "zarr", "numcodecs", "pydicom", "nibabel", "SimpleITK", "radiotrain")
# A patient costs seconds, a run hours. Once: the client of an object store has asked 15 times by
# then (`preprocessing.storage.s3_options`), and who is at the keyboard wants to know.
_RETRIES = 1


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
    make_client: ClientFactory,
    progress: Callable[[str, int], Any],
    say: Callable[[str], Any] = lambda line: None,
) -> PreprocessResult:
    """Fill the store at `url`; patients that are already in it are left alone.

    Patients that the store does not know are appended. One that was excluded is tried again when
    its files, its box or what the tables say of it have changed.

    Parameters
    ----------
    make_client
        Where Dask's workers live; see `preprocessing.processes.dask_client`.
    progress
        Called with a description and the number of patients; see `preprocessing.common.progress`.
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
        patients = {p.patient_id: p for p in cohort.patients}
        again = _told_otherwise(writer, patients, config)
        if again:
            say(f"{len(again)} stored patients are done again: the table of phases changes theirs")
        writer.reopen(again | _changed(writer, patients))
        finished = writer.finished()
        ids = writer.spec.patient_ids
        pending = {i: patients[p] for i, p in enumerate(ids) if i not in finished}
        if pending:
            with make_client(len(pending)) as client:
                if client.dashboard_link:
                    say(f"Dask dashboard: {client.dashboard_link}")
                needs = WorkerRequirements.of(cohort, url)
                _check_workers(client, needs)
                _run(client, writer, config, needs, pending, progress)
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
        cohort={"layout": cohort.layout, **cohort.tables},
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


def _told_otherwise(
    writer: StoreWriter, patients: dict[str, Patient], config: PreprocessConfig
) -> set[int]:
    """Return the stored patients whose phases are others by the table of phases.

    Raises
    ------
    InputError
        If the store was made with a table for a patient, and none is given.
    """
    again = set()
    for index, record in writer.read_records(writer.finished()).items():
        patient = patients.get(record.patient_id)
        if record.status != "stored" or patient is None:
            continue
        if not patient.phases_table:
            if record.details.get("phases_table"):
                raise InputError(
                    f"store {writer.url} was made with a table of phases for {record.patient_id}, and"
                    " none is given for it now: give it by --phases, or name a new store"
                )
        elif record.details.get("phase_series") != _series_by_table(patient, config):
            again.add(index)
    return again


def _series_by_table(patient: Patient, config: PreprocessConfig) -> list[str] | None:
    """Return the series that a table of phases says are used; None where images are files."""
    if patient.examination is None:
        return None
    phases = {n: key for key, n in patient.examination.table.items() if n >= 0}
    try:
        return [phases[n] for n in choose_phases(len(phases), config)]
    except UnreadableImageError:
        return []


@dataclass(frozen=True)
class WorkerRequirements:
    """What a worker must have, wherever it runs and whenever it joins.

    Parameters
    ----------
    version
        Of this package.
    places
        Local folders, and for each a path that only exists where it is the same folder.
    """

    version: str
    places: tuple[tuple[str, str], ...]

    @staticmethod
    def of(cohort: Cohort, url: str) -> WorkerRequirements:
        """Return what work on a cohort and a store needs. The store's lock is held."""
        root = str(cohort.root)
        # Not the folders themselves: a machine may have others by these names, or mount points.
        lock = next(filter(is_lock, files.list_names(url)), LOCK_NAME)
        within = {root: files.list_names(root)[:1], url: [lock]}
        places = tuple(
            (place, files.join(place, *names))
            for place, names in within.items()
            if files.is_local(place)
        )
        return WorkerRequirements(version("radiotrain"), places)

    def missing(self) -> str | None:
        """Return what this process lacks, in words; None where it has all."""
        if version("radiotrain") != self.version:
            return (
                f"has radiotrain {version('radiotrain')}, expected {self.version}: install the"
                " same version everywhere"
            )
        for place, probe in self.places:
            if not files.exists(probe):
                return f"does not see {place}: use a folder that all machines share, or s3://…"
        return None


def _check_workers(client: Client, needs: WorkerRequirements) -> None:
    """Refuse workers that cannot do the work.

    Raises
    ------
    InputError
        If there is one.
    """
    try:
        answers = client.run(_lacking_or_ready, needs)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the Dask workers lack the module {error.name!r}: install radiotrain"
            f" {needs.version} where they run"
        ) from error
    for address, missing in answers.items():
        if missing is not None:
            raise InputError(f"Dask worker {address} {missing}")


def _lacking_or_ready(needs: WorkerRequirements) -> str | None:
    """Load what the work takes while nobody waits for a patient; return what is missing."""
    missing = needs.missing()
    if missing is None:
        prepare_worker_process()
    return missing


def _run(
    client: Client,
    writer: StoreWriter,
    config: PreprocessConfig,
    needs: WorkerRequirements,
    pending: dict[int, Patient],
    progress: Callable[[str, int], Any],
) -> None:
    work = partial(_process_and_write, writer=writer, config=config, needs=needs)
    with progress("preprocess", len(pending)) as advance:
        # A process that dies takes all with it that Dask had given it. Which patient it dies of
        # shows when each is done alone.
        for index in _do(client, work, pending, advance):
            if _do(client, work, {index: pending[index]}, advance):
                writer.write(_died(pending[index], index), None)
                advance()


def _do(
    client: Client,
    work: Callable[[Patient, int], None],
    patients: Mapping[int, Patient],
    advance: Callable[[], Any],
) -> list[int]:
    """Do some patients; return those whose processes died again and again."""
    futures = {
        # Otherwise Dask takes them in any order, another one each time.
        client.submit(work, patient, index, pure=False, retries=_RETRIES, priority=-index): index
        for index, patient in patients.items()
    }
    died = []
    for future in as_completed(list(futures)):
        index = futures.pop(future)
        try:
            # What is done lies in the store. Its value lies in a worker, which may not answer.
            if future.status != "finished":
                future.result()
            future.release()
            advance()
        except KilledWorker:
            died.append(index)
        except CancelledError as error:
            raise InputError(
                f"the Dask scheduler went away with {len(futures) + 1} patients to do: start it"
                " again and run the same command to resume"
            ) from error
        except RadiotrainError:
            client.cancel(list(futures))
            raise
    return died


def _process_and_write(
    patient: Patient,
    index: int,
    writer: StoreWriter,
    config: PreprocessConfig,
    needs: WorkerRequirements,
) -> None:
    """Do one patient in a worker; what crosses processes is small."""
    worker = get_worker()
    missing = needs.missing()
    if missing is not None:
        raise InputError(f"Dask worker {worker.address} {missing}")
    prepare_worker_process()
    # What a worker leaves behind when it is killed lies where Dask tidies up.
    tempfile.tempdir = worker.local_directory
    try:
        digest = input_digest(patient)
        record, tensor = process_patient(patient, index, config)
        if not any_internal(record.findings):
            # Otherwise no digest: with our own code mended, the next run is to try again.
            record = replace(record, input_digest=digest)
        writer.write(record, tensor)
    except Exception as error:
        if isinstance(error, OSError) or not is_of_one_patient(error):
            raise
        writer.write(_failed(patient, index, finding_of(error)), None)


def _died(patient: Patient, index: int) -> PatientRecord:
    message = "the process working on it died each time, perhaps out of memory"
    return _failed(patient, index, Finding("worker-died", message))


def _failed(patient: Patient, index: int, finding: Finding) -> PatientRecord:
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


def num_internal_errors(result: PreprocessResult) -> int:
    """Return how many patients were excluded for an error in our own code."""
    return sum(any_internal(record.findings) for record in result.store.excluded)


def describe(result: PreprocessResult) -> str:
    """Return the run's last line: patients stored and excluded, with reasons counted."""
    store = result.store
    reasons: dict[str, int] = {}
    for record in store.excluded:
        reasons[record.exclusion_code] = reasons.get(record.exclusion_code, 0) + 1
    why = ", ".join(f"{n} {code}" for code, n in sorted(reasons.items()))
    line = f"{len(store.patient_ids)} patients stored, {len(store.excluded)} excluded"
    line += f" ({why})" if why else ""
    if result.num_done_before:
        line += f"; {result.num_done_before} were done before, {result.num_done_now} now"
    odd = [r for r in store.records if any(f.code in CODES for f in r.findings)]
    if odd:
        have = "has" if len(odd) == 1 else "have"
        line += f"; {len(odd)} of the stored {have} implausible phases, see 'radiotrain qc'"
    return f"{line}: {store.url}"
