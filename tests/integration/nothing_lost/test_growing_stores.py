"""More patients, other settings."""

from __future__ import annotations

import shutil

import openpyxl
import pytest

from preprocessing.phantom.write import COLLECTION
from tests.commands import call, the_sentence
from tests.integration.nothing_lost.common import NUM_PATIENTS
from tests.stores import CROP, assert_same_store, content, preprocess_here, records


@pytest.fixture(scope="module")
def grown(folder, five_patients, cohort):
    """A store made of the first five patients and then given all eight; what it was before."""
    store = folder / "grown"
    preprocess_here(five_patients, store, *CROP)
    before = {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in store.glob("*/c/**/*") if p.is_file()
    }
    before |= {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in records(store)}
    out, _ = preprocess_here(cohort, store, *CROP)
    return store, before, out


def test_more_patients_are_appended_and_the_others_not_touched(grown, undisturbed):
    store, before, out = grown
    assert "8 patients stored, 0 excluded; 5 were done before, 3 now" in out
    assert len([p for p in before if p.parts[-2] == "records"]) == 5
    for path, (mtime, found) in before.items():
        if "labels" not in path.parts:  # one chunk for all
            assert (path.stat().st_mtime_ns, path.read_bytes()) == (mtime, found), path
    assert_same_store(store, undisturbed)


def change_label(cohort):
    path = cohort / "Clinical_and_Other_Features.xlsx"
    book = openpyxl.load_workbook(path)
    rows = list(book["Data"].iter_rows())
    column = next(c.column for row in rows[:3] for c in row if c.value == "ER")
    cell = next(r for r in rows if r[0].value == "Breast_MRI_004")[column - 1]
    cell.value = 1 - int(cell.value)
    book.save(path)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--shrink", 3), "settings.shrink is 4 there and 3 now"),
        (("--bias-engine", "none"), "settings.bias_engine is 'separable' there and 'none' now"),
        (("--crop-shape", 32, 32, 12), "crop_shape is [32, 32, 16] there and [32, 32, 12] now"),
        (("--phases", 3), "num_phases is 4 there and 3 now"),
        (("--set", "motion=rigid"), "settings.motion is 'none' there and 'rigid' now"),
    ],
)
def test_other_voxels_are_refused_by_the_name_of_the_setting(cohort, grown, options, difference):
    store = grown[0]
    before = content(store)
    _, error = call("preprocess", cohort, store, *CROP, *options, status=2)
    assert difference in the_sentence(error)
    assert content(store) == before


def test_other_labels_are_refused_by_the_name_of_the_patient(cohort, grown, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    change_label(tmp_path / "cohort")
    _, error = call("preprocess", tmp_path / "cohort", grown[0], *CROP, status=2)
    assert "labels of Breast_MRI_004 are {'ER': " in the_sentence(error)


def test_another_layout_is_refused(grown, tmp_path):
    (tmp_path / "manifest.csv").write_text(
        "patient_id,phase_0,phase_1,phase_2,phase_3,mask,ER,PR,HER2\nx,a,b,c,d,m,1,0,1\n"
    )
    _, error = call("preprocess", tmp_path, grown[0], *CROP, status=2)
    assert "cohort.layout is 'duke' there and 'manifest' now" in the_sentence(error)


def test_a_patient_whose_images_came_later_is_tried_again(cohort, undisturbed, tmp_path):
    shutil.copytree(cohort, tmp_path / "cohort")
    late = tmp_path / "cohort" / COLLECTION / "Breast_MRI_006"
    late.rename(tmp_path / "late")
    place = (tmp_path / "cohort", tmp_path / "store")
    words = (*place, *CROP)
    out, _ = preprocess_here(*words)
    assert f"{NUM_PATIENTS - 1} patients stored, 1 excluded (1 no-images)" in out
    finished = content(tmp_path / "store")
    out, _ = preprocess_here(*words)  # nothing has changed: nothing is tried
    assert "8 were done before, 0 now" in out
    assert content(tmp_path / "store") == finished
    (tmp_path / "late").rename(late)
    out, _ = preprocess_here(*words)
    assert "8 patients stored, 0 excluded; 7 were done before, 1 now" in out
    assert_same_store(tmp_path / "store", undisturbed)
