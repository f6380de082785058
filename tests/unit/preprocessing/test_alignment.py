"""Phases whose voxels are elsewhere: each stored voxel is the patient's at that place, or refused."""

from dataclasses import replace
from math import cos, radians, sin

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.cohort.cohort import Box, DicomSeries, Patient, VolumeFile
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.alignment import (
    AlignedVolume,
    Placement,
    ResampledVolume,
    align_phases,
    inscribed,
    slice_headers,
)
from preprocessing.images.geometry import Grid
from preprocessing.images.load_patient import open_patient
from preprocessing.images.volume_files import FileVolume
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.storage.file_cache import FileCache
from preprocessing.store import REGION_PADDING, REGION_TUMOUR
from tests.unit.preprocessing.lattice import (
    SIZE,
    TUMOUR,
    TURNS,
    View,
    expected_crop,
    patient,
    tumour_mask,
    write_dicom,
    write_nifti,
)

CROP = (8, 8, 6)
CONFIG = PreprocessConfig(crop_shape=CROP, num_phases=2, bias_engine="none")


def tumour_box(view):
    """The tumour's box in the view's own (row, column, slice)."""
    marked = np.argwhere(view.voxels(tumour_mask()))
    return Box(tuple(marked.min(axis=0).tolist()), tuple((marked.max(axis=0) + 1).tolist()))


def processed(folder, *views, config=CONFIG, box=None, frames=None):
    sources = []
    for phase, view in enumerate(views):
        known = {} if frames is None else {"frame": frames[phase]}
        time = f"10{5 * phase:02d}00"
        files = write_dicom(folder / str(phase), patient(phase), view, time=time, **known)
        sources.append(DicomSeries(files, f"phase {phase}"))
    own = tumour_box(views[0]) if box is None else box
    return process_patient(Patient("p", phases=tuple(sources), box=own), 0, config)


def check_stored(record, tensor, num_phases=2):
    assert tensor is not None, record.findings
    assert not (tensor.region & REGION_PADDING).any()
    for phase in range(num_phases):
        expected = expected_crop(tensor.images[0, 0, 0, 0], CROP, phase)
        np.testing.assert_array_equal(tensor.images[phase], expected)
    # The region is on what took up contrast agent, and nowhere else.
    marked = (tensor.region & REGION_TUMOUR) > 0
    np.testing.assert_array_equal(tensor.images[1] - tensor.images[0] > 10_000, marked)


def codes(record):
    return [f.code for f in record.findings]


# In memory.


def volume(view, phase=0):
    grid = Grid.from_array(view.voxels(patient()).shape, view.affine)
    return FileVolume("v", grid, view.voxels(patient(phase)).astype(np.float32))


# No more, so that at least half of it is common.
spans = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TURNS), st.sampled_from(TURNS), spans, spans, st.data())
def test_every_voxel_of_a_turned_and_cut_phase_is_the_one_at_its_place(own, other, cut, less, data):
    """All 48 orientations of both, any slices and rows missing at any end, any part, any step."""
    views = []
    for (axes, flips), ends in ((own, cut), (other, less)):
        low = tuple(a for a, _ in ends)
        high = tuple(n - b for n, (_, b) in zip(SIZE, ends, strict=True))
        views.append(View(low, high, axes, flips))
    volumes = [volume(v, i) for i, v in enumerate(views)]
    sizes = [tuple(b - a for a, b in zip(v.low, v.high, strict=True)) for v in views]
    ends = [views[0].high if flip else views[0].low for flip in own[1]]
    others = [views[1].high if flip else views[1].low for flip in own[1]]
    begin_alike = all(a[axis] == b[axis] for a, b, axis in zip(ends, others, own[0], strict=True))
    if begin_alike and sizes[0] != sizes[1] and sorted(sizes[0]) == sorted(sizes[1]):
        with pytest.raises(UnreadableImageError, match="do not belong together"):
            align_phases(volumes, "exact")
        return
    aligned = align_phases(volumes, "exact")
    low = tuple(max(a, b) for a, b in zip(views[0].low, views[1].low, strict=True))
    high = tuple(min(a, b) for a, b in zip(views[0].high, views[1].high, strict=True))
    both = replace(views[0], low=low, high=high)
    shape = both.voxels(patient()).shape
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    stop = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, shape, strict=True))
    step = data.draw(st.integers(1, 5))
    for phase, found in enumerate(aligned.volumes):
        assert found.grid.shape == shape
        np.testing.assert_allclose(found.grid.matrix, both.affine, atol=1e-9)
        (r0, c0, s0), (r1, c1, s1) = start, stop
        expected = both.voxels(patient(phase))[r0:r1, c0:c1, s0:s1:step]
        np.testing.assert_array_equal(found.read(Box(start, stop), step), expected)
    said = [f.code for f in aligned.findings]
    assert ("phases-cut" in said) == (both != views[0])
    assert not any(f.excludes for f in aligned.findings)


