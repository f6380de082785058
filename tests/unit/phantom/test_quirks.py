"""Each quirk writes what its name says, and nothing else: files read with pydicom alone.

A clean twin is the same cohort without quirks. Slices are known by their SOPInstanceUID.
"""

import json
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import openpyxl
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from preprocessing.errors import InputError
from preprocessing.phantom.quirks import QUIRKS, parse_quirks
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.truth import read_mask
from preprocessing.phantom.write import COLLECTION, write_phantom
from radiotrain.cli import main

MATRIX, SLICES = 48, 16
# With this seed no clean twin has by chance what a quirk gives its patient.
SMALL = {"matrix": MATRIX, "slices": SLICES, "seed": 2}
NAMES = [quirk.name for quirk in QUIRKS]
MAPPING = "Breast-Cancer-MRI-filepath_filename-mapping.xlsx"
TIMES = {"SeriesTime", "AcquisitionTime", "ContentTime"}
TEMPORAL = {"TemporalPositionIdentifier", "NumberOfTemporalPositions"}
PIXELS = {"PixelData", "SmallestImagePixelValue", "LargestImagePixelValue"}

# What may differ from the clean twin in files that both have.
CONCERNS = {
    "typo-first-pass": {"SeriesDescription"},
    "vibrant-names": {"SeriesDescription"},
    "ordinal-names": {"SeriesDescription"},
    "same-names": {"SeriesDescription", "SeriesNumber", *TEMPORAL},
    "posts-named-pre": {"SeriesDescription", *TEMPORAL},
    "series-repeated": {"SeriesDescription"},
    "one-folder": {
        "SeriesDescription", "SeriesNumber", "SeriesInstanceUID", "SeriesTime", "InstanceNumber",
        *TEMPORAL,
    },
    "one-folder-by-time": {
        "SeriesDescription", "SeriesNumber", "SeriesInstanceUID", "SeriesTime", *TEMPORAL,
    },
    "unknown-names": {"SeriesDescription", *TEMPORAL},
    "mapping-workbook": {"SeriesDescription", "SeriesNumber", *TIMES, *TEMPORAL},
    "mirrored": {"ImageOrientationPatient", "ImagePositionPatient", "SliceLocation", "PixelData"},
    "oblique": {
        "ImageOrientationPatient", "ImagePositionPatient", "SliceLocation", "WindowCenter",
        "WindowWidth", *PIXELS,
    },
    "numbers-reversed": {"InstanceNumber"},
    "thickness-not-spacing": {"SliceThickness", "SpacingBetweenSlices"},
    "constant-instance-number": {"InstanceNumber"},
    "no-instance-numbers": {"InstanceNumber"},
    "mixed-matrix": {"Rows", "Columns", "PixelSpacing", "AcquisitionMatrix", *PIXELS},
    "phase-shifted": {"ImagePositionPatient"},
    "compressed": {"PixelData", "BitsStored", "HighBit"},
    "big-endian": {"PixelData"},
    "unsigned-wrap": {
        "PixelRepresentation", "BitsStored", "HighBit", "RescaleSlope", "RescaleIntercept", *PIXELS,
    },
    "box-at-edge": {
        "ImagePositionPatient", "SliceLocation", "WindowCenter", "WindowWidth", *PIXELS,
    },
    "box-beyond-edge": {
        "ImagePositionPatient", "SliceLocation", "WindowCenter", "WindowWidth", *PIXELS,
    },
    "too-few-phases": {"NumberOfTemporalPositions"},
    "first-pass-missing": {"SeriesDescription"},
    "first-pass-unreadable": {"SeriesDescription", "SeriesNumber", *TEMPORAL},
}  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    folder: Path

    @cache  # noqa: B019 - a cohort lives as long as its tests
    def patient(self, name):
        number = NAMES.index(name) + 1
        return Patient(self.folder, f"Breast_MRI_{number:03d}")


