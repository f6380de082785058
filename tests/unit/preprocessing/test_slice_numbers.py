"""Which slice a table of boxes means, however a series is numbered."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.cohort.cohort import Box, DicomSeries, Patient
from preprocessing.common.config import PreprocessConfig
from preprocessing.images import plausibility
from preprocessing.images.dicom.series import count_slices, open_series
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.store import REGION_TUMOUR
from tests.unit.preprocessing.lattice import SIZE, TUMOUR, View, patient, write_dicom

COUNT = SIZE[2]
(X0, X1), (Y0, Y1), (Z0, Z1) = TUMOUR
CONFIG = PreprocessConfig(crop_shape=(8, 8, 8), num_phases=2, bias_engine="none")


def box(first, last):
    """A table's box: slices from 1, the last included; rows and columns are the tumour's."""
    return Box((Y0, X0, first - 1), (Y1, X1, last))


def stored(folder, numbers, found):
    phases = tuple(
        DicomSeries(write_dicom(folder / str(n), patient(n), numbers=numbers), f"phase {n}")
        for n in range(2)
    )
    return process_patient(Patient("p", phases=phases, box=found), 0, CONFIG)


NTH = box(Z0 + 1, Z1)  # the tumour, where slices count 1, 2, … from the feet
FROM_HEAD = box(COUNT - Z1 + 1, COUNT - Z0)


@pytest.mark.parametrize(
    ("numbers", "found", "said"),
    [
        (range(1, COUNT + 1), NTH, []),
        (range(COUNT, 0, -1), FROM_HEAD, []),
        (range(COUNT), NTH, ["instance-numbers-counted"]),
        (range(COUNT - 1, -1, -1), FROM_HEAD, ["instance-numbers-counted"]),
        (range(101, COUNT + 101), NTH, ["instance-numbers-counted"]),
        (range(101, COUNT + 101), box(Z0 + 101, Z1 + 100), []),
        (range(1, 4 * COUNT, 4), NTH, ["instance-numbers-counted"]),
        (range(4 * COUNT, 0, -4), FROM_HEAD, ["instance-numbers-counted"]),
        (range(1, 4 * COUNT, 4), box(4 * Z0 + 1, 4 * Z1 - 3), []),
        (range(-3, COUNT - 3), NTH, ["instance-numbers-counted"]),
        (range(4, COUNT + 4), box(Z0 + 4, Z1 + 3), []),
        # One number is missing, as where a localiser among them was left out.
        ([*range(1, 6), *range(7, COUNT + 2)], box(Z0 + 2, Z1 + 1), []),
    ],
)
def test_the_box_is_on_the_tumour_however_slices_are_numbered(tmp_path, numbers, found, said):
    record, tensor = stored(tmp_path, list(numbers), found)
    assert tensor is not None, record.findings
    marked = (tensor.region & REGION_TUMOUR) > 0
    np.testing.assert_array_equal(tensor.images[1] - tensor.images[0] > 10_000, marked)
    assert [f.code for f in record.findings] == said


@pytest.mark.parametrize("numbers", [range(101, COUNT + 101), range(1, 4 * COUNT, 4)])
def test_a_box_that_ends_beyond_counted_slices_is_cut_at_the_last(tmp_path, numbers):
    record, tensor = stored(tmp_path, list(numbers), box(COUNT - 2, COUNT + 2))
    assert tensor is not None
    # Beside the tumour the lattice's phases are equal, and nothing is taken up.
    codes = [f.code for f in record.findings if f.code not in plausibility.CODES]
    assert codes == ["instance-numbers-counted", "box-cut"]
    assert record.box_in_crop[1][2] - record.box_in_crop[0][2] == 3


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (box(COUNT + 1, COUNT + 4), "box-outside"),
        (box(2 * Z0, 2 * COUNT), "box-outside"),  # as on a copy with twice the slices
        (box(COUNT - 2, COUNT + 4), "box-outside"),
        (box(COUNT - 2, COUNT + 2), "box-cut"),
        (box(-2, 0), "box-outside"),
    ],
)
def test_boxes_of_other_series(tmp_path, found, code):
    record, _ = stored(tmp_path, list(range(1, COUNT + 1)), found)
    assert code in [f.code for f in record.findings]
    assert (record.status == "excluded") == (code == "box-outside")


def test_slices_numbered_without_order_take_no_box(tmp_path):
    """Numbered in the order of acquisition, odd slices first: a box of five spans them all."""
    numbers = [k // 2 + 1 if k % 2 == 0 else COUNT // 2 + k // 2 + 1 for k in range(COUNT)]
    assert sorted(numbers) == list(range(1, COUNT + 1))
    volume = open_series(DicomSeries(write_dicom(tmp_path, patient(), numbers=numbers), "s"))
    with pytest.raises(UnreadableImageError, match="do not lie side by side") as caught:
        volume.box_to_positions(NTH)
    assert caught.value.finding.code == "instance-numbers"


@given(st.integers(1, 40), st.integers(-50, 200), st.integers(1, 5), st.booleans(), st.data())
def test_numbers_tell_slices_apart_and_keep_their_order(count, first, step, descending, data):
    known = [first + step * n for n in range(count)]
    known = known[::-1] if descending else known
    start = data.draw(st.integers(-5, 220))
    found, said = count_slices(known, range(start, start + data.draw(st.integers(1, 30))))
    assert [found.index(n) for n in sorted(found)] == [known.index(n) for n in sorted(known)]
    if said is None:
        assert found == known
    else:
        assert sorted(found) == list(range(1, count + 1))


def test_a_view_turned_over_counts_as_its_files_do(tmp_path):
    """Files in order of name are files in order of number; positions run the other way."""
    view = View(flips=(False, False, True))
    phases = tuple(
        DicomSeries(write_dicom(tmp_path / str(n), patient(n), view), f"phase {n}")
        for n in range(2)
    )
    record, tensor = process_patient(Patient("p", phases=phases, box=FROM_HEAD), 0, CONFIG)
    marked = (tensor.region & REGION_TUMOUR) > 0
    np.testing.assert_array_equal(tensor.images[1] - tensor.images[0] > 10_000, marked)
    assert record.findings == ()


@pytest.mark.parametrize("missing", [1, 3])
def test_numbers_from_0_are_seen_though_the_pre_contrast_lacks_its_first_slices(tmp_path, missing):
    phases = []
    for n in range(2):
        files = write_dicom(tmp_path / str(n), patient(n), numbers=list(range(COUNT)))
        phases.append(DicomSeries(files[missing if n == 0 else 0 :], f"phase {n}"))
    record, tensor = process_patient(Patient("p", phases=tuple(phases), box=NTH), 0, CONFIG)
    assert tensor is not None, record.findings
    marked = (tensor.region & REGION_TUMOUR) > 0
    np.testing.assert_array_equal(tensor.images[1] - tensor.images[0] > 10_000, marked)
    assert "instance-numbers-counted" in [f.code for f in record.findings]
