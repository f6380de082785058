"""The table of phases: written, corrected as a curator would, and obeyed."""

import csv

import numpy as np
import pytest
import zarr

from preprocessing.images.phases.table import COLUMNS, read_phase_table
from preprocessing.store import Store
from tests.commands import attempt, call
from tests.intake import NAMES, SHAPE, TIMES, Examination, truth, write_workbooks
from tests.stores import preprocess_here

CROP = ("--crop-shape", *SHAPE, "--bias-engine", "none")
IDS = ("Breast_MRI_001", "Breast_MRI_002")


@pytest.fixture
def cohort(tmp_path):
    """A patient whose names lie, and one whose names are right."""
    root = tmp_path / "cohort"
    Examination(root, IDS[0]).phases(4, lambda phase: {"name": NAMES[3 - phase]})
    Examination(root, IDS[1]).phases()
    write_workbooks(root, IDS)
    return root


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def save(path, rows, delimiter=","):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def corrected(path, phase_of=lambda row: row["phase"], **options):
    rows = rows_of(path)
    for row in rows:
        row["phase"] = phase_of(row)
    save(path, rows, **options)


def by_time(row):
    if row["patient_id"] != IDS[0]:
        return row["phase"]
    return {0.0: 0, 120.0: 1, 240.0: 2, 360.0: 3}[float(row["seconds"])]


def voxels(url, index):
    stored = zarr.open_group(str(url), mode="r")
    return np.rint(stored["images"][index].astype(np.float64) * record_of(url, index).scale)


def record_of(url, index):
    return next(r for r in Store.open(str(url)).records if r.index == index)


def test_a_corrected_table_decides_where_names_lie(cohort, tmp_path):
    table = tmp_path / "phases.csv"
    out, _ = call("cohort", "check", cohort, "--phases", table)
    assert "phases-ambiguous" in out
    assert f"{table} written" in out
    rows = rows_of(table)
    assert [r["phase"] for r in rows if r["patient_id"] == IDS[0]] == [""] * 4
    assert [r["phase"] for r in rows if r["patient_id"] == IDS[1]] == ["0", "1", "2", "3"]
    assert rows[-1]["reason"] == "phase 3, by names and acquisition time"
    corrected(table, by_time)
    out, _ = call("cohort", "check", cohort, "--phases", table)
    assert "2 usable" in out
    preprocess_here(cohort, tmp_path / "store", *CROP, "--phases", table)
    for index in (0, 1):
        for phase in range(4):
            assert np.array_equal(voxels(tmp_path / "store", index)[phase], truth(phase))
    record = record_of(tmp_path / "store", 0)
    assert record.details["phases_by"] == ["table"]
    assert record.details["phases_table"] == read_phase_table(str(table)).digest


def test_a_table_that_exists_is_read_and_never_overwritten(cohort, tmp_path):
    table = tmp_path / "phases.csv"
    call("cohort", "check", cohort, "--phases", table)
    corrected(table, by_time)
    before = table.read_bytes()
    call("cohort", "check", cohort, "--phases", table)
    assert table.read_bytes() == before


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_saved_by_a_spreadsheet_is_read(cohort, tmp_path, delimiter):
    table = tmp_path / "phases.csv"
    call("cohort", "check", cohort, "--phases", table)
    corrected(table, by_time, delimiter=delimiter)
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    out, _ = call("cohort", "check", cohort, "--phases", table)
    assert "2 usable" in out


def test_an_excluded_patient_is_tried_again_with_a_table(cohort, tmp_path):
    store, table = tmp_path / "store", tmp_path / "phases.csv"
    out, _ = preprocess_here(cohort, store, *CROP)
    assert "1 patients stored, 1 excluded" in out
    call("cohort", "check", cohort, "--phases", table)
    corrected(table, by_time)
    out, _ = preprocess_here(cohort, store, *CROP, "--phases", table)
    assert "2 patients stored, 0 excluded" in out
    assert "1 were done before, 1 now" in out
    assert np.array_equal(voxels(store, 0)[2], truth(2))