@dataclass(frozen=True)
class Patient:
    cohort: Path
    patient_id: str

    @property
    def folder(self):
        return self.cohort / COLLECTION / self.patient_id

    @property
    def paths(self):
        return sorted(p for p in self.folder.rglob("*") if p.is_file())

    @cached_property
    def files(self):
        """Data set by SOPInstanceUID, of all whole DICOM files; each with its `path`."""
        found = {}
        for path in self.paths:
            if path.read_bytes()[128:132] == b"DICM":
                data = pydicom.dcmread(path)
                data.path = path
                found[data.SOPInstanceUID] = data
        return found

    @cached_property
    def truth(self):
        return json.loads((self.cohort / "truth.json").read_text())["patients"][self.patient_id]

    @cached_property
    def phases(self):
        """Slices of each dynamic series, in order of time and then of position."""
        series = {}
        for data in self.files.values():
            if data.get("MRAcquisitionType") == "3D":
                series.setdefault((data.AcquisitionTime, data.SeriesInstanceUID), []).append(data)
        return [sorted(series[k], key=lambda d: d.ImagePositionPatient[2]) for k in sorted(series)]

    @property
    def names(self):
        return [phase[0].SeriesDescription for phase in self.phases]

    @cached_property
    def box(self):
        return sheet(self.cohort / "Annotation_Boxes.xlsx").get(self.patient_id)

    @property
    def tumour(self):
        """(K, R, C) bool, slices in order of InstanceNumber."""
        with np.load(self.cohort / "truth" / f"{self.patient_id}.npz") as arrays:
            return read_mask(arrays, (SLICES, MATRIX, MATRIX))


def sheet(path):
    """Rows by their first cell, as dicts."""
    header, *rows = openpyxl.load_workbook(path).worksheets[0].values
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def voxels(phase):
    return np.stack([data.pixel_array for data in phase]).astype(int)


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


def differing(one, other):
    """Keywords of the elements in which two data sets differ."""
    keywords = {e.keyword for e in one} | {e.keyword for e in other}
    return {k for k in keywords if one.get(k) != other.get(k)}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    write_phantom(folder, PhantomSettings(patients=len(QUIRKS), **SMALL))
    return Cohort(folder)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoilt")
    settings = PhantomSettings(patients=len(QUIRKS), quirks=parse_quirks(["all"]), **SMALL)
    write_phantom(folder, settings)
    return Cohort(folder)


@pytest.fixture
def both(spoilt, clean):
    """Return a function: name of a quirk to the patient who has it, and the clean twin."""
    return lambda name: (spoilt.patient(name), clean.patient(name))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("truncated-file", "no-images")])
def test_what_a_quirk_does_not_concern_is_as_in_the_clean_twin(both, name):
    patient, twin = (p.files for p in both(name))
    shared = patient.keys() & twin.keys()
    assert shared
    found = set().union(*(differing(patient[uid], twin[uid]) for uid in shared))
    multi_frame = name == "multi-frame"
    assert multi_frame or found <= CONCERNS.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_tumour_are_those_of_the_clean_twin(both, name):
    patient, twin = both(name)
    assert patient.truth["labels"] == twin.truth["labels"]
    assert patient.truth["kinetics"] == twin.truth["kinetics"]
    assert patient.tumour.sum() == twin.tumour.sum() or name == "oblique"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("typo-first-pass", ["ax dyn pre", "ax dyn 1st pas", "ax dyn 2nd pass"]),
        ("vibrant-names", ["", "Ph1/", "Ph2/"]),
        ("ordinal-names", ["ax dyn", "1st ax dyn", "2nd ax dyn"]),
        ("same-names", ["t1_fl3d_tra_dynVIEWS_spair_ISO"] * 3),
        ("posts-named-pre", ["ax dyn pre"] * 3),
    ],
)
def test_names(both, name, expected):
    patient, twin = both(name)
    names = patient.names
    assert [n.removesuffix("Ax Vibrant MultiPhase") for n in names[:3]] == expected
    assert len(names) == len(twin.names)
    assert [s["name"] for s in patient.truth["series"][1:]] == names