def test_equal_phases_are_left_alone():
    volumes = [volume(View(), n) for n in range(3)]
    aligned = align_phases(volumes, "exact")
    assert all(a is b for a, b in zip(aligned.volumes, volumes, strict=True))
    assert aligned.findings == ()


@pytest.mark.parametrize(
    ("voxels", "outcome"),
    [
        ((0.05, 0, 0), []),
        ((0, -0.3, 0), ["phases-apart"]),
        ((2, 0.3, 0), ["phases-aligned", "phases-apart", "phases-cut"]),
        ((0, 0, 0.2), ["phases-apart"]),
        ((0.6, 0, 0), ["phases-aligned", "phases-apart", "phases-cut"]),
        ((0.5, 0.5, 0), "phases-apart"),
        ((0, 0, 0.4), "phases-apart"),
        ((3, 0, 0.4), "phases-apart"),
        ((29, 0, 0), "phases-apart"),
        ((16, 0, 0), "phases-overlap"),
    ],
)
def test_what_a_shift_in_voxels_comes_to(voxels, outcome):
    """Distances count in the smallest side of a voxel: 0.4 of a slice are 0.86 of it."""
    moved = View(shift_mm=tuple(n * mm for n, mm in zip(voxels, (0.7, 0.8, 1.5), strict=True)))
    volumes = [volume(View()), volume(moved, 1)]
    if isinstance(outcome, str):
        with pytest.raises(UnreadableImageError) as caught:
            align_phases(volumes, "exact")
        assert caught.value.finding.code == outcome
        assert caught.value.finding.excludes
    else:
        aligned = align_phases(volumes, "exact")
        assert [f.code for f in aligned.findings] == outcome


@pytest.mark.parametrize("how", ["exact", "resample"])
def test_a_field_of_view_far_beside_the_pre_contrasts_is_refused_whatever_is_asked(how):
    pre = volume(View())
    for shift_mm in ((0, 0, 21.0), (15.4, 0, 15.0), (0, -22.4, 0)):
        with pytest.raises(UnreadableImageError, match="mm beside the pre-contrast, at most 20"):
            align_phases([pre, volume(View(shift_mm=shift_mm), 1)], how)


def test_a_larger_field_of_view_lies_beside_nothing():
    small = View(low=(20, 18, 0), high=SIZE)
    aligned = align_phases([volume(small), volume(View(), 1)], "exact")
    assert [f.code for f in aligned.findings] == ["phases-aligned"]
    assert Placement.of(volume(small).grid, volume(View()).grid).gap_mm == pytest.approx(
        0, abs=1e-9
    )
    with pytest.raises(UnreadableImageError, match="covers 6 % of the pre-contrast's voxels"):
        align_phases([volume(View(), 1), volume(small)], "exact")


@pytest.mark.parametrize("spacing", [(0.7, 0.8, 1.6), (1.4, 1.6, 1.5), (0.7, 0.84, 1.5)])
def test_other_voxels_are_refused_unless_they_are_to_be_interpolated(spacing):
    pre, post = volume(View()), volume(View(spacing=spacing), 1)
    with pytest.raises(UnreadableImageError, match="align: resample") as caught:
        align_phases([pre, post], "exact")
    assert caught.value.finding.code == "phases-differ"


