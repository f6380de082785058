"""Tables at the command line: drafts, other names, words, and what ``cohort check`` ends with."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import openpyxl
import pytest

from preprocessing.store import Store
from tests.commands import attempt, call
from tests.stores import preprocess_here

BOX = "box_row_start,box_row_stop,box_col_start,box_col_stop,box_slice_start,box_slice_stop"


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([0.7, 0.8, 2.0, 1.0])), path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two patients of three phases with a mask; P10's second phase is the first of P2 plus 10."""
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 18, 9), np.uint8)
    mask[10:15, 4:7, 2:4] = 1
    for patient in ("P2", "P10"):
        pre = rng.uniform(90, 110, mask.shape).astype(np.float32)
        for name, gain in (("pre", 0), ("post1", 10), ("post2", 20)):
            save(tmp_path / "tree" / patient / f"{name}.nii.gz", pre + gain)
        save(tmp_path / "tree" / patient / "mask.nii.gz", mask)
    return tmp_path / "tree"


def test_a_draft_is_taken_by_the_check_and_becomes_a_store(tree: Path, tmp_path: Path) -> None:
    out, _ = call("init", "manifest", tree)
    assert "2 patients (2 of 3 phases)" in out
    assert f"then: radiotrain cohort check {tree}/manifest.csv" in out
    out, _ = call("cohort", "check", tree)
    assert "2 usable, 0 not; positive: ER 0, PR 0, HER2 0" in out
    preprocess_here(tree, tmp_path / "store", "--crop-shape", 8, 8, 4, "--bias-engine", "none")
    store = Store.open(str(tmp_path / "store"))
    assert store.patient_ids == ("P10", "P2")
    voxels, scale = store.read_images(0)
    # What names say is what was stored: each phase 10 above the one before.
    gains = np.diff(voxels * scale, axis=0)[:, 2:6, 2:6, 1:3]
    np.testing.assert_allclose(gains, 10, atol=0.05)


def test_a_draft_overwrites_nothing_and_needs_images(tree: Path, tmp_path: Path) -> None:
    (tree / "manifest.xlsx").write_bytes(b"mine")
    assert (
        "has the table of a cohort (manifest, manifest.xlsx)"
        in attempt("init", "manifest", tree).sentence
    )
    (tree / "manifest.xlsx").unlink()
    (tmp_path / "m.csv").write_text("mine")
    words = ("init", "manifest", tree, "--out")
    assert "is there already" in attempt(*words, tmp_path / "m.csv").sentence
    assert (tmp_path / "m.csv").read_text() == "mine"
    assert "expected" in attempt(*words, tmp_path / "other" / "m.csv").sentence
    assert "ends in .csv" in attempt(*words, tree / "m.xlsx").sentence
    (tmp_path / "empty").mkdir()
    assert "holds no images" in attempt("init", "manifest", tmp_path / "empty").sentence
    assert list((tmp_path / "empty").iterdir()) == []
    assert "no folder at" in attempt("init", "manifest", tmp_path / "nowhere").sentence
    call(*words, tmp_path / "above.csv")
    assert "tree/P2/pre.nii.gz" in (tmp_path / "above.csv").read_text()


def manifest(tree: Path, *labels: str) -> Path:
    rows = [
        f"{p};{p}/pre.nii.gz;{p}/post1.nii.gz;4;7;10;15;2;4;{w}"
        for p, w in zip(("P2", "P10"), labels, strict=True)
    ]
    header = f"ID;phase_0;phase_1;{BOX.replace(',', ';')};Estrogen"
    path = tree / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_the_check_ends_with_1_when_nobody_is_usable(tree: Path, tmp_path: Path) -> None:
    path = manifest(tree, "1", "0")
    words = ("cohort", "check", path, "--column", "patient_id=ID", "--column", "ER=Estrogen")
    assert attempt(*words).status == 0
    (tree / "P2" / "pre.nii.gz").write_bytes(b"")
    assert attempt(*words).status == 0
    (tree / "P10" / "pre.nii.gz").write_bytes(b"")
    none = attempt(*words, "--json", tmp_path / "check.json")
    assert none.status == 1
    # After all was said.
    assert "2 patients (manifest layout), 0 usable, 2 not" in none.out
    assert len(json.loads((tmp_path / "check.json").read_text())["patients"]) == 2
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert attempt(*words).status == 1
    assert attempt("cohort", "check", path).status == 2


def test_other_names_and_words_reach_the_store(tree: Path, tmp_path: Path) -> None:
    path = manifest(tree, "strong", "schwach")
    columns = ("--column", "patient_id=ID", "--column", "ER=Estrogen")
    unsaid = attempt("cohort", "check", path, *columns)
    assert unsaid.out.count("note: ER: 2 cells neither positive nor negative") == 1
    assert "schwach" not in unsaid.out + unsaid.error
    labels = ("--label", "ER:strong=1", "--label", "ER:schwach=0")
    shape = ("--crop-shape", 8, 8, 4, "--bias-engine", "none")
    preprocess_here(path, tmp_path / "store", *shape, *columns, *labels)
    attributes = json.loads((tmp_path / "store" / "zarr.json").read_text())["attributes"]
    assert attributes["spec"]["cohort"] == {
        "layout": "manifest",
        "columns": {"ER": "Estrogen", "patient_id": "ID"},
        "labels": {"ER": [["a text of 7 characters", 0], ["a text of 6 characters", 1]]},
    }
    assert Store.open(str(tmp_path / "store")).labels.tolist() == [[0], [1]]


def test_reproduce_hands_both_options_on(tree: Path, tmp_path: Path) -> None:
    words = ("--column", "patient_id=ID", "--label", "ER:weak=0")
    out, _ = call("reproduce", tree, "--out", tmp_path / "out", "--dry-run", *words)
    check, preprocess = out.splitlines()[:2]
    for line in (check, preprocess):
        assert line.endswith("--column patient_id=ID --label ER:weak=0")
    sentence = attempt(
        "reproduce", tree, "--out", tmp_path / "o", "--dry-run", "--label", "x"
    ).sentence
    assert "expected TARGET:WORD=0" in sentence


def test_predict_has_no_table_to_read_for_one_patient(tree: Path, tmp_path: Path) -> None:
    words = (
        "predict",
        "nowhere",
        tree / "P2",
        "--out",
        tmp_path / "out",
        "--column",
        "patient_id=ID",
    )
    assert "there is no table to read" in attempt(*words).sentence


def test_an_excel_manifest_at_the_command_line(tree: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["patient_id", "phase_0", "mask", "ER"])
    sheet.append(["P2", "P2/pre.nii.gz", "P2/mask.nii.gz", "=1"])
    book.save(tree / "manifest.xlsx")
    sentence = attempt("cohort", "check", tree).sentence
    assert (
        "a formula without a value in cell D2: open it in Excel or LibreOffice, save it" in sentence
    )
    sheet["D2"] = "positiv"
    book.save(tree / "manifest.xlsx")
    assert "1 usable, 0 not; positive: ER 1" in call("cohort", "check", tree)[0]