def test_same_names_leave_nothing_but_time(both):
    phases = both("same-names")[0].phases
    numbers = [p[0].SeriesNumber for p in phases]
    assert numbers == sorted(numbers, reverse=True)
    assert not any("TemporalPositionIdentifier" in p[0] for p in phases)


def test_repeated_series_is_the_second_pass_once_more(both):
    patient, twin = (p.phases for p in both("series-repeated"))
    assert len(patient) == len(twin) + 1
    second, again = patient[2], patient[3]
    assert 0 < float(again[0].AcquisitionTime) - float(second[0].AcquisitionTime) < 60
    assert second[0].SeriesDescription == again[0].SeriesDescription == "ax dyn 2nd pass"
    for one, other in zip(second, again, strict=True):
        own = {"SeriesNumber", "SeriesInstanceUID", "SOPInstanceUID", *TIMES}
        assert differing(one, other) == own
    assert second[0].path.parent != again[0].path.parent


def test_one_folder_counts_on_and_tells_temporal_positions(both):
    slices = dynamic(both("one-folder")[0])
    numbers = [d.InstanceNumber for d in slices]
    assert sorted(numbers) == list(range(1, len(slices) + 1))
    for data in slices:
        assert data.TemporalPositionIdentifier == (data.InstanceNumber - 1) // SLICES + 1
        assert int(data.path.stem[2:]) == data.InstanceNumber


def test_one_folder_by_time_begins_anew_and_tells_no_temporal_positions(both):
    slices = dynamic(both("one-folder-by-time")[0])
    num_phases = len({d.AcquisitionTime for d in slices})
    counts = np.bincount([d.InstanceNumber for d in slices])
    assert counts.tolist() == [0] + [num_phases] * SLICES
    assert not any("TemporalPositionIdentifier" in d for d in slices)


def dynamic(patient):
    """All slices that are in one series, with the phases found by time."""
    slices = [d for phase in patient.phases for d in phase]
    for keyword in ("SeriesInstanceUID", "SeriesDescription", "SeriesNumber", "SeriesTime"):
        assert len({d[keyword].value for d in slices}) == 1
    assert len({d.path.parent for d in slices}) == 1
    assert len({d.AcquisitionTime for d in slices}) == len(patient.phases) >= 4
    assert len(list(slices[0].path.parent.iterdir())) == len(slices)
    return slices


def test_second_study_is_a_year_later_at_an_earlier_time_of_day(both):
    patient, twin = both("two-studies")
    files = patient.files.values()
    first, second = ([d for d in files if d.StudyDate == day] for day in ("19900101", "19910101"))
    assert len(first) == len(second) == len(twin.files)
    assert max(d.AcquisitionTime for d in second) < max(d.AcquisitionTime for d in first)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert not {d[keyword].value for d in first} & {d[keyword].value for d in second}
    studies = [{d.path.parents[1] for d in study} for study in (first, second)]
    assert [len(s) for s in studies] == [1, 1]
    assert studies[0] != studies[1]
    by_number = {(d.SeriesNumber, d.InstanceNumber): d.pixel_array for d in second}
    assert all((d.pixel_array != by_number[d.SeriesNumber, d.InstanceNumber]).any() for d in first)


@pytest.mark.parametrize("name", ["unknown-names", "mapping-workbook"])
def test_names_that_say_nothing(both, name):
    files = both(name)[0].files.values()
    assert {d.SeriesDescription for d in files} == {f"SER {d.SeriesNumber}" for d in files}
    times = {d.AcquisitionTime for d in files if d.MRAcquisitionType == "3D"}
    assert len(times) == 1 if name == "mapping-workbook" else len(times) >= 4


