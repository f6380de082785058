"""What the search for leaks finds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from radiotrain.evaluation.spreadsheet import as_text

Finding = tuple[str, tuple[str, ...]]
"""A sentence, and the patients that it is about."""

Outcome = Literal["clear", "found", "not done"]


@dataclass(frozen=True)
class LeakCheck:
    """One question that is asked each time a test set is opened or a table judged.

    Parameters
    ----------
    question
        What would be a leak.
    outcome
        ``not done`` where what it needs was not given.
    sentence
        What was looked at, or why nothing could be.
    findings
        A sentence for each thing found, the worst first; it names no patient.
    patients
        Of each finding, the ids that it is about: they go into ``leaks.csv`` and no page.
    """

    question: str
    outcome: Outcome
    sentence: str
    findings: tuple[str, ...] = ()
    patients: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, question: str, looked_at: str, found: Sequence[Finding]) -> LeakCheck:
        """Return a check that was done."""
        return cls(
            question,
            "found" if found else "clear",
            looked_at,
            tuple(sentence for sentence, _ in found),
            tuple(ids for _, ids in found),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without patients."""
        values = asdict(self)
        del values["patients"]
        return values


def leaks_csv(checks: Sequence[LeakCheck]) -> str:
    """Return a table with a line for each patient of each finding; empty where nothing was found."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("question", "finding", "patient_id"))
    rows = [
        (check.question, finding, patient)
        for check in checks
        for finding, ids in zip(check.findings, check.patients, strict=False)
        for patient in ids
    ]
    writer.writerows(tuple(map(as_text, row)) for row in rows)
    return buffer.getvalue() if rows else ""
