import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.cohort.cohort import Box
from preprocessing.images.crop import box_in_part, check_box, check_region, check_size, choose_crop
from preprocessing.store import REGION_PADDING, REGION_TUMOUR

sizes = st.tuples(*[st.integers(1, 20)] * 3)


@given(st.data(), sizes, sizes)
def test_crop_holds_the_voxels_it_says_it_holds(data, volume, crop_shape):
    start = tuple(data.draw(st.integers(0, n - 1)) for n in volume)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, volume, strict=True))
    crop = choose_crop(Box(start, stop), volume, crop_shape)
    voxels = np.arange(1, np.prod(volume) + 1, dtype=np.float32).reshape(volume)
    inside = tuple(slice(a, b) for a, b in zip(crop.inside.start, crop.inside.stop, strict=True))
    region = crop.place(voxels[inside])
    assert (region.shape, region.dtype) == (crop_shape, np.float32)
    # As much of the volume as fits, and no more.
    assert crop.inside.shape == tuple(min(n, s) for n, s in zip(volume, crop_shape, strict=True))
    bits = crop.region_bits(crop.box_in_crop(Box(start, stop)))
    assert bits.dtype == np.uint8
    np.testing.assert_array_equal(region == 0, bits & REGION_PADDING > 0)
    # The tumour's bits are on the tumour's voxels.
    tumour = np.zeros(volume, np.float32)
    tumour[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 1
    np.testing.assert_array_equal(crop.place(tumour[inside]) > 0, bits & REGION_TUMOUR > 0)
    if all(n <= s for n, s in zip(Box(start, stop).shape, crop_shape, strict=True)):
        assert (bits & REGION_TUMOUR > 0).sum() == np.prod(Box(start, stop).shape)


def test_crop_is_centred_where_there_is_room():
    crop = choose_crop(Box((40, 40, 40), (50, 50, 50)), (100, 100, 100), (20, 30, 40))
    assert crop.inside == Box((35, 30, 25), (55, 60, 65))


def test_a_volume_smaller_than_the_crop_is_centred_in_it():
    crop = choose_crop(Box((1, 1, 1), (2, 2, 2)), (4, 5, 6), (10, 10, 6))
    assert crop.inside == Box((0, 0, 0), (4, 5, 6))
    assert crop.offset == (3, 2, 0)


@pytest.mark.parametrize(("first", "edge"), [((0, 0, 0), (0, 0, 0)), ((70, 70, 70), (20, 30, 40))])
def test_a_box_beside_the_crop_is_empty_at_its_edge(first, edge):
    crop = choose_crop(Box((40, 40, 40), (50, 50, 50)), (100, 100, 100), (20, 30, 40))
    beside = Box(first, tuple(a + 9 for a in first))
    assert crop.box_in_crop(beside) == Box(edge, edge)


@pytest.mark.parametrize("tumour", [Box((0, 0, 0), (6, 4, 5)), np.ones((6, 4, 5), bool)])
def test_a_tumour_on_padding_leaves_it_padding(tumour):
    crop = choose_crop(Box((1, 1, 1), (3, 3, 3)), (4, 4, 5), (6, 4, 5))
    padding = np.zeros((6, 4, 5), bool)
    padding[[0, 5]] = True
    bits = crop.region_bits(tumour)
    np.testing.assert_array_equal(bits & REGION_PADDING > 0, padding)
    assert (bits & REGION_TUMOUR > 0).all()


@pytest.mark.parametrize(
    ("start", "stop", "codes"),
    [
        ((1, 1, 1), (4, 4, 4), []),
        ((0, 0, 0), (6, 6, 6), []),
        ((4, 4, 4), (10, 10, 10), []),
        ((3, 3, 3), (4, 4, 4), []),
        ((-3, 1, 1), (4, 4, 4), ["box-cut"]),
        ((9, 1, 1), (11, 4, 4), ["box-cut"]),
        ((1, 1, 1), (9, 4, 4), ["box-larger-than-crop"]),
        ((1, 1, 3), (4, 4, 11), ["box-cut", "box-larger-than-crop"]),
        ((1, 1, 8), (4, 4, 12), ["box-cut"]),
        ((1, 1, 8), (4, 4, 13), ["box-outside"]),
        ((1, 1, -4), (4, 4, 3), ["box-outside"]),
        ((8, 1, 1), (16, 4, 4), ["box-cut"]),
        ((8, 1, 1), (17, 4, 4), ["box-outside"]),
        ((20, 1, 1), (25, 4, 4), ["box-outside"]),
        ((10, 1, 1), (12, 4, 4), ["box-outside"]),
        ((-3, 1, 1), (0, 4, 4), ["box-outside"]),
        ((4, 1, 1), (4, 4, 4), ["box-empty"]),
    ],
)
def test_boxes_that_lose_something_are_findings(start, stop, codes):
    _, findings = check_box(Box(start, stop), (10, 10, 10), (6, 6, 6))
    assert [f.code for f in findings] == codes
    assert [f.excludes for f in findings] == [c in ("box-outside", "box-empty") for c in codes]
    for finding in findings:
        told = f"box {start}-{stop}, volume (10, 10, 10)"
        if finding.code == "box-larger-than-crop":
            told = "larger than the crop (6, 6, 6)"
        assert told in finding.message


def test_a_box_is_cut_at_each_edge_that_it_crosses():
    cut, _ = check_box(Box((-1, 2, -3), (8, 13, 5)), (10, 11, 12), (20, 20, 20))
    assert cut == Box((0, 2, 0), (8, 11, 5))


def test_a_box_in_part_of_a_volume():
    part = Box((2, 0, 3), (9, 9, 9))
    assert box_in_part(Box((4, 5, 1), (6, 7, 8)), part) == Box((2, 5, -2), (4, 7, 5))


@pytest.mark.parametrize(
    ("start", "stop", "code"),
    [
        ((0, 0, 0), (4, 5, 6), "box-holds-image"),
        ((1, 1, 1), (2, 2, 2), "tumour-one-voxel"),
        ((0, 0, 0), (4, 5, 5), None),
        ((1, 1, 1), (2, 2, 3), None),
    ],
)
def test_sizes_that_tell_little_are_said(start, stop, code):
    found = check_size(Box(start, stop), (4, 5, 6))
    assert [f.code for f in found] == ([] if code is None else [code])
    assert not any(f.excludes for f in found)


def test_a_region_without_a_tumour_voxel_excludes():
    crop = choose_crop(Box((1, 1, 1), (2, 2, 2)), (4, 4, 4), (4, 4, 4))
    (finding,) = check_region(np.zeros((4, 4, 4), np.uint8), crop)
    assert (finding.code, finding.excludes) == ("tumour-not-in-crop", True)
    # On padding there is no tumour.
    crop = choose_crop(Box((1, 1, 1), (2, 2, 2)), (4, 4, 4), (6, 4, 4))
    tumour = np.zeros((6, 4, 4), bool)
    tumour[0, 0, 0] = True
    (finding,) = check_region(crop.region_bits(tumour), crop)
    assert finding.code == "tumour-not-in-crop"
    tumour[1, 0, 0] = True
    assert check_region(crop.region_bits(tumour), crop) == ()


@pytest.mark.parametrize(("slices", "said"), [(8, []), (9, ["crop-mostly-padding"])])
def test_a_crop_of_more_padding_than_patient_is_said(slices, said):
    crop = choose_crop(Box((1, 1, 1), (2, 2, 2)), (4, 4, 4), (4, 4, slices))
    found = check_region(crop.region_bits(np.ones((4, 4, slices), bool)), crop)
    assert [f.code for f in found] == said
    assert not any(f.excludes for f in found)