def test_mapping_workbook_tells_each_file_s_series(both):
    patient, twin = both("mapping-workbook")
    rows = mapping_rows(patient.cohort)
    mine, theirs = patient.files, twin.files
    assert rows.keys() == mine.keys()
    phases = {s["number"]: s["phase"] for s in twin.truth["series"]}
    for uid, row in rows.items():
        data, phase = mine[uid], phases[theirs[uid].SeriesNumber]
        word = "T1" if phase is None else ["pre", "post_1", "post_2", "post_3", "post_4"][phase]
        number, patient_id = data.InstanceNumber, patient.patient_id
        study, series = data.StudyInstanceUID, data.SeriesInstanceUID
        assert row == {
            "original_path_and_filename": (
                f"DICOM_Images/{patient_id}/{word}/{patient_id}_{word}_{number:04d}.dcm"
            ),
            "classic_path": f"{COLLECTION}/{patient_id}/{study}/{series}/1-{number:03d}.dcm",
            "descriptive_path": (
                f"{COLLECTION}/{patient_id}/01-01-1990-NA-MRI BREAST BILATERAL WWO-{study[-5:]}"
                f"/{data.SeriesNumber}.000000-{data.SeriesDescription}-{series[-5:]}"
                f"/1-{number:03d}.dcm"
            ),
            "sop_instance_UID": uid,
        }


def test_mapping_workbook_tells_the_files_of_patients_without_a_quirk_too(tmp_path):
    quirks = ("mapping-workbook", "one-folder")
    write_phantom(tmp_path, PhantomSettings(patients=3, quirks=quirks, **SMALL))
    first, second, third = (
        Patient(tmp_path, f"Breast_MRI_{n:03d}").files.keys() for n in (1, 2, 3)
    )
    told = mapping_rows(tmp_path).keys()
    assert told == first | third
    assert not told & second


def mapping_rows(cohort):
    header, *rows = openpyxl.load_workbook(cohort / MAPPING).worksheets[0].values
    entries = [dict(zip(header, row, strict=True)) for row in rows]
    return {entry["sop_instance_UID"]: entry for entry in entries}


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


def test_first_pass_three_voxels_aside(both):
    patient, twin = (p.phases for p in both("phase-shifted"))
    for i, (mine, other) in enumerate(zip(patient, twin, strict=True)):
        apart = np.subtract(mine[0].ImagePositionPatient, other[0].ImagePositionPatient)
        across = float(other[0].PixelSpacing[1])
        assert apart.tolist() == pytest.approx([3 * across if i == 1 else 0, 0, 0], abs=1e-3)


def test_a_truncated_file_is_the_beginning_of_a_slice_of_the_first_pass(both):
    patient, twin = both("truncated-file")
    pairs = zip(patient.paths, twin.paths, strict=True)
    changed = [(a, b) for a, b in pairs if a.read_bytes() != b.read_bytes()]
    ((cut, whole),) = changed
    assert whole.read_bytes().startswith(cut.read_bytes())
    assert len(whole.read_bytes()) - len(cut.read_bytes()) == MATRIX * MATRIX
    assert whole in {d.path for d in twin.phases[1]}


def test_an_empty_file_is_a_slice_of_the_second_pass(both):
    patient, twin = both("zero-byte-file")
    (empty,) = (p for p in patient.paths if not p.stat().st_size)
    path = twin.cohort / empty.relative_to(patient.cohort)
    assert path in {d.path for d in twin.phases[2]}
    assert len(patient.paths) == len(twin.paths)


