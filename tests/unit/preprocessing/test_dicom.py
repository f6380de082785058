import numpy as np
import pytest
import SimpleITK as sitk

from preprocessing.cohort.cohort import Box, DicomSeries
from preprocessing.images.dicom.header import seconds_of_day
from preprocessing.images.dicom.series import open_series
from preprocessing.images.volumes import UnreadableImageError

WHOLE = Box((0, 0, 0), (6, 5, 4))


@pytest.fixture
def voxels():
    return np.random.default_rng(0).integers(0, 4000, (6, 5, 4))


def opened(paths, name="series"):
    return open_series(DicomSeries(tuple(paths), name))


def finding_of(paths):
    with pytest.raises(UnreadableImageError) as caught:
        opened(paths)
    return caught.value.finding


@pytest.mark.parametrize("explicit", [False, True])
def test_voxels_come_back_whatever_the_order_of_files(tmp_path, voxels, make_series, explicit):
    paths = make_series(tmp_path, voxels, explicit=explicit)
    np.testing.assert_array_equal(opened(paths[::-1]).read(WHOLE), voxels)


def test_only_the_part_asked_for_is_read(tmp_path, voxels, make_series):
    volume = opened(make_series(tmp_path, voxels))
    part = Box((1, 2, 0), (4, 5, 4))
    np.testing.assert_array_equal(volume.read(part, step=2), voxels[1:4, 2:5, 0:4:2])


def test_rescale_is_applied(tmp_path, voxels, make_series):
    volume = opened(make_series(tmp_path, voxels, slope="0.5"))
    np.testing.assert_allclose(volume.read(WHOLE), voxels * 0.5 + 5)


@pytest.mark.parametrize(
    "orientation",
    [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)],
)
def test_geometry_is_the_one_simpleitk_reads(tmp_path, voxels, make_series, orientation):
    paths = make_series(tmp_path, voxels, orientation=orientation, origin=(10.0, -20.0, 30.0))
    volume = opened(paths)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    theirs = sitk.GetArrayFromImage(image)
    for row, column, position in [(0, 0, 0), (5, 0, 0), (0, 4, 0), (0, 0, 3), (2, 3, 1)]:
        at = volume.grid.matrix @ [row, column, position, 1]
        x, y, z = image.TransformPhysicalPointToIndex(at.tolist())
        corner = Box((row, column, position), (row + 1, column + 1, position + 1))
        assert volume.read(corner).item() == theirs[z, y, x]


def test_spacing_is_the_distance_between_slices_not_their_thickness(tmp_path, voxels, make_series):
    volume = opened(make_series(tmp_path, voxels, spacing=(0.7, 0.8, 1.25)))
    assert volume.grid.spacing_mm == pytest.approx((0.7, 0.8, 1.25))


@pytest.mark.parametrize("descending", [False, True])
def test_box_slices_follow_instance_numbers(tmp_path, voxels, make_series, descending):
    volume = opened(make_series(tmp_path, voxels, descending=descending))
    box = volume.box_to_positions(Box((0, 0, 0), (1, 1, 1)))  # the file numbered 1
    assert (box.start[2], box.stop[2]) == ((3, 4) if descending else (0, 1))


def test_box_beyond_all_slices_is_a_finding(tmp_path, voxels, make_series):
    volume = opened(make_series(tmp_path, voxels))
    with pytest.raises(UnreadableImageError, match=r"slices 10-12, .* has 1-4"):
        volume.box_to_positions(Box((0, 0, 9), (1, 1, 12)))


@pytest.mark.parametrize("kept", [0, 100, 700])
def test_truncated_file_is_a_finding_that_names_it(tmp_path, voxels, make_series, kept):
    paths = make_series(tmp_path, voxels)
    paths[2].write_bytes(paths[2].read_bytes()[:kept])
    finding = finding_of(paths)
    assert finding.code == "dicom-damaged"
    assert "1-03.dcm" in finding.message


def test_missing_slice_is_a_finding(tmp_path, voxels, make_series):
    paths = make_series(tmp_path, voxels)
    finding = finding_of([paths[0], paths[2], paths[3]])
    assert finding.code == "slice-missing"
    assert "3.00 mm" in finding.message


def test_duplicate_slice_is_ignored_and_noted(tmp_path, voxels, make_series):
    paths = make_series(tmp_path / "a", voxels)
    twice = make_series(tmp_path / "b", voxels)[1]
    volume = opened([*paths, twice])
    np.testing.assert_array_equal(volume.read(WHOLE), voxels)
    assert [f.code for f in volume.findings] == ["duplicate-slices"]


def test_other_slice_at_a_position_already_taken_is_a_finding(tmp_path, voxels, make_series):
    """Neither of the two is known to be right."""
    paths = make_series(tmp_path / "a", voxels)
    other = make_series(tmp_path / "b", voxels + 1)[1]
    assert finding_of([*paths, other]).code == "slices-ambiguous"


def test_mixed_matrix_sizes_are_a_finding(tmp_path, voxels, make_series):
    paths = make_series(tmp_path / "a", voxels) + make_series(tmp_path / "b", voxels[:4])
    assert finding_of(paths).code == "series-mixed"


def test_empty_series_is_a_finding():
    assert finding_of([]).code == "series-empty"


def test_time_of_day():
    assert seconds_of_day("101530.5") == 10 * 3600 + 15 * 60 + 30.5
    assert seconds_of_day("soon") is None
