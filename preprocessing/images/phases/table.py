"""A table of phases that people can correct: a line a series of each patient, its phase, and why.

``radiotrain cohort check COHORT --phases phases.csv`` writes it; edited, the same file decides. A series
is named by a key in which nothing about the patient can be read; its number, shown name, number of
slices and time after the first series are there for the reader. Only ``patient_id``, ``series`` and
``phase`` are read back: 0 pre-contrast, 1 … post-contrast, empty for no phase.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from preprocessing.cohort.cohort import Cohort, Finding, Patient
from preprocessing.cohort.tables import Wanted, find_column, read_table
from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.common.redaction import shown_cell
from preprocessing.images.phases.examination import ListedSeries
from preprocessing.storage import files

COLUMNS = (
    "patient_id", "series", "phase", "reason", "series_number", "description", "kind", "slices",
    "seconds", "temporal_position",
)  # fmt: skip
_NEEDED = ("patient_id", "series", "phase")
_FILE = "phase_"
_FILE_KEY = re.compile(r"phase_(0|[1-9][0-9]{0,2})")


@dataclass(frozen=True)
class PhaseTable:
    """What a table says of each patient's series: key to phase, -1 for none.

    Parameters
    ----------
    digest
        Of what it says: the same for the same rows.
    """

    patients: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    digest: str = ""

    def all_series(self) -> dict[str, int]:
        """Return all series of all patients."""
        return {key: phase for rows in self.patients.values() for key, phase in rows.items()}


def write_table(path: str, series: Mapping[str, Iterable[ListedSeries]]) -> None:
    """Write a table: patients in the order given, a line a series."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for patient_id, rows in series.items():
        for row in rows:
            cells = (
                patient_id,
                row.key,
                row.phase,
                row.reason,
                row.series_number,
                row.description,
                row.image_type,
                row.num_slices,
                row.time_s,
                row.temporal_position,
            )
            writer.writerow(["" if cell is None else cell for cell in cells])
    files.write_text(path, buffer.getvalue())


def read_phase_table(path: str) -> PhaseTable:
    """Read a table of phases: CSV as any program saves it, or Excel.

    Raises
    ------
    InputError
        If it is no such table, names a series twice, or gives a patient one phase twice, or phases
        with a gap.
    """
    wanted = Wanted("table of phases", _NEEDED)
    table = read_table(files.to_path(path), "patient_id", wanted)
    places = {name: find_column(name, table.columns, table.title) for name in _NEEDED}
    for name, place in places.items():
        if place is None:
            hint = nearest_hint(name, table.columns)
            raise InputError(
                f"table of phases {path} has no column {name!r}{hint}: let 'radiotrain cohort check"
                " … --phases NEW.csv' write one"
            )
    patients: dict[str, dict[str, int]] = {}
    for row in table.rows:
        patient_id, key, phase = (row.cells[places[name] or 0] for name in _NEEDED)
        if not patient_id and not key:
            continue
        found = patients.setdefault(patient_id, {})
        if key in found:
            raise InputError(
                f"table of phases {path}, line {row.number}: series {key} is there twice"
            )
        found[key] = _phase(path, row.number, phase)
    for patient_id, found in patients.items():
        _check_order(path, patient_id, found)
    digest = hashlib.sha256(json.dumps(patients).encode()).hexdigest()
    return PhaseTable(patients, digest[:16])


_PHASE = re.compile(r"([0-9]{1,3})(?:[.,]0*)?")


def _phase(path: str, line: int, text: str) -> int:
    if not text:
        return -1
    match = _PHASE.fullmatch(text)
    if match is None:
        raise InputError(
            f"table of phases {path}, line {line}: phase is {shown_cell(text)}, expected 0"
            " (pre-contrast), 1, 2 … or nothing"
        )
    return int(match[1])


def _check_order(path: str, patient_id: str, found: Mapping[str, int]) -> None:
    phases = sorted(phase for phase in found.values() if phase >= 0)
    if phases != list(range(len(phases))):
        raise InputError(
            f"table of phases {path}: patient {patient_id!r} has phases"
            f" {', '.join(map(str, phases))}, expected each of 0, 1, 2 … once, without gaps"
        )


def apply_table(cohort: Cohort, table: PhaseTable) -> Cohort:
    """Return a cohort whose phases are those of a table; patients it does not name stay as they are.

    Raises
    ------
    InputError
        If the table names patients who are not in the cohort.
    """
    known = {p.patient_id for p in cohort.patients}
    strangers = sorted(set(table.patients) - known)
    if strangers:
        raise InputError(
            f"the table of phases names {len(strangers)} patients, such as {strangers[0]!r}, who are not"
            f" in {cohort.root}: use the table of this cohort"
        )
    patients = tuple(
        with_table(p, table.patients[p.patient_id], table.digest)
        if p.patient_id in table.patients
        else p
        for p in cohort.patients
    )
    return replace(cohort, patients=patients)


def with_table(
    patient: Patient, rows: Mapping[str, int], digest: str, *, shared: bool = False
) -> Patient:
    """Return a patient whose phases are those that a table says, if it says any.

    Parameters
    ----------
    shared
        Whether the rows are of other patients, too.
    """
    if not any(phase >= 0 for phase in rows.values()):
        # Nothing was said of this patient: what the files tell decides.
        return patient
    if patient.examination is not None:
        told = replace(patient.examination, table=dict(rows), is_table_shared=shared)
        return replace(patient, examination=told, phases_table=digest)
    wanted = {phase: key for key, phase in rows.items() if phase >= 0}
    matches = [_FILE_KEY.fullmatch(key) for _, key in sorted(wanted.items())]
    numbers = [int(match[1]) for match in matches if match is not None]
    if len(numbers) < len(matches) or any(n >= len(patient.phases) for n in numbers):
        if shared:
            return patient
        message = (
            f"the table of phases names other series than its {len(patient.phases)} image files: write"
            " it anew for this patient"
        )
        return patient.with_findings(Finding("phases-table-unmatched", message))
    phases = tuple(patient.phases[n] for n in numbers)
    return replace(patient, phases=phases, phases_table=digest)


def list_files(patient: Patient) -> tuple[ListedSeries, ...]:
    """Return the image files of a patient as lines of a table."""
    return tuple(
        ListedSeries(
            key=f"{_FILE}{n}",
            series_number=None,
            description="",
            image_type="",
            num_slices=0,
            time_s=None,
            temporal_position=None,
            phase=n,
            reason=f"phase {n}, by the cohort's own table",
        )
        for n in range(len(patient.phases))
    )
