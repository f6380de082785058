"""Writes a phantom cohort: patients one by one, then the workbooks, ``truth.json`` last.

A patient's folder appears whole or not at all, so that a killed run goes on where it ended.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from preprocessing import files
from preprocessing.errors import InputError, StorageFullError, is_disk_full
from preprocessing.phantom import workbooks
from preprocessing.phantom.dicom_writer import (
    SeriesWriter,
    file_name,
    make_uid,
    patient_folder_names,
)
from preprocessing.phantom.geometry import F32
from preprocessing.phantom.labels import Labels, draw_labels
from preprocessing.phantom.patient import PhantomPatient, draw_patient, random_stream
from preprocessing.phantom.scanner import Series
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.signal import acquire
from preprocessing.phantom.truth import encode_arrays, patient_truth, target_truth, tumour_truth
from preprocessing.progress import progress

COLLECTION = "Duke-Breast-Cancer-MRI"

_MARKER = "phantom.json"
_FORMAT = 1
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
    _claim(out, settings)
    try:
        labels = draw_labels(settings)
        _write_patients(out, settings, labels, workers)
        patients = [draw_patient(settings, i, row) for i, row in enumerate(labels, start=1)]
        _write_tables(out, settings, patients)
    except OSError as error:
        if is_disk_full(error) and not isinstance(error, StorageFullError):
            raise StorageFullError(
                f"disk full while writing phantom {out}: finished patients are kept, free some"
                " space and run the same command again"
            ) from error
        raise


def _claim(out: Path, settings: PhantomSettings) -> None:
    """Mark `out` as a phantom of these settings, or refuse it."""
    marker = {"format": _FORMAT, "settings": settings.to_json()}
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder: name a new folder")
    names = files.list_names(str(out))
    if _MARKER in names:
        _check_same(out, _read_marker(out), marker)
    elif names:
        raise InputError(
            f"{out} is not empty and holds no phantom (found {names[0]!r}), expected a new or"
            " empty folder: name another one"
        )
    else:
        files.write_text(str(out / _MARKER), _dump(marker))


def _read_marker(out: Path) -> dict[str, Any]:
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
    old, new = found["settings"], wanted["settings"]
    differing = [k for k in new if old.get(k) != new[k]]
    if found.get("format") != _FORMAT or differing:
        name = differing[0] if differing else "format"
        raise InputError(
            f"{out} holds a phantom with {name} {old.get(name, found.get(name))!r}, got"
            f" {new.get(name, _FORMAT)!r}: use the same settings to resume, or name a new folder"
        )


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
    # Spawned, since a forked copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in as_completed([pool.submit(write_patient, *task) for task in tasks]):
            future.result()
            yield


def write_patient(out: Path, settings: PhantomSettings, number: int, labels: Labels) -> None:
    """Write one patient's truth and then, by one rename, the folder of DICOM series."""
    patient = draw_patient(settings, number, labels)
    final = _patient_folder(out, number)
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write_series(partial, settings, patient)
    arrays = encode_arrays(patient, tumour_truth(patient))
    files.write_bytes(str(out / "truth" / f"{patient.patient_id}.npz"), arrays)
    partial.rename(final)


def _patient_folder(out: Path, number: int) -> Path:
    return out / COLLECTION / f"Breast_MRI_{number:03d}"


def _write_series(folder: Path, settings: PhantomSettings, patient: PhantomPatient) -> None:
    key = _uid_key(settings, patient.number)
    series = patient.protocol.series
    writers = [SeriesWriter(patient.patient_id, key, patient.protocol, s) for s in series]
    for writer, name in zip(writers, patient_folder_names(writers, patient.layout), strict=True):
        (folder / name).mkdir(parents=True)
        for index, content in _files(settings, patient, writer):
            slices = writer.series.stack.slices
            file = file_name(index, slices, zero_padded=patient.zero_padded)
            (folder / name / file).write_bytes(content)


def _uid_key(settings: PhantomSettings, number: int) -> str:
    # The size of the cohort is left out: a larger one begins with the same patients.
    values = {k: v for k, v in settings.to_json().items() if k not in ("patients", "layout")}
    return make_uid(json.dumps(values, sort_keys=True), number)


def _files(
    settings: PhantomSettings, patient: PhantomPatient, writer: SeriesWriter
) -> Iterator[tuple[int, bytes]]:
    """Yield slice index and file content of one series, a slab of slices at a time."""
    series, stack = writer.series, writer.series.stack
    rng = random_stream(settings.seed, patient.number, "noise", series.number)
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
    boxes = {patient_id: t.box for patient_id, t in tumours.items()}
    clinical = workbooks.clinical_workbook(patients, settings)
    files.write_bytes(str(out / workbooks.CLINICAL_NAME), clinical)
    files.write_bytes(str(out / workbooks.BOXES_NAME), workbooks.boxes_workbook(boxes))
    truth = {
        "settings": settings.to_json(),
        "targets": target_truth(settings, patients),
        "patients": {p.patient_id: patient_truth(p, tumours[p.patient_id]) for p in patients},
    }
    files.write_text(str(out / "truth.json"), _dump(truth))


def _dump(values: Any) -> str:
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"