@pytest.mark.parametrize(
    ("name", "syntaxes"),
    [
        ("compressed", [RLELossless, JPEG2000Lossless, JPEGLosslessSV1, ImplicitVRLittleEndian]),
        ("big-endian", [ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
    ],
)
def test_other_encodings_hold_the_same_pixels(both, name, syntaxes):
    patient, twin = (p.phases for p in both(name))
    for phase, other, syntax in zip(patient, twin, syntaxes, strict=False):
        for mine, theirs in zip(phase, other, strict=True):
            assert mine.file_meta.TransferSyntaxUID == syntax
            decoded = sitk.GetArrayFromImage(sitk.ReadImage(mine.path))[0]
            np.testing.assert_array_equal(decoded, theirs.pixel_array)


def test_objects_that_are_no_images_lie_among_the_slices(both):
    patient, twin = both("not-an-image")
    files = patient.files
    extra = [files[uid] for uid in files.keys() - twin.files.keys()]
    assert sorted(d.Modality for d in extra) == ["PR", "SR"]
    assert not any("PixelData" in d or "Rows" in d for d in extra)
    folders = [phase[0].path.parent.name for phase in twin.phases[:2]]
    assert {d.path.parent.name for d in extra} == set(folders)
    (text,) = set(patient.paths) - {d.path for d in files.values()}
    assert text.parent.name == folders[0]
    assert not text.suffix


def test_multi_frame_file_holds_the_first_pass(both):
    patient, twin = both("multi-frame")
    (data,) = [d for d in patient.files.values() if "NumberOfFrames" in d]
    first_pass = sorted(twin.phases[1], key=lambda d: d.InstanceNumber)
    np.testing.assert_array_equal(data.pixel_array, voxels(first_pass))
    assert data.NumberOfFrames == SLICES
    assert len(twin.files) - len(patient.files) == SLICES - 1
    places = [g.PlanePositionSequence[0] for g in data.PerFrameFunctionalGroupsSequence]
    assert [p.ImagePositionPatient for p in places] == [d.ImagePositionPatient for d in first_pass]


def test_file_names_without_suffix(both):
    files = both("no-suffix")[0].files.values()
    kinds = {bool(re.fullmatch(r"IM-\d{4}-\d{4}", d.path.name)) for d in files}
    assert kinds == {True, False}
    for data in files:
        assert data.path.name.startswith("IM-") or data.path.name == data.SOPInstanceUID


def test_unsigned_pixels_would_wrap_and_mean_the_same(both):
    patient, twin = (p.phases for p in both("unsigned-wrap"))
    for phase, other in zip(patient, twin, strict=True):
        slope, intercept = float(phase[0].RescaleSlope), float(phase[0].RescaleIntercept)
        np.testing.assert_array_equal(voxels(phase) * slope + intercept, voxels(other))
    pre, post = (np.stack([d.pixel_array for d in phase]) for phase in patient[:2])
    assert pre.dtype == post.dtype == np.uint16
    assert (post - pre).max() > 60_000


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


def test_no_images_but_rows_in_the_workbooks(both):
    patient, twin = both("no-images")
    assert not patient.folder.exists()
    assert len(list(patient.folder.parent.iterdir())) == len(QUIRKS) - 1
    assert patient.box == twin.box


def test_too_few_phases_are_two(both):
    patient, twin = both("too-few-phases")
    assert len(patient.phases) == 2
    assert [d.SOPInstanceUID for p in patient.phases for d in p] == [
        d.SOPInstanceUID for p in twin.phases[:2] for d in p
    ]


def test_first_pass_is_missing(both):
    patient, twin = both("first-pass-missing")
    names = {d.SeriesDescription for d in patient.files.values() if d.MRAcquisitionType == "3D"}
    assert "ax dyn 1st pass" not in names
    assert {"ax dyn pre", "ax dyn 2nd pass", "ax dyn 3rd pass"} <= names
    gone = twin.files.keys() - patient.files.keys()
    assert gone == {d.SOPInstanceUID for d in twin.phases[1]}


def test_first_pass_is_there_and_empty(both):
    patient, twin = both("first-pass-unreadable")
    empty = [p for p in patient.folder.rglob("*.dcm") if p.stat().st_size == 0]
    assert len(empty) == len(twin.phases[1])


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


def test_no_uid_comes_twice(spoilt):
    uids = [uid for name in NAMES for uid in spoilt.patient(name).files]
    assert len(set(uids)) == len(uids) > 1000


def test_patients_without_a_quirk_have_the_bytes_of_the_clean_twin(tmp_path, digest):
    quirks = ("two-studies", "mirrored")
    write_phantom(tmp_path / "clean", PhantomSettings(patients=3, **SMALL))
    write_phantom(tmp_path / "spoilt", PhantomSettings(patients=3, quirks=quirks, **SMALL))
    hashes = [digest(tmp_path / n / COLLECTION / "Breast_MRI_003") for n in ("clean", "spoilt")]
    assert hashes[0] == hashes[1]
    settings = [json.loads((tmp_path / n / "phantom.json").read_text())["settings"]
                for n in ("clean", "spoilt")]  # fmt: skip
    assert "quirks" not in settings[0]
    assert settings[1]["quirks"] == list(quirks)


def test_resume_matches_uninterrupted_run(spoilt, tmp_path, digest):
    copy = shutil.copytree(spoilt.folder, tmp_path / "copy")
    for name in ("two-studies", "compressed", "one-folder-by-time"):
        shutil.rmtree(copy / COLLECTION / spoilt.patient(name).patient_id)
    (copy / "Annotation_Boxes.xlsx").unlink()
    settings = PhantomSettings(patients=len(QUIRKS), quirks=NAMES, **SMALL)
    write_phantom(copy, settings, workers=2)
    assert digest(copy) == digest(spoilt.folder)


@pytest.mark.parametrize(("quirks", "others"), [([], ["oblique"]), (["oblique"], [])])
def test_other_quirks_into_the_same_folder_are_refused(tmp_path, quirks, others):
    settings = {"patients": 1, **SMALL}
    write_phantom(tmp_path, PhantomSettings(**settings, quirks=quirks))
    with pytest.raises(InputError, match=r"holds a phantom with quirks \[.*\], got \[.*resume"):
        write_phantom(tmp_path, PhantomSettings(**settings, quirks=others))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"quirks": ("two-study",)},
            r"phantom quirk is 'two-study' \(did you mean 'two-studies'\?\), expected one of \d+",
        ),
        (
            {"quirks": ("no-box", "oblique"), "patients": 1},
            "phantom quirks are 2 and patients 1, expected .*: ask for 2 or more patients",
        ),
        ({"quirks": "no-box"}, "phantom quirk is 'n'"),
    ],
)
def test_quirks_that_cannot_be_had_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        PhantomSettings(**values)


