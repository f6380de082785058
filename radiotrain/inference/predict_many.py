"""Predict several patients.

Numbers are kept: whoever is added later gets the next one. A patient who is done, with the same
models, settings and files, is not done again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from preprocessing.cohort import manifest
from preprocessing.cohort.cohort import Box, Patient
from preprocessing.cohort.options import NOTHING_SAID, TableOptions
from preprocessing.cohort.read_cohort import LAYOUTS, layout_of, read_cohort
from preprocessing.common.errors import (
    InputError,
    MissingPathError,
    RadiotrainError,
    SealedTestSetError,
)
from preprocessing.images.phases.table import PhaseTable, with_table
from preprocessing.images.volumes import finding_of, is_of_one_patient
from preprocessing.storage import files
from preprocessing.storage.lock_notes import is_lock
from radiotrain.inference.predict_patient import JSON, Asked, examine, read_request
from radiotrain.inference.prediction import PatientPrediction
from radiotrain.inference.prepare import Region, UnusablePatientError, read_patient

COLUMNS = (
    "number", "target", "model", "probability", "is_calibrated", "threshold", "call", "spread_sd",
    "num_predictions", "num_warnings", "finding",
)  # fmt: skip

Row = Mapping[str, str]


def rows_of(number: str, answer: PatientPrediction | str) -> tuple[Row, ...]:
    """Return a patient's rows, or the one row of a patient who could not be predicted.

    Parameters
    ----------
    answer
        Or the finding that says why there is none: its code, since sentences may quote names.
    """
    empty = dict.fromkeys(COLUMNS, "") | {"number": number}
    if isinstance(answer, str):
        return (empty | {"finding": answer},)
    return tuple(
        empty
        | {
            "target": target.answer.target,
            "model": target.model,
            "probability": f"{target.answer.probability:.6f}",
            "is_calibrated": str(target.answer.is_calibrated).lower(),
            "threshold": _percent(target.answer.threshold),
            "call": target.answer.call or "",
            "spread_sd": _percent(target.answer.spread.sd),
            "num_predictions": str(target.answer.spread.num_predictions),
            "num_warnings": str(len(answer.warnings)),
        }
        for target in answer.targets
    )


def read_rows(where: str) -> dict[str, tuple[Row, ...]]:
    """Return the rows of each patient in a table that was written before; none where there is none."""
    if not files.exists(where):
        return {}
    found: dict[str, tuple[Row, ...]] = {}
    for row in csv.DictReader(io.StringIO(files.read_text(where))):
        values = {name: row.get(name) or "" for name in COLUMNS}
        found[values["number"]] = (*found.get(values["number"], ()), values)
    return found


def summary_csv(rows: Mapping[str, Sequence[Row]]) -> str:
    """Return the table's text, by number."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for number in sorted(rows):
        writer.writerows(rows[number])
    return buffer.getvalue()


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


KEY, TABLE = "key.csv", "predictions.csv"
_DIGITS = 4

Progress = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Candidate:
    """Somebody to predict.

    Parameters
    ----------
    name
        Folder or id, which may tell who it is: for the key alone.
    open
        Returns the patient; raises an `InputError` where it cannot be used.
    """

    name: str
    open: Callable[[], Patient]


@dataclass(frozen=True)
class Done:
    """What came of several patients.

    Parameters
    ----------
    failed
        Number of a patient to why they could not be predicted.
    """

    num_now: int
    num_before: int
    failed: Mapping[str, str]
    table: str


def is_cohort(place: Path) -> bool:
    """Tell whether a place is a cohort or a manifest rather than one patient's folder."""
    return any(layout.recognises(place) for layout in LAYOUTS)


def candidates_of_cohort(
    place: Path, options: TableOptions = NOTHING_SAID
) -> tuple[Candidate, ...]:
    """Return the patients of a cohort; labels need not be there."""
    layout = layout_of(place)
    if layout is not None and layout.name == "manifest":
        cohort = manifest.read(place, options, needs_targets=False)
    else:
        cohort = read_cohort(str(place), options)
    return tuple(Candidate(p.patient_id, lambda p=p: p) for p in cohort.patients)  # type: ignore[misc]


