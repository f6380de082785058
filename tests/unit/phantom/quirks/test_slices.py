"""What quirks of slices do: where they lie, how they are numbered, which lack or are too many."""

import numpy as np
import pytest

from tests.unit.phantom.quirks.twins import MATRIX, SLICES, differing, voxels

pytestmark = pytest.mark.slow


def positions(data):
    """(R·C, 3) LPS of a slice's voxels, by its header."""
    along_row, along_column = np.reshape(np.array(data.ImageOrientationPatient, float), (2, 3))
    down, across = map(float, data.PixelSpacing)
    r, c = np.mgrid[: data.Rows, : data.Columns].reshape(2, -1, 1)
    return np.array(data.ImagePositionPatient) + r * down * along_column + c * across * along_row


def by_place(data):
    """Positions and values of a slice's voxels, from the patient's right front on."""
    at = positions(data).round(2)
    order = np.lexsort(at.T)
    return at[order], data.pixel_array.ravel()[order]


def test_mirrored_pictures_show_the_same_voxels_at_the_same_places(both):
    patient, twin = both("mirrored")
    theirs = twin.files
    for uid, data in patient.files.items():
        x, _, _, _, y, _ = data.ImageOrientationPatient
        assert x == -1
        assert y > 0.99
        for mine, other in zip(by_place(data), by_place(theirs[uid]), strict=True):
            np.testing.assert_allclose(mine, other, atol=0.02)
    pre, other = patient.phases[0], twin.phases[0]
    assert same_tumour(patient, pre, twin, other)


def test_reversed_numbers_count_the_same_slices_from_the_other_end(both):
    patient, twin = both("numbers-reversed")
    theirs = twin.files
    for uid, data in patient.files.items():
        count = data.ImagesInAcquisition
        assert data.InstanceNumber == count + 1 - theirs[uid].InstanceNumber
        assert int(data.path.stem[2:]) == data.InstanceNumber
    for axis in ("Row", "Column"):
        assert patient.box[f"Start {axis}"] == twin.box[f"Start {axis}"]
    assert patient.box["Start Slice"] == SLICES + 1 - twin.box["End Slice"]
    assert same_tumour(patient, patient.phases[0], twin, twin.phases[0])


def same_tumour(patient, phase, twin, twin_phase):
    """Tell whether both masks and boxes mark the same stored values."""
    values = []
    for who, slices in ((patient, phase), (twin, twin_phase)):
        array = voxels(sorted(slices, key=lambda d: d.InstanceNumber))
        spans = [
            (who.box[f"Start {a}"] - 1, who.box[f"End {a}"]) for a in ("Slice", "Row", "Column")
        ]
        boxed = array[tuple(slice(*s) for s in spans)]
        values.append((sorted(array[who.tumour]), sorted(boxed.ravel())))
    return values[0] == values[1]


def test_oblique_slices_are_tilted_by_four_degrees(both):
    for data in both("oblique")[0].files.values():
        *_, y, z = data.ImageOrientationPatient
        assert np.degrees(np.arctan2(z, y)) % 180 == pytest.approx(4)


def test_thickness_is_twice_the_spacing_and_no_element_tells_the_spacing(both):
    for phase in both("thickness-not-spacing")[0].phases:
        steps = np.diff([d.ImagePositionPatient for d in phase], axis=0)
        spacing = np.linalg.norm(steps, axis=1)
        np.testing.assert_allclose(
            [float(d.SliceThickness) for d in phase], 2 * spacing[0], rtol=1e-2
        )
        assert not any("SpacingBetweenSlices" in d for d in phase)


def test_duplicate_slices_are_three_of_the_first_pass(both):
    patient, twin = (p.files for p in both("duplicate-slices"))
    extra = [patient[uid] for uid in patient.keys() - twin.keys()]
    assert len(extra) == 3
    first_pass = both("duplicate-slices")[1].phases[1]
    known = {tuple(d.ImagePositionPatient): d for d in first_pass}
    own = {"SOPInstanceUID", "InstanceNumber"}
    found = [differing(d, known[tuple(d.ImagePositionPatient)]) for d in extra]
    assert sorted(map(len, found)) == [1, 2, 2]
    assert all(f <= own for f in found)
    assert sorted(d.InstanceNumber for d in extra)[1:] == [SLICES + 1, SLICES + 2]


def test_missing_slice_is_an_inner_one_of_the_second_pass(both):
    patient, twin = both("missing-slice")
    (lost,) = twin.files.keys() - patient.files.keys()
    uids = [d.SOPInstanceUID for d in twin.phases[2]]
    assert 0 < uids.index(lost) < SLICES - 1


@pytest.mark.parametrize("name", ["constant-instance-number", "no-instance-numbers"])
def test_instance_numbers_that_do_not_count(both, name):
    patient, twin = both(name)
    theirs = twin.files
    for uid, data in patient.files.items():
        assert data.InstanceNumber == 1
        kept = theirs[uid].path.name
        assert data.path.name == (f"{uid}.dcm" if name == "no-instance-numbers" else kept)


def test_third_pass_of_half_the_matrix(both):
    patient, twin = (p.phases for p in both("mixed-matrix"))
    np.testing.assert_array_equal(voxels(patient[3]), voxels(twin[3])[:, ::2, ::2])
    assert patient[3][0].PixelSpacing[0] == 2 * twin[3][0].PixelSpacing[0]
    for i in (0, 1, 2):
        np.testing.assert_array_equal(voxels(patient[i]), voxels(twin[i]))


def test_localiser_lies_first_among_the_slices_before_contrast(both):
    patient, twin = both("mixed-series")
    files = patient.files
    (uid,) = files.keys() - twin.files.keys()
    stray, pre = files[uid], twin.phases[0]
    assert stray.path.parent.name in {d.path.parent.name for d in pre}
    assert stray.path == min(stray.path.parent.iterdir())
    assert stray.SeriesInstanceUID == pre[0].SeriesInstanceUID
    assert stray.pixel_array.shape == (MATRIX // 2, MATRIX // 2)
    assert list(stray.ImageOrientationPatient) == [1, 0, 0, 0, 0, -1]


def test_first_pass_shows_the_same_voxels_at_the_same_places_three_columns_aside(both):
    patient, twin = (p.phases for p in both("phase-shifted"))
    for i, (mine, other) in enumerate(zip(patient, twin, strict=True)):
        shift = 3 if i == 1 else 0
        for slice_, as_acquired in zip(mine, other, strict=True):
            # (R, C, xyz)
            here, there = (
                positions(d).reshape(d.Rows, d.Columns, 3) for d in (slice_, as_acquired)
            )
            end = there.shape[1] - shift
            np.testing.assert_allclose(here[:, :end], there[:, shift:], atol=1e-3)
            np.testing.assert_array_equal(
                slice_.pixel_array[:, :end], as_acquired.pixel_array[:, shift:]
            )
