"""Writes a phantom cohort: patients one by one, then the workbooks, ``truth.json`` last.

A patient's folder appears whole or not at all, so that a killed run goes on where it ended.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from preprocessing.common.errors import InputError, StorageFullError, is_disk_full
from preprocessing.common.json_values import dump_json
from preprocessing.common.progress import progress
from preprocessing.phantom import workbooks
from preprocessing.phantom.dicom_writer import SeriesWriter, file_name, make_uid
from preprocessing.phantom.patient import (
    Labels,
    PhantomPatient,
    draw_labels,
    draw_patient,
    random_stream,
)
from preprocessing.phantom.quirk_files import Written
from preprocessing.phantom.quirk_patients import (
    FLAT_WORKBOOK,
    MAPPING_WORKBOOK,
    NO_IMAGES,
    box_row,
    redraw,
    spoil,
)
from preprocessing.phantom.scanner import Series
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.signal import acquire
from preprocessing.phantom.truth import (
    TumourTruth,
    encode_arrays,
    patient_truth,
    target_truth,
    tumour_truth,
)
from preprocessing.phantom.voxels import F32
from preprocessing.processes.worker_process import interrupts_held_back, worker_context
from preprocessing.storage import files
from preprocessing.storage.folder_lock import exclusive
from preprocessing.storage.lock_notes import is_lock

_MARKER = "phantom.json"
_FORMAT = 1


def claim(out: Path, settings: PhantomSettings) -> None:
    """Mark `out` as a phantom of these settings.

    Raises
    ------
    InputError
        If `out` holds anything else, or a phantom of other settings.
    """
    marker = {"format": _FORMAT, "settings": settings.to_json()}
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder: name a new folder")
    names = [
        name
        for name in files.list_names(str(out))
        if not (is_lock(name) or name.endswith(files.PARTIAL))
    ]
    if _MARKER in names:
        _check_same(out, _read(out), marker)
    elif names:
        raise InputError(
            f"{out} is not empty and holds no phantom (found {names[0]!r}), expected a new or"
            " empty folder: name another one"
        )
    else:
        files.write_text(str(out / _MARKER), dump_json(marker))


def _read(out: Path) -> dict[str, Any]:
    try:
        marker = json.loads((out / _MARKER).read_text("utf-8"))
    except ValueError:
        marker = None
    if not isinstance(marker, dict) or not isinstance(marker.get("settings"), dict):
        raise InputError(
            f"{out / _MARKER} is not what a phantom is marked with, expected its settings as JSON:"
            " name a new or empty folder"
        )
    return marker


def _check_same(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    # Settings that a phantom was made without, such as quirks, are not in its marker.
    old, new = ({"quirks": [], "shortcut": {}, **marker["settings"]} for marker in (found, wanted))
    differing = [k for k in new if old.get(k) != new[k]]
    if found.get("format") != _FORMAT or differing:
        name = differing[0] if differing else "format"
        raise InputError(
            f"{out} holds a phantom with {name} {old.get(name, found.get(name))!r}, got"
            f" {new.get(name, _FORMAT)!r}: use the same settings to resume, or name a new folder"
        )


COLLECTION = "Duke-Breast-Cancer-MRI"

# Voxels worked on at a time; bounds the memory of a full-size patient to some 200 MB.
_SLAB_VOXELS = 2_000_000


def write_phantom(out: Path, settings: PhantomSettings, workers: int = 1) -> None:
    """Write a phantom cohort into `out`, or finish one that was begun with the same settings.

    Parameters
    ----------
    out
        A new or empty folder, or one with a phantom of equal settings.
    settings
        See `PhantomSettings`.
    workers
        Processes; the files do not depend on it.

    Raises
    ------
    InputError
        If `out` holds anything else, or a phantom of other settings.
    StorageFullError
        If the disk is full; the same call resumes.
    """
    if workers < 1:
        raise InputError(f"phantom workers is {workers}, expected at least 1: choose 1 or more")
    out = out.expanduser().resolve()
    with exclusive(out, "phantom"):
        _write_alone(out, settings, workers)


def _write_alone(out: Path, settings: PhantomSettings, workers: int) -> None:
    claim(out, settings)
    try:
        labels = draw_labels(settings)
        _write_patients(out, settings, labels, workers)
        patients = [_draw(settings, i, row) for i, row in enumerate(labels, start=1)]
        _write_tables(out, settings, patients)
    except OSError as error:
        if is_disk_full(error) and not isinstance(error, StorageFullError):
            raise StorageFullError(
                f"disk full while writing phantom {out}: finished patients are kept, free some"
                " space and run the same command again"
            ) from error
        raise


def _write_patients(
    out: Path, settings: PhantomSettings, labels: list[Labels], workers: int
) -> None:
    tasks = [
        (out, settings, number, row)
        for number, row in enumerate(labels, start=1)
        if not _patient_folder(out, number).exists()
    ]
    with progress("phantom", len(tasks)) as advance:
        for _ in _run(tasks, min(workers, len(tasks))):
            advance()


def _run(tasks: list[tuple[Path, PhantomSettings, int, Labels]], workers: int) -> Iterator[None]:
    if workers <= 1:
        for task in tasks:
            write_patient(*task)
            yield
        return
    with ProcessPoolExecutor(workers, worker_context("preprocessing.phantom.write")) as pool:
        try:
            with interrupts_held_back():
                futures = [pool.submit(write_patient, *task) for task in tasks]
            for future in as_completed(futures):
                future.result()
                yield
        finally:
            pool.shutdown(cancel_futures=True)


def write_patient(out: Path, settings: PhantomSettings, number: int, labels: Labels) -> None:
    """Write one patient's truth and then, by one rename, the folder of DICOM series."""
    patient, quirk = _draw(settings, number, labels), settings.quirk_of(number)
    tumour = tumour_truth(patient)
    arrays = encode_arrays(patient, tumour)
    files.write_bytes(str(out / "truth" / f"{patient.patient_id}.npz"), arrays)
    if quirk == NO_IMAGES:
        return
    final = _patient_folder(out, number)
    partial = final.with_name(f".{final.name}{files.PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    folders = _write_series(partial, settings, patient)
    spoil(Written(partial, folders, patient, tumour), quirk)
    partial.rename(final)


def _draw(settings: PhantomSettings, number: int, labels: Labels) -> PhantomPatient:
    return redraw(draw_patient(settings, number, labels), settings.quirk_of(number))


def _patient_folder(out: Path, number: int) -> Path:
    return out / COLLECTION / f"Breast_MRI_{number:03d}"


def _writers(settings: PhantomSettings, patient: PhantomPatient) -> list[SeriesWriter]:
    key = _uid_key(settings, patient.number)
    protocol = patient.protocol
    return [SeriesWriter(patient.patient_id, key, protocol, s) for s in protocol.series]


def _uid_key(settings: PhantomSettings, number: int) -> str:
    # The size of the cohort is left out: a larger one begins with the same patients. So are its
    # quirks: what they do not concern is that of the same cohort without them.
    left_out = ("patients", "layout", "quirks")
    values = {k: v for k, v in settings.to_json().items() if k not in left_out}
    return make_uid(json.dumps(values, sort_keys=True), number)


def _write_series(
    folder: Path, settings: PhantomSettings, patient: PhantomPatient
) -> tuple[Path, ...]:
    """Write all series below `folder` and return their folders."""
    places = []
    for writer in _writers(settings, patient):
        place = folder / writer.folder(patient.layout)
        place.mkdir(parents=True)
        places.append(place)
        for index, content in _files(settings, patient, writer):
            slices = writer.series.stack.slices
            stored = writer.stored_index(index)
            name = file_name(stored, slices, zero_padded=patient.zero_padded)
            (place / name).write_bytes(content)
    return tuple(places)


def _files(
    settings: PhantomSettings, patient: PhantomPatient, writer: SeriesWriter
) -> Iterator[tuple[int, bytes]]:
    """Yield slice index and file content of one series, a slab of slices at a time."""
    series, stack = writer.series, writer.series.stack
    rng = random_stream(settings.seed, patient.number, "noise", series.key)
    step = max(1, _SLAB_VOXELS // (stack.rows * stack.columns))
    for first in range(0, stack.slices, step):
        slab = slice(first, min(first + step, stack.slices))
        points = stack.points(slab)
        signal = _signal(patient, series, slab)
        log_field = patient.scene.field.at(points)
        stored = acquire(signal, log_field, patient.protocol.gain, settings.noise, rng)
        for index, pixels in enumerate(stored, start=first):
            yield index, writer.encode(index, pixels)


def _signal(patient: PhantomPatient, series: Series, slab: slice) -> F32:
    points = series.stack.points(slab)
    if series.phase is None:
        return patient.scene.plain(points)
    return patient.scene.dynamic(patient.poses[series.phase].to_patient(points), series.phase)


def _write_tables(out: Path, settings: PhantomSettings, patients: list[PhantomPatient]) -> None:
    tumours = {p.patient_id: tumour_truth(p) for p in patients}
    flat = FLAT_WORKBOOK in settings.quirks
    clinical = workbooks.clinical_workbook(patients, settings, flat=flat)
    boxes = workbooks.boxes_workbook(_box_rows(settings, patients, tumours))
    files.write_bytes(str(out / workbooks.CLINICAL_NAME), clinical)
    files.write_bytes(str(out / workbooks.BOXES_NAME), boxes)
    if MAPPING_WORKBOOK in settings.quirks:
        # Of the others with a quirk it would tell what their files are there not to tell.
        told = [p for p in patients if settings.quirk_of(p.number) in (None, MAPPING_WORKBOOK)]
        rows = workbooks.mapping_workbook(COLLECTION, ((p, _writers(settings, p)) for p in told))
        files.write_bytes(str(out / workbooks.NAME), rows)
    truth = {
        "settings": settings.to_json(),
        "targets": target_truth(settings, patients),
        "patients": {p.patient_id: patient_truth(p, tumours[p.patient_id]) for p in patients},
    }
    files.write_text(str(out / "truth.json"), dump_json(truth))


def _box_rows(
    settings: PhantomSettings,
    patients: list[PhantomPatient],
    tumours: Mapping[str, TumourTruth],
) -> dict[str, dict[str, int]]:
    rows = {
        p.patient_id: box_row(tumours[p.patient_id].box, p, settings.quirk_of(p.number))
        for p in patients
    }
    return {patient_id: row for patient_id, row in rows.items() if row is not None}