def test_a_stored_patient_is_done_again_where_the_table_says_otherwise(cohort, tmp_path):
    store, table = tmp_path / "store", tmp_path / "phases.csv"
    preprocess_here(cohort, store, *CROP)
    call("cohort", "check", cohort, "--phases", table)
    turned = {"0": "3", "3": "0"}
    corrected(table, lambda row: turned.get(row["phase"], row["phase"]))
    _, error = preprocess_here(cohort, store, *CROP, "--phases", table)
    assert "1 stored patients are done again" in error
    assert np.array_equal(voxels(store, 1)[0], truth(3))
    done = attempt("preprocess", cohort, store, *CROP)
    assert "was made with a table of phases" in done.sentence


def test_series_that_are_not_there_exclude_the_patient(cohort, tmp_path):
    table = tmp_path / "phases.csv"
    call("cohort", "check", cohort, "--phases", table)
    rows = rows_of(table)
    rows[-1]["series"] = "s00000000000"
    save(table, rows)
    out, _ = call("cohort", "check", cohort, "--phases", table, status=1)
    assert "phases-table-unmatched" in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[-1].update(phase="1"), "expected each of 0, 1, 2"),
        (lambda rows: rows[-1].update(phase="5"), "expected each of 0, 1, 2"),
        (lambda rows: rows[-1].update(phase="pre"), "phase is a text of 3 characters"),
        (lambda rows: rows[-1].update(phase="1.5"), "phase is '1.5'"),
        (lambda rows: rows[-1].update(phase="inf"), "expected 0 (pre-contrast)"),
        (lambda rows: rows[-1].update(phase="1e400"), "expected 0 (pre-contrast)"),
        (lambda rows: rows[-1].update(phase="-1"), "expected 0 (pre-contrast)"),
        (lambda rows: rows[-1].update(phase="²"), "expected 0 (pre-contrast)"),
        (lambda rows: rows.append(dict(rows[-1])), "is there twice"),
        (lambda rows: [r.update(patient_id="X") for r in rows[-4:]], "who are not in"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(cohort, tmp_path, change, words):
    table = tmp_path / "phases.csv"
    call("cohort", "check", cohort, "--phases", table)
    rows = rows_of(table)
    change(rows)
    save(table, rows)
    assert words in attempt("cohort", "check", cohort, "--phases", table).sentence


def test_a_table_without_the_columns_is_refused(cohort, tmp_path):
    table = tmp_path / "phases.csv"
    table.write_text("patient_id,serie,phase\n")
    done = attempt("cohort", "check", cohort, "--phases", table)
    assert "no column 'series' (did you mean 'serie'?)" in done.sentence


def test_preprocess_needs_a_table_that_is_there(cohort, tmp_path):
    done = attempt("preprocess", cohort, tmp_path / "store", "--phases", tmp_path / "none.csv")
    assert "no table of phases at" in done.sentence
    assert not (tmp_path / "store").exists()


def test_a_number_is_taken_as_before_with_a_note(cohort):
    _, error = call("cohort", "check", cohort, "--phases", 2)
    assert "--num-phases 2 now" in error


def test_the_table_names_nobody(tmp_path):
    exam = Examination(tmp_path, IDS[0])
    exam.series(truth(0), name="SMITH dyn pre", PatientName="SMITH^ANNA", time=TIMES[0])
    exam.series(truth(1), name="SMITH dyn post 1", time=TIMES[1])
    write_workbooks(tmp_path, IDS[:1])
    table = tmp_path / "phases.csv"
    call("cohort", "check", tmp_path, "--num-phases", 2, "--phases", table)
    text = table.read_text()
    assert "SMITH" not in text
    assert exam.study not in text
    assert [r["phase"] for r in rows_of(table)] == ["0", "1"]


def test_a_table_without_a_phase_for_a_patient_leaves_it_to_the_headers(cohort, tmp_path):
    table = tmp_path / "phases.csv"
    before, _ = call("cohort", "check", cohort, "--phases", table)
    after, _ = call("cohort", "check", cohort, "--phases", table)
    assert (
        before.replace(
            f"{table} written: correct its column 'phase', and give it by --phases\n", ""
        )
        == after
    )
    assert rows_of(table)[0]["reason"] == "not decided: phases-ambiguous"


def test_old_macs_lines_and_excels_first_line_are_read(cohort, tmp_path):
    table = tmp_path / "phases.csv"
    call("cohort", "check", cohort, "--phases", table)
    corrected(table, by_time, delimiter=";")
    text = table.read_text().replace("\r\n", "\n")
    for changed in (text.replace("\n", "\r"), "sep=;\n" + text):
        table.write_bytes(changed.encode())
        assert "2 usable" in call("cohort", "check", cohort, "--phases", table)[0]


def test_a_volume_more_makes_the_table_stale(tmp_path):
    """A key by the volume's place in its series would name the next volume then."""
    root, uid = tmp_path / "cohort", "1.2.826.0.1.3680043.8.498.1"
    exam = Examination(root, IDS[0])

    def write(phase):
        exam.series(
            truth(phase), uid=uid, place="all", number=5, time=TIMES[phase],
            TemporalPositionIdentifier=phase + 1, first=1 + SHAPE[2] * phase,
        )  # fmt: skip

    for phase in (1, 2, 3, 4):
        write(phase)
    write_workbooks(root, IDS[:1])
    table = tmp_path / "phases.csv"
    call("cohort", "check", root, "--phases", table, status=1)
    rows = rows_of(table)
    for phase, row in enumerate(rows):
        row["phase"] = phase
    save(table, rows)
    assert "1 usable" in call("cohort", "check", root, "--phases", table)[0]
    write(0)
    assert "1 usable" in call("cohort", "check", root, "--phases", table)[0]
    preprocess_here(root, tmp_path / "store", *CROP, "--phases", table)
    assert np.array_equal(voxels(tmp_path / "store", 0)[0], truth(1))  # as the table says
    for file in sorted((exam.folder / "all").glob("2-*"))[:1]:
        file.unlink()
    out, _ = call("cohort", "check", root, "--phases", table, status=1)
    assert "phases-table-unmatched" in out


def test_image_files_are_named_by_exact_keys(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rows = []
    for phase in range(3):
        image = nibabel.Nifti1Image(truth(phase).astype(np.int16), np.diag([-1.1, -1.2, 2.0, 1.0]))
        nibabel.save(image, tmp_path / f"{phase}.nii.gz")
    header = "patient_id,phase_0,phase_1,phase_2,box_row_start,box_row_stop,box_col_start,box_col_stop,box_slice_start,box_slice_stop,ER"
    (tmp_path / "manifest.csv").write_text(
        header + "\np,0.nii.gz,1.nii.gz,2.nii.gz,5,12,7,15,2,7,1\n"
    )
    table = tmp_path / "phases.csv"
    call("cohort", "check", tmp_path / "manifest.csv", "--phases", table)
    rows = rows_of(table)
    assert [(r["series"], r["phase"]) for r in rows] == [(f"phase_{n}", str(n)) for n in range(3)]
    for row, phase in zip(rows, (2, 1, 0), strict=True):
        row["phase"] = phase
    save(table, rows)
    preprocess_here(tmp_path / "manifest.csv", tmp_path / "store", "--crop-shape", 24, 20, 10,
                    "--bias-engine", "none", "--phases", table)  # fmt: skip
    stored = voxels(tmp_path / "store", 0)
    sums = [int(stored[p].sum()) for p in range(3)]
    assert sums == [int(truth(p).sum()) for p in (2, 1, 0)]
    for wrong in ("phase_01", "1", "phase_²", "phase_3"):
        rows[1]["series"] = wrong
        save(table, rows)
        out, _ = call("cohort", "check", tmp_path / "manifest.csv", "--phases", table, status=1)
        assert "phases-table-unmatched" in out