def candidates_of_folders(
    root: Path, boxes: Mapping[str, Box], covariates: Mapping[str, str | float | None]
) -> tuple[Candidate, ...]:
    """Return the patients of a folder of patient folders.

    Parameters
    ----------
    boxes
        By name of the folder; who has none needs a segmentation in the folder.

    Raises
    ------
    InputError
        If there are no folders, or a box is of none of them.
    """
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(f"{root} holds no folders: expected one for each patient")
    strangers = sorted(set(boxes) - {folder.name for folder in folders})
    if strangers:
        raise InputError(
            f"{len(strangers)} of the boxes, such as that of {strangers[0]!r}, are of no folder in {root}:"
            " the column patient_id has to hold the folders' names"
        )

    def opener(folder: Path) -> Callable[[], Patient]:
        def read() -> Patient:
            patient = read_patient(folder, Region(box=boxes.get(folder.name)))
            return with_covariates(patient, covariates)

        return read

    return tuple(Candidate(folder.name, opener(folder)) for folder in folders)


def with_covariates(patient: Patient, covariates: Mapping[str, str | float | None]) -> Patient:
    """Return a patient of whom more is known."""
    return replace(patient, covariates={**patient.covariates, **covariates})


def with_phases(candidate: Candidate, table: PhaseTable | None) -> Candidate:
    """Return a candidate whose phases are those of a table, where there is one."""
    if table is None:
        return candidate
    return replace(
        candidate, open=lambda: with_table_of_phases(candidate.open(), table, candidate.name)
    )


def with_table_of_phases(
    patient: Patient, table: PhaseTable | None, name: str | None = None
) -> Patient:
    """Return a patient whose phases are those of a table.

    Parameters
    ----------
    name
        Under which the table has the patient; series are looked for among all where it has not.
    """
    if table is None:
        return patient
    rows = table.patients.get(name if name is not None else patient.patient_id)
    if rows is not None:
        return with_table(patient, rows, table.digest)
    if patient.examination is None:
        return patient
    return with_table(patient, table.all_series(), table.digest, shared=True)


def predict_many(
    candidates: Sequence[Candidate], asked: Asked, out: str, progress: Progress
) -> Done:
    """Predict patients; one who cannot be predicted is named in the table and ends nothing."""
    numbers = _number(candidates, out)
    rows = read_rows(files.join(out, TABLE))
    now = before = 0
    failed: dict[str, str] = {}
    with progress("predict", len(candidates)) as advance:
        for candidate in candidates:
            number = numbers[candidate.name]
            folder = files.join(out, number)
            try:
                patient = candidate.open()
                if read_request(folder) == asked.request(patient) and number in rows:
                    before += 1
                else:
                    rows[number] = rows_of(number, _examine(patient, asked, folder))
                    now += 1
            except Exception as error:
                foreseen = isinstance(error, (InputError, MissingPathError, SealedTestSetError))
                if not foreseen and not is_of_one_patient(error):
                    raise
                failed[number] = str(error) if foreseen else finding_of(error).message
                files.remove(files.join(folder, JSON))
                rows[number] = rows_of(number, _finding(error))
            # After each patient: whatever ends this, nothing done is lost.
            files.write_text(files.join(out, TABLE), summary_csv(rows))
            advance()
    return Done(now, before, failed, files.join(out, TABLE))


def _examine(patient: Patient, asked: Asked, folder: str) -> PatientPrediction:
    excluding = next((f for f in patient.findings if f.excludes), None)
    if excluding is not None:
        raise UnusablePatientError(excluding)
    return examine(patient, asked, folder)


def _finding(error: Exception) -> str:
    if not isinstance(error, RadiotrainError):
        return finding_of(error).code
    if isinstance(error, UnusablePatientError):
        return error.finding.code
    return "sealed-test-patient" if isinstance(error, SealedTestSetError) else "input-unusable"


def _number(candidates: Sequence[Candidate], out: str) -> dict[str, str]:
    """Return each patient's number: the one they had, or the next."""
    where = files.join(out, KEY)
    known: dict[str, str] = {}
    if files.exists(where):
        rows = csv.DictReader(io.StringIO(files.read_text(where)))
        known = {row["patient"]: row["number"] for row in rows}
    elif not all(map(is_lock, files.list_names(out))):
        raise InputError(
            f"{out} is not empty and holds no {KEY}: name a folder that is new, empty, or of this command"
        )
    next_number = max((int(n) for n in known.values()), default=0) + 1
    for candidate in candidates:
        if candidate.name not in known:
            known[candidate.name] = f"{next_number:0{_DIGITS}d}"
            next_number += 1
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["number", "patient"])
    writer.writerows((number, name) for name, number in known.items())
    files.write_bytes(where, buffer.getvalue().encode("utf-8"), private=True)
    return known


def read_boxes(path: str, options: TableOptions = NOTHING_SAID) -> dict[str, Box]:
    """Read tumour boxes: a table with ``patient_id`` and the six box columns of a manifest.

    Raises
    ------
    MissingPathError, InputError
        If there is none, or it cannot be used.
    """
    return manifest.read_boxes(files.to_path(path), options)