def rotated(degrees):
    """About the patient's head-foot axis, through the field of view's middle as well as may be."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def ramp(grid):
    """A volume whose value is a linear function of the place: interpolation must give it."""
    index = np.stack([*np.indices(grid.shape), np.ones(grid.shape)], axis=-1)
    return FileVolume("ramp", grid, linear(index @ grid.matrix.T).astype(np.float32))


def linear(at):
    return at @ [3.0, -2.0, 1.5] + 700


def grid(shape, spacing, origin=(0.0, 0.0, 0.0), turn=None):
    directions = (np.eye(3) if turn is None else turn) @ np.diag(spacing)[:, [1, 0, 2]]
    return Grid.from_array(shape, np.column_stack([directions, origin]))


@pytest.mark.parametrize(
    "other",
    [
        grid((27, 25, 18), (0.7, 0.8, 1.5), (0.3, 0.4, 0.7)),
        grid((40, 36, 36), (0.5, 0.6, 0.8), (-0.4, 0.1, -0.6)),
        grid((13, 12, 9), (1.4, 1.6, 3.0), (0.2, 0.0, 0.4)),
        grid((30, 32, 20), (0.7, 0.8, 1.5), (-0.5, -2.0, 0.0), rotated(4)),
    ],
    ids=["sub-voxel", "finer", "coarser", "rotated"],
)
@pytest.mark.parametrize("step", [1, 3])
def test_interpolated_phases_have_the_values_of_their_place(other, step):
    pre = ramp(grid((24, 26, 18), (0.7, 0.8, 1.5)))
    aligned = align_phases([pre, ramp(other)], "resample")
    assert "phases-resampled" in [f.code for f in aligned.findings]
    found = aligned.volumes[1]
    assert isinstance(found, ResampledVolume)
    # Away from edges, where half a voxel is not known and smoothing stops.
    part = Box((6, 6, 5), tuple(n - 6 for n in found.grid.shape))
    index = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(part.start, part.stop, strict=True)],
                                 indexing="ij"), axis=-1)[:, :, ::step]  # fmt: skip
    at = index @ found.grid.matrix[:, :3].T + found.grid.matrix[:, 3]
    np.testing.assert_allclose(found.read(part, step), linear(at), atol=2e-3)
    own = aligned.volumes[0].read(Box((0, 0, 0), found.grid.shape))
    assert own.shape == found.grid.shape
    # Nothing of the whole common part lies farther than half a voxel beyond the other's centres.
    whole = found.read(Box((0, 0, 0), found.grid.shape))
    reach = np.linalg.norm(other.spacing_mm) / 2 * np.linalg.norm([3.0, -2.0, 1.5])
    assert np.abs(whole - own).max() < reach + 0.01


@settings(max_examples=60, deadline=None)
@given(st.floats(-8, 8), st.tuples(*[st.floats(-9, 9)] * 3), st.tuples(*[st.floats(0.6, 1.6)] * 3))
def test_the_inscribed_part_lies_within_the_other_grid(degrees, origin, spacing):
    one = grid((12, 14, 10), (0.9, 1.0, 1.3))
    other = grid((15, 11, 12), spacing, origin, rotated(degrees))
    part = inscribed(one, other)
    index = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(part.start, part.stop, strict=True)],
                                 indexing="ij"), axis=-1).reshape(-1, 3)  # fmt: skip
    at = index @ one.matrix[:, :3].T + one.matrix[:, 3]
    seen = np.linalg.solve(other.matrix[:, :3], (at - other.matrix[:, 3]).T).T
    assert (seen >= -0.501).all()
    assert (seen <= np.array(other.shape) - 0.499).all()
    # And no voxel is given away where grids run alike.
    if degrees == 0:
        edges = np.stack(
            [other.matrix @ (-0.5, -0.5, -0.5, 1), other.matrix @ (*np.array(other.shape) - 0.5, 1)]
        )
        ends = np.linalg.solve(one.matrix[:, :3], (edges - one.matrix[:, 3]).T).T
        low = np.clip(np.ceil(ends[0] - 1e-5), 0, one.shape)
        high = np.clip(np.floor(ends[1] + 1e-5) + 1, 0, one.shape)
        if (high > low).all():
            assert part == Box(tuple(low.astype(int)), tuple(high.astype(int)))


# DICOM, from files to the tensor.


@pytest.mark.parametrize(
    ("pre", "post", "expected"),
    [
        (View(), View(), []),
        (View(low=(0, 0, 1)), View(high=(*SIZE[:2], 21)), ["phases-aligned", "phases-cut"]),
        (View(high=(*SIZE[:2], 21)), View(low=(0, 0, 1)), ["phases-aligned", "phases-cut"]),
        (View(), View(high=(*SIZE[:2], 20)), ["phases-cut"]),
        (View(high=(*SIZE[:2], 20)), View(), []),
        (View(low=(0, 0, 3)), View(), ["phases-aligned"]),
        (View(), View(low=(3, 0, 0)), ["phases-aligned", "phases-cut"]),
        (View(low=(3, 2, 1)), View(high=(25, 22, 21)), ["phases-aligned", "phases-cut"]),
        (View(), View(flips=(True, True, False)), ["phases-aligned"]),
        (View(), View(flips=(False, True, True)), ["phases-aligned"]),
        (View(flips=(True, True, False)), View(low=(1, 2, 3)), ["phases-aligned", "phases-cut"]),
        (View(), View(axes=(2, 1, 0), flips=(True, False, True)), ["phases-aligned"]),
        (View(axes=(2, 0, 1)), View(low=(0, 0, 2)), ["phases-aligned", "phases-cut"]),
        (View(turn=rotated(20)), View(low=(2, 0, 1), turn=rotated(20)), ["phases-aligned", "phases-cut"]),
    ],
    ids=lambda v: None,
)  # fmt: skip
def test_stored_voxels_are_the_patients_at_one_place(tmp_path, pre, post, expected):
    record, tensor = processed(tmp_path, pre, post)
    check_stored(record, tensor)
    assert codes(record) == expected
    assert record.details["own_shape"] is not None


def test_a_slice_missing_at_another_end_of_each_of_four_phases(tmp_path):
    views = [View(low=(0, 0, 1)), View(high=(*SIZE[:2], 21)), View(low=(0, 0, 2)), View()]
    record, tensor = processed(tmp_path, *views, config=CONFIG.model_copy(update={"num_phases": 4}))
    check_stored(record, tensor, 4)
    assert record.details["own_shape"] == [24, 26, 19]


def test_of_phases_that_are_not_used_nothing_is_asked(tmp_path):
    record, tensor = processed(tmp_path, View(), View(), View(spacing=(0.9, 0.9, 2.0)))
    check_stored(record, tensor)
    assert codes(record) == []


def test_a_box_cut_by_what_a_phase_does_not_show(tmp_path):
    """The last slice of the tumour is missing in the first pass: said, and the rest is in place."""
    record, tensor = processed(tmp_path, View(), View(high=(*SIZE[:2], TUMOUR[2][1] - 1)))
    check_stored(record, tensor)
    assert codes(record) == ["phases-cut", "box-cut"]
    assert record.box_in_crop[1][2] - record.box_in_crop[0][2] == 3


def test_a_tumour_that_one_phase_does_not_show_is_refused(tmp_path):
    high = (*SIZE[:2], SIZE[2] // 2 + 1)
    record, tensor = processed(tmp_path, View(), View(high=high), box=Box((8, 9, 14), (12, 13, 18)))
    assert tensor is None
    assert codes(record)[-1] == "box-outside"


@pytest.mark.parametrize("moved", [False, True])
def test_another_frame_of_reference(tmp_path, moved):
    """One grid: in place as before. Another: headers say nothing of how the two lie."""
    post = View(low=(0, 0, 1)) if moved else View(flips=(True, True, False))
    record, tensor = processed(tmp_path, View(), post, frames=["1.2.3", "1.2.4"])
    if moved:
        assert tensor is None
        assert codes(record) == ["frames-differ"]
    else:
        check_stored(record, tensor)
        assert codes(record) == ["frames-differ", "phases-aligned"]


@pytest.mark.parametrize("config", [{"resample_mm": (1.0, 1.0, 1.5)}, {"bias_engine": "separable"}])
def test_what_follows_sees_one_grid(tmp_path, config):
    """Resampled and corrected, aligned phases come out as the ones that were cut alike."""
    config = CONFIG.model_copy(update=config)
    views = [View(low=(0, 0, 2)), View(high=(*SIZE[:2], 20), flips=(True, True, False))]
    both = View(low=(0, 0, 2), high=(*SIZE[:2], 20))
    record, tensor = processed(tmp_path / "a", *views, config=config)
    twin_record, twin = processed(tmp_path / "b", both, both, config=config)
    assert tensor is not None, record.findings
    np.testing.assert_array_equal(tensor.images, twin.images)
    np.testing.assert_array_equal(tensor.region, twin.region)
    if twin.bias_field is not None:
        np.testing.assert_array_equal(tensor.bias_field, twin.bias_field)
    assert record.box_in_crop == twin_record.box_in_crop
    assert record.details == twin_record.details


@pytest.mark.parametrize(("rows", "stored"), [((20, 24), False), ((8, 12), True)])
def test_a_box_that_no_resampled_voxel_covers_is_not_stored_elsewhere(tmp_path, rows, stored):
    """19.2 mm of rows make one voxel of 13 mm; the last rows are in none."""
    config = CONFIG.model_copy(update={"resample_mm": (13.0, 5.0, 5.0), "crop_shape": (1, 2, 2)})
    box = Box((rows[0], 9, 9), (rows[1], 13, 13))
    record, tensor = processed(tmp_path, View(), View(), config=config, box=box)
    assert (tensor is not None) == stored
    assert ("tumour-not-in-crop" in codes(record)) == (not stored)


def test_interpolation_of_files_that_were_acquired_half_a_voxel_aside(tmp_path):
    config = CONFIG.model_copy(update={"align": "resample"})
    record, tensor = processed(tmp_path, View(), View(shift_mm=(0.0, 0.0, 0.75)), config=config)
    assert tensor is not None, record.findings
    assert codes(record) == ["phases-resampled"]
    # A slice of the pre-contrast lies in the middle of two slices of the first pass.
    x, y, z = (int(n[0]) for n in np.nonzero(patient() == tensor.images[0, 0, 0, 0]))
    part = patient(1)[x : x + 8, y : y + 8, z - 1 : z + 6].swapaxes(0, 1).astype(float)
    expected = (part[:, :, :-1] + part[:, :, 1:]) / 2
    np.testing.assert_allclose(tensor.images[1], expected, rtol=1e-4)


def test_headers_follow_slices(tmp_path):
    """What is written about images names those that were used."""
    views = [View(low=(0, 0, 2)), View(high=(*SIZE[:2], 20), flips=(False, True, True))]
    sources = [
        DicomSeries(write_dicom(tmp_path / str(n), patient(n), v), f"phase {n}")
        for n, v in enumerate(views)
    ]
    found = open_patient(
        Patient("p", phases=tuple(sources), box=tumour_box(views[0])), CONFIG, FileCache()
    )
    assert isinstance(found.volumes[0], AlignedVolume)
    places = [[h.position_mm[2] for h in slice_headers(v)] for v in found.volumes]
    assert places[0] == pytest.approx(places[1])
    assert len(places[0]) == found.volumes[0].grid.shape[2] == 18


# Other files.


def nifti_patient(folder, views, **known):
    files = [
        VolumeFile(write_nifti(folder / f"{n}.nii.gz", patient(n).astype(np.int32), v))
        for n, v in enumerate(views)
    ]
    return Patient("p", phases=tuple(files), box=tumour_box(views[0]), **known)


@pytest.mark.parametrize("turn", TURNS[::7], ids=str)
def test_files_of_other_axes_are_aligned_as_dicom_is(tmp_path, turn):
    views = (View(low=(0, 0, 1)), View(high=(25, 24, 22), axes=turn[0], flips=turn[1]))
    record, tensor = process_patient(nifti_patient(tmp_path, views), 0, CONFIG)
    check_stored(record, tensor)


def test_voxels_that_were_turned_without_their_header_are_refused(tmp_path):
    found = nifti_patient(tmp_path, (View(), View()))
    turned = patient(1).astype(np.int32).swapaxes(0, 1)
    write_nifti(tmp_path / "1.nii.gz", turned, View(high=turned.shape))
    record, tensor = process_patient(found, 0, CONFIG)
    assert tensor is None
    assert codes(record) == ["phases-differ"]


@pytest.mark.parametrize("which", ["codes", "identity"])
def test_a_phase_without_a_place_is_taken_voxel_by_voxel_and_said(tmp_path, which):
    found = nifti_patient(tmp_path, (View(), View()))
    told = {"codes": 0} if which == "codes" else {"affine": np.eye(4)}
    write_nifti(tmp_path / "1.nii.gz", patient(1).astype(np.int32), **told)
    record, tensor = process_patient(found, 0, CONFIG)
    check_stored(record, tensor)
    assert codes(record) == ["no-geometry" if which == "codes" else "place-unknown"]
    assert "1.nii.gz" in record.findings[0].message


def test_a_phase_without_a_place_and_of_another_shape_is_refused(tmp_path):
    found = nifti_patient(tmp_path, (View(), View()))
    write_nifti(tmp_path / "1.nii.gz", patient(1).astype(np.int32), View(low=(0, 0, 1)), codes=0)
    record, tensor = process_patient(found, 0, CONFIG)
    assert tensor is None
    assert record.exclusion_code == "phases-differ"


def test_images_without_a_place_are_said_to_have_none(tmp_path):
    found = nifti_patient(tmp_path, (View(), View()))
    for n in range(2):
        write_nifti(tmp_path / f"{n}.nii.gz", patient(n).astype(np.int32), codes=0)
    record, tensor = process_patient(found, 0, CONFIG)
    assert tensor is not None
    assert set(codes(record)) == {"no-geometry"}
    assert nibabel.load(tmp_path / "0.nii.gz").header["sform_code"] == 0


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ([[0, 0, 0], [0, 1, 0], [0, 0, 1]], "spacing-implausible"),
        ([[1, 0, 0], [1, 0, 0], [0, 0, 1]], "image-sheared"),
        ([[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]], "geometry-impossible"),
    ],
    ids=["no size", "two axes alike", "nan"],
)
@pytest.mark.parametrize("which", ["0.nii", "1.nii", "m.nii"])
def test_headers_that_give_no_place(tmp_path, columns, code, which):
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns).T
    for phase in range(2):
        write_nifti(tmp_path / f"{phase}.nii", patient(phase).astype(np.int32))
    write_nifti(tmp_path / "m.nii", tumour_mask())
    path = tmp_path / which
    raw = bytearray(path.read_bytes())
    # srow_x, srow_y, srow_z of the NIfTI-1 header, as nibabel would refuse to write them.
    raw[280:328] = affine[:3].astype("<f4").tobytes()
    path.write_bytes(raw)
    phases = tuple(VolumeFile(tmp_path / f"{n}.nii") for n in range(2))
    found = Patient("p", phases=phases, mask=VolumeFile(tmp_path / "m.nii"))
    record, tensor = process_patient(found, 0, CONFIG)
    assert tensor is None
    assert record.exclusion_code == code


def dicom_record(folder, edit):
    phases = tuple(
        DicomSeries(write_dicom(folder / str(n), patient(n), edit=edit), f"phase {n}")
        for n in range(2)
    )
    return process_patient(Patient("p", phases=phases, box=tumour_box(View())), 0, CONFIG)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", [0, 0.7]),
        ("PixelSpacing", [-0.8, 0.7]),
        ("PixelSpacing", [0.8, -0.7]),
        ("ImageOrientationPatient", [2, 0, 0, 0, 2, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 0, 0.9, 0]),
    ],
)
def test_dicom_headers_that_give_no_place(tmp_path, keyword, value):
    record, tensor = dicom_record(tmp_path, lambda data, k: setattr(data, keyword, value))
    assert tensor is None
    assert record.exclusion_code == "place-damaged"


def test_slices_that_shift_as_they_go_on_are_said(tmp_path):
    def shift(data, k):
        x, *others = data.ImagePositionPatient
        data.ImagePositionPatient = [f"{x + 0.2 * k:.6g}", *others]

    record, tensor = dicom_record(tmp_path, shift)
    assert tensor is not None
    assert [f.code for f in record.findings] == ["axes-skewed"]


def test_skewed_axes_are_refused(tmp_path):
    affine = np.diag([-0.7, -0.8, 1.5, 1.0])
    affine[1, 2] = 0.2
    for phase in range(2):
        write_nifti(tmp_path / f"{phase}.nii", patient(phase).astype(np.int32), affine=affine)
    phases = tuple(VolumeFile(tmp_path / f"{n}.nii") for n in range(2))
    record, tensor = process_patient(Patient("p", phases=phases, box=tumour_box(View())), 0, CONFIG)
    assert tensor is None
    assert record.exclusion_code == "image-sheared"