def test_all_means_every_quirk_once():
    assert parse_quirks(["no-box", "all"]) == ("no-box", *NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_outcomes_have_a_finding_unless_nothing_is_wrong():
    assert {q.outcome for q in QUIRKS} == {"used", "repaired", "excluded"}
    assert all((q.finding is None) == (q.outcome == "used") for q in QUIRKS)


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["radiotrain", "phantom", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_command_lists_the_quirks(monkeypatch, capsys):
    assert run(monkeypatch, "--list-quirks") == 0
    text = capsys.readouterr().out
    for quirk in QUIRKS:
        assert f"\n{quirk.name} ({quirk.outcome}" in f"\n{text}"
        assert quirk.description in text
        assert not quirk.finding or quirk.finding in text


def test_command_gives_the_quirks_to_the_first_patients(monkeypatch, tmp_path):
    options = ["--quirk", "no-images", "--quirk", "too-few-phases"]
    sizes = ["--patients", 3, "--matrix", MATRIX, "--slices", SLICES, "--seed", 2, "--workers", 1]
    assert run(monkeypatch, tmp_path, *sizes, *options) == 0
    patients = [Patient(tmp_path, f"Breast_MRI_{n:03d}") for n in (1, 2, 3)]
    assert [len(p.phases) for p in patients if p.folder.exists()] == [2, 4]
    assert not patients[0].folder.exists()


def test_command_refuses_an_unknown_quirk_with_status_2(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, tmp_path / "out", "--quirk", "obligue") == 2
    assert "did you mean 'oblique'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
