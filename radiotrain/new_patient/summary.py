"""The table of several patients: one row each and target; of who could not be predicted, why."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from preprocessing.storage import files
from radiotrain.new_patient.answer import PatientAnswer

COLUMNS = (
    "number", "target", "model", "probability", "is_calibrated", "threshold", "call", "spread_sd",
    "num_predictions", "num_warnings", "finding",
)  # fmt: skip

Row = Mapping[str, str]


def rows_of(number: str, answer: PatientAnswer | str) -> tuple[Row, ...]:
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
            "threshold": _number(target.answer.threshold),
            "call": target.answer.call or "",
            "spread_sd": _number(target.answer.spread.sd),
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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
