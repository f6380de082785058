"""Drafts of manifests: names and headers tell patients, phases and masks, or the draft says that they do not."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from preprocessing.pipeline.draft_manifest import Draft, draft_manifest
from tests.unit.preprocessing.enhanced_files import write_enhanced


def draft(root: Path, *names: str) -> Draft:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return draft_manifest(root, root)


def rows(found: Draft) -> dict[str, tuple[tuple[str, ...], str]]:
    return {row.patient_id: (row.phases, row.mask) for row in found.rows}


@pytest.mark.parametrize("end", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_folder_a_patient(tmp_path: Path, end: str) -> None:
    names = [
        f"P{i}/{n}{end}" for i in (1, 2, 10) for n in ("post2", "post10", "post1", "pre", "Mask")
    ]
    names += [f"P{i}/post{n}{end}" for i in (1, 2, 10) for n in range(3, 10)]
    found = draft(tmp_path, *names)
    # post2 before post10, P2 before P10.
    expected = ("pre", *(f"post{n}" for n in range(1, 11)))
    assert rows(found) == {
        p: (tuple(f"{p}/{n}{end}" for n in expected), f"{p}/Mask{end}") for p in ("P1", "P2", "P10")
    }
    assert [row.patient_id for row in found.rows] == ["P1", "P2", "P10"]
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # nnU-Net
        (("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "imagesTr/b_0000.nii.gz",
          "imagesTr/b_0001.nii.gz", "labelsTr/a.nii.gz"),
         {"a": (("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"), "labelsTr/a.nii.gz"),
          "b": (("imagesTr/b_0000.nii.gz", "imagesTr/b_0001.nii.gz"), "")}),
        # all in one folder
        (("a_pre.nii", "a_post_1.nii", "a_post_2.nii", "a_seg.nii", "b_pre.nii", "b_post_1.nii"),
         {"a": (("a_pre.nii", "a_post_1.nii", "a_post_2.nii"), "a_seg.nii"),
          "b": (("b_pre.nii", "b_post_1.nii"), "")}),
        # MAMA-MIA, whose segmentations are in small letters
        (("images/A_1/a_1_0000.nii", "images/A_1/a_1_0001.nii", "segmentations/expert/a_1.nii"),
         {"A_1": (("images/A_1/a_1_0000.nii", "images/A_1/a_1_0001.nii"),
                  "segmentations/expert/a_1.nii")}),
        # a folder a phase
        (("7/pre/i.nii", "7/post_1/i.nii", "7/post_2/i.nii", "7/roi/r.nii"),
         {"7": (("7/pre/i.nii", "7/post_1/i.nii", "7/post_2/i.nii"), "7/roi/r.nii")}),
        # words in place of numbers
        (("7/late.nii", "7/early.nii", "7/pre.nii"), {"7": (("7/pre.nii", "7/early.nii", "7/late.nii"), "")}),
        # sites above patients; names with the weighting
        (("A/1/x_T1_post_1.nii", "A/1/x_T1_pre.nii", "B/2/pre.nii", "B/2/post.nii"),
         {"1": (("A/1/x_T1_pre.nii", "A/1/x_T1_post_1.nii"), ""),
          "2": (("B/2/pre.nii", "B/2/post.nii"), "")}),
        # BIDS
        (("sub-01/anat/sub-01_acq-pre_T1w.nii", "sub-01/anat/sub-01_acq-post1_T1w.nii",
          "derivatives/masks/sub-01_mask.nii"),
         {"sub-01": (("sub-01/anat/sub-01_acq-pre_T1w.nii", "sub-01/anat/sub-01_acq-post1_T1w.nii"),
                     "derivatives/masks/sub-01_mask.nii")}),
        # one phase
        (("a.nii", "b.nii"), {"a": (("a.nii",), ""), "b": (("b.nii",), "")}),
    ],
)  # fmt: skip
def test_trees_whose_names_tell(
    tmp_path: Path, names: tuple[str, ...], expected: dict[str, tuple[tuple[str, ...], str]]
) -> None:
    found = draft(tmp_path, *names)
    assert rows(found) == expected
    assert all(row.notes == () for row in found.rows)
    assert found.left_out == ()


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (("P/a.nii", "P/b.nii"), "do not tell the order of phases"),
        (("P/pre.nii", "P/x.nii"), "do not tell the order of phases"),
        (("P/post1.nii", "P/post2.nii"), "do not tell the order of phases"),
        (("P/phase0.nii", "P/phase2.nii"), "do not tell the order of phases"),
        (("P/pre.nii", "P/pre.nii.gz"), "do not tell the order of phases"),
        (("P/pre.nii", "P/early.nii", "P/post1.nii"), "do not tell the order of phases"),
        (("c_01.nii", "c_02.nii", "c_03.nii"), "whether 3 images are phases or patients"),
        (tuple(f"P/c_{i:02d}.nii" for i in range(20)), "whether 20 images are phases or patients"),
    ],
)
def test_an_order_that_nothing_tells_is_not_guessed(
    tmp_path: Path, names: tuple[str, ...], note: str
) -> None:
    found = draft(tmp_path, *names)
    (row,) = found.rows
    assert row.phases == ()
    assert note in row.notes[0]
    assert len(found.left_out) == len(names)


def test_what_is_to_be_looked_at_is_noted(tmp_path: Path) -> None:
    names = [
        "P/phase1.nii",
        "P/phase2.nii",
        "P/T2.nii",
        "P/sub1.nii",
        "P/mask_a.nii",
        "P/mask_b.nii",
    ]
    found = draft(
        tmp_path, *names, "Q/site/X/pre.nii", "R/X/pre.nii", ".git/pre.nii", "P/._pre.nii"
    )
    notes = {row.patient_id: " ".join(row.notes) for row in found.rows}
    assert set(notes) == {"P", "X"}
    assert "numbered from 1: the first is taken for the pre-contrast" in notes["P"]
    assert "2 files are not taken for phases" in notes["P"]
    assert "2 files may be the mask: fill in one" in notes["P"]
    assert "2 folders have this name" in notes["X"]
    assert sorted(found.left_out) == ["P/T2.nii", "P/mask_a.nii", "P/mask_b.nii", "P/sub1.nii"]


def test_patients_of_several_numbers_of_phases_are_one_table(tmp_path: Path) -> None:
    found = draft(tmp_path, "a/pre.nii", "b/pre.nii", "b/post1.nii", "b/post2.nii", "b/mask.nii")
    lines = list(csv.DictReader(io.StringIO(found.csv())))
    assert [[line[f"phase_{i}"] for i in range(3)] for line in lines] == [
        ["a/pre.nii", "", ""],
        ["b/pre.nii", "b/post1.nii", "b/post2.nii"],
    ]
    assert [line["mask"] for line in lines] == ["", "b/mask.nii"]
    assert {line[t] for line in lines for t in ("ER", "PR", "HER2", "box_row_start")} == {""}


def test_paths_begin_at_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "data" / "P").mkdir(parents=True)
    (tmp_path / "data" / "P" / "pre.nii").touch()
    (row,) = draft_manifest(tmp_path / "data", tmp_path).rows
    assert row.phases == ("data/P/pre.nii",)


NAMES = {"ax dyn pre": "101000", "ax dyn 1st pass": "101200", "ax dyn 2nd pass": "101400"}


def test_headers_tell_the_phases_of_dicom(tmp_path: Path, make_series) -> None:  # type: ignore[no-untyped-def]
    voxels = np.arange(60).reshape(4, 5, 3)
    for patient in ("P1", "P2"):
        for i, (name, time) in enumerate(reversed(NAMES.items())):
            make_series(tmp_path / "data" / patient / "study" / f"s{i}", voxels + i,
                        description=name, number=9 - i, time=time)  # fmt: skip
        make_series(tmp_path / "data" / patient / "study" / "t2", voxels, description="ax t2")
    found = draft_manifest(tmp_path, tmp_path)
    assert rows(found) == {
        p: (tuple(f"data/{p}/study/s{i}" for i in (2, 1, 0)), "") for p in ("P1", "P2")
    }


def test_the_series_of_one_patient_are_one_row(tmp_path: Path, make_series) -> None:  # type: ignore[no-untyped-def]
    voxels = np.arange(60).reshape(4, 5, 3)
    for i, (name, time) in enumerate(NAMES.items()):
        for place in ("alone", "within/P1/study"):
            make_series(tmp_path / place / f"s{i}", voxels, description=name, number=i, time=time)
    alone = draft_manifest(tmp_path / "alone", tmp_path)
    assert rows(alone) == {"alone": (("alone/s0", "alone/s1", "alone/s2"), "")}
    (row,) = draft_manifest(tmp_path / "within" / "P1", tmp_path / "within").rows
    assert row.phases == tuple(f"P1/study/s{i}" for i in range(3))


def test_a_series_of_all_phases_is_phase_0_alone(tmp_path: Path) -> None:
    phases = [np.random.default_rng(p).integers(0, 4096, (6, 5, 4)) for p in range(3)]
    for patient in ("P1", "P2"):
        (tmp_path / patient).mkdir()
        write_enhanced(tmp_path / patient / "1.dcm", phases, study=generate_uid())
    found = draft_manifest(tmp_path, tmp_path)
    assert rows(found) == {p: ((p,), "") for p in ("P1", "P2")}
    assert not any("move each" in note for row in found.rows for note in row.notes)


def test_a_folder_of_several_series_holds_all_phases(tmp_path: Path, make_series) -> None:  # type: ignore[no-untyped-def]
    voxels = np.arange(60).reshape(4, 5, 3)
    for i, (name, time) in enumerate(NAMES.items()):
        paths = make_series(tmp_path / "tmp", voxels, description=name, number=i, time=time)
        (tmp_path / "P1").mkdir(exist_ok=True)
        for k, path in enumerate(paths or sorted((tmp_path / "tmp").iterdir())):
            path.rename(tmp_path / "P1" / f"{i}-{k}.dcm")
    (tmp_path / "tmp").rmdir()
    (row,) = draft_manifest(tmp_path, tmp_path).rows
    assert (row.patient_id, row.phases) == ("P1", ("P1",))
