"""``radiotrain qc``: all pages of a store, patients looked at in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocessing.common.errors import InputError
from preprocessing.processes.worker_process import (
    interrupts_held_back,
    prepare_worker_process,
    worker_context,
)
from preprocessing.qc.cohort_page import render_cohort
from preprocessing.qc.folder import (
    claim,
    file_names,
    local_folder,
    page_path,
    picture_path,
    remove_stale,
)
from preprocessing.qc.measures import measures_of
from preprocessing.qc.outliers import Entry, make_entries, make_yardsticks
from preprocessing.qc.patient_page import Place, render_patient
from preprocessing.qc.reading import one_patient
from preprocessing.qc.study import Study, study
from preprocessing.storage import files
from preprocessing.storage.folder_lock import exclusive
from preprocessing.store import Store

INDEX = "index.html"


@dataclass(frozen=True)
class Written:
    """What was written.

    Parameters
    ----------
    damaged
        Patients whose voxels could not be read.
    """

    index: Path
    num_pages: int
    damaged: tuple[str, ...]


def write_pages(
    store: Store, out: str | Path, num_workers: int, progress: Callable[[str, int], Any]
) -> Written:
    """Write the pages of all patients, and last the cohort's.

    Parameters
    ----------
    num_workers
        Processes; with 1 everything happens in this one.
    progress
        Called with a description and the number of patients; see `preprocessing.common.progress`.

    Raises
    ------
    InputError
        If `out` holds something else, or a process died.
    StorageFullError
        If the disk is full.
    """
    with exclusive(local_folder(out), "folder of pages"):
        return _write_alone(store, claim(out), num_workers, progress)


def _write_alone(
    store: Store, folder: Path, num_workers: int, progress: Callable[[str, int], Any]
) -> Written:
    names = file_names(store.patient_ids)
    studies: dict[int, Study] = {}
    with progress("qc", len(names)) as advance:
        for i, found in _look_at_all(store, folder, names, num_workers):
            studies[i] = found
            advance()
    ordered = [studies[i] for i in range(len(names))]
    measures = measures_of(store.spec.num_phases)
    yardsticks = make_yardsticks([s.measures for s in ordered], measures)
    entries = make_entries(store, names, ordered, yardsticks)
    for i, entry in enumerate(entries):
        page = render_patient(entry, _place(entries, i), store.spec.num_phases, yardsticks)
        files.write_text(str(page_path(folder, entry.name)), page)
    index = folder / INDEX
    files.write_text(str(index), render_cohort(store, entries))
    remove_stale(folder, {path for entry in entries for path in _files_of(folder, entry)})
    damaged = tuple(e.record.patient_id for e in entries if e.damaged)
    return Written(index, len(entries) + 1, damaged)


def _files_of(folder: Path, entry: Entry) -> list[Path]:
    found = [page_path(folder, entry.name)]
    if entry.study.pictures is not None:
        found.append(picture_path(folder, entry.name, "grey"))
        if entry.study.pictures.field is not None:
            found.append(picture_path(folder, entry.name, "field"))
    return found


def _place(entries: Sequence[Entry], i: int) -> Place:
    return Place(
        number=i + 1,
        count=len(entries),
        previous=entries[i - 1] if i > 0 else None,
        following=entries[i + 1] if i + 1 < len(entries) else None,
    )


def _look_at_all(
    store: Store, folder: Path, names: Sequence[str], num_workers: int
) -> Iterator[tuple[int, Study]]:
    num_workers = min(num_workers, len(names))
    if num_workers <= 1:
        for i, name in enumerate(names):
            yield i, study(one_patient(store, i), folder, name)
        return
    context = worker_context("preprocessing.qc.pages")
    with ProcessPoolExecutor(num_workers, context, initializer=prepare_worker_process) as pool:
        try:
            with interrupts_held_back():
                futures: dict[Future[Study], int] = {
                    pool.submit(study, one_patient(store, i), folder, name): i
                    for i, name in enumerate(names)
                }
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"one of {num_workers} processes died, perhaps out of memory:"
                " run again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
