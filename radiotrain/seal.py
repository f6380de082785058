"""The seal on the test set: nothing reads test patients without an opening that is on record."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from preprocessing import files
from preprocessing.errors import SealedTestSetError
from radiotrain.split import Split, load_split

_OPENED_HERE = object()


@dataclass(frozen=True)
class Opening:
    """One line of the log: when, what for, with which runs, of which split.

    Parameters
    ----------
    configurations
        Of runs, in words and with a digest that a changed setting changes; logs of older versions
        have none.
    """

    time: str
    purpose: str
    runs: tuple[str, ...]
    split_fingerprint: str
    configurations: Mapping[str, str] = field(default_factory=dict)


class TestAccess:
    """Leave to read the test patients of one split; only `open_test_set` gives it."""

    __test__ = False  # not a test, in spite of its name

    def __init__(self, opening: Opening, key: object) -> None:
        if key is not _OPENED_HERE:
            raise SealedTestSetError("test access is given by open_test_set only")
        self.opening = opening


def open_test_set(
    split_url: str,
    purpose: str,
    runs: Sequence[str],
    configurations: Mapping[str, str] | None = None,
) -> TestAccess:
    """Open the test set of a split, on record.

    Parameters
    ----------
    purpose
        One sentence, e.g. ``evaluation``.
    runs
        Names of the runs that will be tested.
    configurations
        What is known of how each was made; see `Opening`.
    """
    split = load_split(split_url)
    opening = Opening(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        purpose=purpose,
        runs=tuple(runs),
        split_fingerprint=split.fingerprint,
        configurations=dict(configurations or {}),
    )
    _append_line(openings_url(split_url), json.dumps(asdict(opening)))
    return TestAccess(opening, _OPENED_HERE)


def read_openings(split_url: str) -> tuple[Opening, ...]:
    """Return all openings of a split's test set, oldest first; empty if it was never opened."""
    try:
        text = files.read_text(openings_url(split_url))
    except FileNotFoundError:
        return ()
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines() if line]
    return tuple(Opening(**{**line, "runs": tuple(line["runs"])}) for line in lines)


def openings_url(split_url: str) -> str:
    """Return where the openings of a split are logged: beside it."""
    return f"{files.absolute(split_url)}.openings.jsonl"


def check_sealed(split: Split, patient_ids: Iterable[str], access: TestAccess | None) -> None:
    """Refuse test patients to a reader without access to this very split.

    Raises
    ------
    SealedTestSetError
        If one of the patients is sealed.
    """
    sealed = sorted({*split.test_ids} & {*patient_ids})
    if not sealed:
        return
    if access is None:
        raise SealedTestSetError(
            f"patient {sealed[0]!r} is in the sealed test set: only 'radiotrain evaluate' opens it"
        )
    if access.opening.split_fingerprint != split.fingerprint:
        raise SealedTestSetError(
            f"patient {sealed[0]!r} is in the test set of split {split.fingerprint}, but the"
            f" opening is of split {access.opening.split_fingerprint}: open the right one"
        )


def _append_line(url: str, line: str) -> None:
    if not files.is_local(url):
        # An object store cannot append.
        before = files.read_text(url) if files.exists(url) else ""
        files.write_text(url, f"{before}{line}\n")
        return
    with Path(url).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
