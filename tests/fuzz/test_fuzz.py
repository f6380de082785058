"""A few thousand of the inputs of ``make fuzz``, and that it would find what it looks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.common.errors import InputError
from tests.fuzz.formats import Format, make_formats
from tests.fuzz.run import fuzz

# Copies of what another file says, which is read in their place, and a log whose damaged lines are kept
# as accesses. What `verify` finds is its result, and tried fewer times.
NOT_NEEDED = {
    "status: suggested.json",
    "status: timeline.json",
    "older access log",
    "store: attributes.json",
    "store: records/000002.json",
}


@pytest.mark.slow
def test_changed_files_are_read_or_refused(tmp_path: Path) -> None:
    counts = fuzz(make_formats(tmp_path), 3000, seed=20, say=print)
    assert {name: count.findings for name, count in counts.items() if count.findings} == {}
    unrefused = {name for name, count in counts.items() if count.tried > 40 and not count.refused}
    assert unrefused == NOT_NEEDED


def test_tracebacks_and_silent_changes_are_findings(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whole")

    def careless() -> bytes:
        return path.read_bytes()[:3]

    def broken() -> int:
        return int.from_bytes(path.read_bytes()[:5]) // (path.read_bytes() == b"whole")

    def strict() -> bytes:
        if path.read_bytes() != b"whole":
            raise InputError("file is damaged: make it again")
        return b"whole"

    formats = [
        Format("careless", path, careless, has_checksum=True),
        Format("broken", path, broken, has_checksum=True),
        Format("strict", path, strict, has_checksum=True),
    ]
    counts = fuzz(formats, 90, seed=0, say=lambda _: None)
    assert any("without a word" in finding for finding in counts["careless"].findings)
    assert any("ZeroDivisionError" in finding for finding in counts["broken"].findings)
    assert counts["strict"].findings == []
