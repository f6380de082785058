"""What quirks of boxes and workbooks do."""

import numpy as np
import openpyxl
import pytest

from preprocessing.phantom.quirks import QUIRKS
from tests.unit.phantom.quirks.twins import MATRIX, SLICES, sheet, voxels

pytestmark = pytest.mark.slow


def test_large_box_has_the_tumour_in_its_middle_and_meets_an_edge_along_each_axis(both):
    patient, twin = both("box-larger-than-crop")
    for axis, size in (("Row", MATRIX), ("Column", MATRIX), ("Slice", SLICES)):
        (a, b), (c, d) = ((p.box[f"Start {axis}"], p.box[f"End {axis}"]) for p in (patient, twin))
        assert a + b == c + d
        assert a == 1 or b == size


def test_box_at_edge_touches_the_first_or_last_slice(both):
    patient, twin = both("box-at-edge")
    assert patient.box["Start Slice"] == 1 or patient.box["End Slice"] == SLICES
    assert enhances(patient)
    np.testing.assert_array_equal(crop(patient.tumour), crop(twin.tumour))


def test_box_beyond_edge_ends_three_rows_below_the_image(both):
    patient, twin = both("box-beyond-edge")
    assert patient.box["End Row"] == MATRIX + 3
    told = {k: v for k, v in patient.box.items() if k != "Patient ID"}
    assert told == {**patient.truth["box"], "End Row": MATRIX + 3}
    assert patient.truth["box"]["End Row"] == MATRIX
    assert enhances(patient)
    np.testing.assert_array_equal(crop(patient.tumour), crop(twin.tumour))


def crop(mask):
    """The smallest block that holds all that is marked."""
    spans = [(int(a.min()), int(a.max()) + 1) for a in np.nonzero(mask)]
    return mask[tuple(slice(*span) for span in spans)]


def enhances(patient):
    """Tell whether the marked voxels take up contrast medium, most of all."""
    pre, post = (voxels(sorted(p, key=lambda d: d.InstanceNumber)) for p in patient.phases[:2])
    rise = post - pre
    return rise[patient.tumour].mean() > np.percentile(rise, 99)


def test_box_outside_lies_on_slices_beyond_the_last(both):
    patient, twin = both("box-outside")
    assert patient.box["Start Slice"] > SLICES
    assert patient.box["Start Slice"] - SLICES == twin.box["Start Slice"]


def test_no_box_for_one_patient_only(both):
    patient, _ = both("no-box")
    assert patient.box is None
    assert len(sheet(patient.cohort / "Annotation_Boxes.xlsx")) == len(QUIRKS) - 1


def test_flat_workbook_has_one_header_row_over_the_same_rows(both):
    rows = []
    for patient in both("flat-workbook"):
        book = openpyxl.load_workbook(patient.cohort / "Clinical_and_Other_Features.xlsx")
        rows.append(list(book["Data"].values))
    flat, usual = rows
    assert flat[0] == usual[1]
    # Columns before the 19th are the scanner's, which some of the other quirks change.
    assert [row[19:] for row in flat[1:]] == [row[19:] for row in usual[3:]]
    assert [row[0] for row in flat[1:]] == [row[0] for row in usual[3:]]
