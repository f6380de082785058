"""A store that rots is shown as such, not as a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from preprocessing.store import Store
from radiotrain.cli import main
from tests.unit.qc.pages_of import write
from tests.unit.qc.small_store import usual_cases, write_store


def _chunk(store: Store, array: str, patient_id: str) -> Path:
    index = store.records[store.index_of(patient_id)].index
    (chunk,) = (p for p in (Path(store.url) / array / "c" / str(index)).rglob("*") if p.is_file())
    return chunk


def _flip_a_bit(chunk: Path) -> None:
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(bytes(content))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_store(tmp_path / "store", usual_cases(6))


@pytest.mark.parametrize("array", ["images", "region", "bias_field"])
def test_flipped_bit_is_a_finding(store: Store, out: Path, array: str) -> None:
    _flip_a_bit(_chunk(store, array, "P002"))
    pages = write(store, out)
    assert pages.written.damaged == ("P002",)
    page = pages.of("P002")
    assert f"{array} cannot be read" in page.text
    assert "voxels-damaged" in page.text
    assert not page.find("image")
    # The first of all, and the others are as they would be.
    assert pages.index.text.index("P002") < pages.index.text.index("P000")
    assert len(pages.of("P003").find("image")) == 3 * (3 + 2 + 3)


def test_lost_and_replaced_chunks_are_findings(store: Store, out: Path) -> None:
    _chunk(store, "images", "P001").unlink()
    other = _chunk(store, "images", "P003").read_bytes()
    _chunk(store, "images", "P004").write_bytes(other)
    pages = write(store, out)
    assert pages.written.damaged == ("P001", "P004")
    assert "lost or replaced" in pages.of("P001").text


def test_pictures_of_a_patient_now_damaged_are_not_left(store: Store, out: Path) -> None:
    write(store, out)
    _flip_a_bit(_chunk(store, "images", "P002"))
    write(store, out)
    assert not list((out / "pictures").glob("P002*"))


def _run(*words: object) -> int:
    before, sys.argv = sys.argv, ["radiotrain", "qc", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def test_command_counts_damage_and_ends_with_1(
    store: Store, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(store.url, "--out", out, "--workers", 1) == 0
    assert capsys.readouterr().out.strip().endswith(f"7 pages written, open {out}/index.html")
    _flip_a_bit(_chunk(store, "images", "P002"))
    assert _run(store.url, "--out", out, "--workers", 1) == 1
    shown = capsys.readouterr()
    assert "damaged voxels, patients: 1 (P002)" in shown.err
    assert shown.out.strip().splitlines()[-1] == f"7 pages written, open {out}/index.html"


def test_command_says_mistakes_in_a_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path / "none", "--out", tmp_path / "qc") == 2
    assert "error: no store at" in capsys.readouterr().err
    assert not (tmp_path / "qc").exists()
    assert _run(store.url, "--out", tmp_path) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
