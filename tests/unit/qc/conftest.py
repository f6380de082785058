from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.cohort.cohort import Finding
from preprocessing.store import Store
from tests.unit.qc.pages_of import Pages, write
from tests.unit.qc.small_store import Case, usual_cases, write_store

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Eight usual patients and one of each kind that is not."""
    note = Finding("a<b", 'an <i>"odd"</i> message', excludes=False)
    cases = [
        *usual_cases(8),
        Case(HOSTILE, times_s=(0.0, 131.0, 410.0), findings=(note,)),
        Case("../x"),
        Case("padded", padded_corner=True),
        Case("no-tumour", tumour=False, box=None),
        Case("mask-only", box=None),
        Case("no-spacing", spacing_mm=None, times_s=(None, None, None)),
        Case("no-correction", log_field=0.0),
        Case("dark", brightness=0.0),
        Case("gone <b>", excluded=True, findings=(note, Finding("no-box", "no <box>"))),
    ]
    return write_store(tmp_path_factory.mktemp("odd") / "store", cases)


@pytest.fixture(scope="session")
def odd_pages(odd_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    return write(odd_store, tmp_path_factory.mktemp("odd-pages") / "qc")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "qc"
