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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from preprocessing import files
from preprocessing.cohort import Cohort, Finding, Patient
from preprocessing.errors import InputError, nearest_hint
from preprocessing.examination import ListedSeries

COLUMNS = (
    "patient_id", "series", "phase", "reason", "series_number", "description", "kind", "slices",
    "seconds", "temporal_position",
)  # fmt: skip
_NEEDED = ("patient_id", "series", "phase")
_FILE = "phase_"


@dataclass(frozen=True)
class PhaseTable:
    """What a table says of each patient's series: key to phase, -1 for none.

    Parameters
    ----------
    digest
        Of the file: the same for the same content.
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


def read_table(path: str) -> PhaseTable:
    """Read a table of phases.

    Raises
    ------
    InputError
        If it is no such table, names a series twice, or gives a patient one phase twice, or phases
        with a gap.
    """
    try:
        text = files.read_text(path).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(f"table of phases {path} is not UTF-8: save it as CSV UTF-8") from error
    # Spreadsheets write ; or tabs where the comma is the decimal sign.
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    # A NUL is no text of a table, and ends the reader.
    rows = csv.DictReader(io.StringIO(text.replace("\0", "")), delimiter=delimiter)
    for needed in _NEEDED:
        if needed not in (rows.fieldnames or ()):
            hint = nearest_hint(needed, rows.fieldnames or ())
            raise InputError(
                f"table of phases {path} has no column {needed!r}{hint}: let 'radiotrain cohort check"
                " … --phases NEW.csv' write one"
            )
    patients: dict[str, dict[str, int]] = {}
    for line, row in enumerate(rows, start=2):
        patient_id, key = (row["patient_id"] or "").strip(), (row["series"] or "").strip()
        if not patient_id and not key:
            continue
        found = patients.setdefault(patient_id, {})
        if key in found:
            raise InputError(f"table of phases {path}, line {line}: series {key} is there twice")
        found[key] = _phase(path, line, (row["phase"] or "").strip())
    for patient_id, found in patients.items():
        _check_order(path, patient_id, found)
    return PhaseTable(patients, hashlib.sha256(text.encode()).hexdigest()[:16])


def _phase(path: str, line: int, text: str) -> int:
    if not text:
        return -1
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = -1.0
    if number != int(number) or number < 0:
        raise InputError(
            f"table of phases {path}, line {line}: phase is {text!r}, expected 0 (pre-contrast), 1, 2 …"
            " or nothing"
        )
    return int(number)


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
    """Return a patient whose phases are those that a table says.

    Parameters
    ----------
    shared
        Whether the rows are of other patients, too.
    """
    if patient.examination is not None:
        told = replace(patient.examination, table=dict(rows), is_table_shared=shared)
        return replace(patient, examination=told, phases_table=digest)
    wanted = {phase: key for key, phase in rows.items() if phase >= 0}
    numbers = [key.removeprefix(_FILE) for _, key in sorted(wanted.items())]
    if not numbers or not all(n.isdigit() and int(n) < len(patient.phases) for n in numbers):
        if shared:
            return patient
        message = (
            f"the table of phases names other series than its {len(patient.phases)} image files: write"
            " it anew for this patient"
        )
        return patient.with_findings(Finding("phases-table-unmatched", message))
    phases = tuple(patient.phases[int(n)] for n in numbers)
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
