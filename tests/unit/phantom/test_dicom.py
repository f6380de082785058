"""The phantom's files against what TCIA's Duke headers are known to say."""

import re

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, MRImageStorage

from preprocessing.phantom.scanner import draw_protocol
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import COLLECTION, write_phantom

PRE_NAMES = {
    "ax dyn pre",
    "ax dyn",
    "Ax Vibrant MultiPhase",
    "t1_fl3d_tra_dynVIEWS_spair_ISO",
}
POST_NAMES = re.compile(
    r"ax dyn 1st pass?|ax dyn (2nd|3rd|4th) pass|(1st|2nd|3rd|4th) ax dyn"
    r"|Ph[1-4]/Ax Vibrant MultiPhase|t1_fl3d_tra_dynVIEWS_spair_ISO"
)
PLAIN_NAMES = {"ax t1", "Ax 3D T1 NON FS"}


def all_series(cohort):
    return [(patient, series) for patient in cohort.patients for series in patient.series]


def all_headers(cohort):
    return [(p, s, h) for p, s in all_series(cohort) for h in s.headers]


def test_every_file_is_implicit_vr_little_endian_mr(cohort):
    for _, _, header in all_headers(cohort):
        assert header.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        assert header.original_encoding == (True, True)
        assert header.file_meta.MediaStorageSOPClassUID == header.SOPClassUID == MRImageStorage
        assert header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID
        assert header.Modality == "MR"


def test_headers_are_deidentified_as_tcia_does(cohort):
    for patient, _, header in all_headers(cohort):
        assert header.PatientID == str(header.PatientName) == patient.patient_id
    for header in (h for _, s in all_series(cohort) for h in (s.headers[0], s.headers[-1])):
        dates = [e.value for e in header if e.VR == "DA" and e.keyword != "PatientBirthDate"]
        assert len(dates) == 5
        assert set(dates) == {"19900101"}
        assert header.PatientBirthDate == header.PatientSex == header.AccessionNumber == ""
        assert header.PatientIdentityRemoved == "YES"


def test_elements_of_a_plain_ge_series_are_among_those_of_a_real_one(cohort, real_data):
    path = real_data / "duke_dicom" / "1-01.dcm"
    if not path.exists():
        pytest.skip("no real slice duke_dicom/1-01.dcm among the real files")
    real = pydicom.dcmread(path)
    ours = next(s for s in cohort.of("GE")[0].series if s.phase is None).first
    assert {e.keyword for e in ours} <= {e.keyword for e in real}
    assert {e.keyword: e.VR for e in ours} == {e.keyword: real[e.tag].VR for e in ours}
    for keyword in (
        "ImageType",
        "StudyDescription",
        "PerformedProcedureStepDescription",
        "Manufacturer",
        "ScanningSequence",
        "SequenceVariant",
        "ImageOrientationPatient",
        "BitsStored",
        "PixelRepresentation",
        "PhotometricInterpretation",
        "PatientPosition",
        "StudyDate",
    ):
        assert ours[keyword].value == real[keyword].value, keyword
    assert re.fullmatch(r"\d{6}", ours.AcquisitionTime)
    assert re.fullmatch(r"\d{6}", real.AcquisitionTime)


def test_patients_have_three_or_four_posts_and_a_series_that_is_not_dynamic(cohort):
    posts = [len(p.phases) - 1 for p in cohort.patients]
    assert set(posts) == {3, 4}
    for patient in cohort.patients:
        plain = [s for s in patient.series if s.phase is None]
        assert len(plain) >= 1
        for series in plain:
            assert series.first.SeriesDescription in PLAIN_NAMES
            assert len(series.headers) != len(patient.phases[0].headers)


def test_series_are_named_as_dukes(cohort):
    seen = set()
    for patient in cohort.patients:
        pre, *posts = (s.first.SeriesDescription for s in patient.phases)
        assert pre in PRE_NAMES
        assert all(POST_NAMES.fullmatch(name) for name in posts), posts
        assert (pre in posts) == pre.startswith("t1_fl3d")
        seen.add(pre)
    assert len(seen) >= 3


def test_misspelt_first_pass_occurs_in_a_larger_cohort():
    settings = PhantomSettings()
    names = [draw_protocol(np.random.default_rng(i), settings).phases[1].name for i in range(100)]
    assert 0 < names.count("ax dyn 1st pas") < names.count("ax dyn 1st pass")


def test_acquisition_time_rises_over_phases_and_tells_them_apart(cohort):
    for patient in cohort.patients:
        for header in (s.first for s in patient.series):
            assert header.AcquisitionTime == header.ContentTime == header.SeriesTime
            assert header.AcquisitionTime > header.StudyTime
        times = [float(s.first.AcquisitionTime) for s in patient.phases]
        numbers = [int(s.first.SeriesNumber) for s in patient.phases]
        assert all(np.diff(times) > 0)
        assert all(np.diff(numbers) > 0)
        for series in patient.series:
            assert len({h.AcquisitionTime for h in series.headers}) == 1


def test_contrast_agent_is_named_after_its_injection_only(cohort):
    for _, series in all_series(cohort):
        assert ("ContrastBolusAgent" in series.first) == bool(series.phase)


def test_temporal_position_where_told_counts_the_phases(cohort):
    told = 0
    for patient in cohort.patients:
        positions = [s.first.get("TemporalPositionIdentifier") for s in patient.phases]
        assert positions in ([None] * len(positions), list(range(1, len(positions) + 1)))
        told += positions[0] is not None
    assert 0 < told < len(cohort.patients)


@pytest.mark.parametrize(("vendor", "direction"), [("GE", -1), ("Siemens", 1)])
def test_instance_numbers_run_down_for_ge_and_up_for_siemens(cohort, vendor, direction):
    patients = cohort.of(vendor)
    assert len(patients) >= 2
    for patient in patients:
        for series in patient.series:
            numbers = [int(h.InstanceNumber) for h in series.headers]
            assert numbers == list(range(1, len(numbers) + 1))
            assert all(np.diff(series.positions[:, 2]) * direction > 0)


def test_ge_pictures_are_turned_by_180_degrees(cohort):
    for patient in cohort.of("GE"):
        for series in patient.series:
            assert list(series.first.ImageOrientationPatient) == [-1, 0, 0, 0, -1, 0]


def test_siemens_pictures_are_upright_and_some_slightly_oblique(cohort):
    tilts = []
    for patient in cohort.of("Siemens"):
        row, column, normal = patient.phases[0].directions
        np.testing.assert_array_equal(row, [1, 0, 0])
        np.testing.assert_allclose(np.linalg.norm([column, normal], axis=1), 1, atol=1e-8)
        assert column[0] == 0
        tilts.append(abs(np.degrees(np.arctan2(column[2], column[1]))))
    assert min(tilts) == 0
    assert 2 <= max(tilts) <= 6


def test_slice_positions_lie_on_one_line_at_the_spacing_told(cohort):
    for patient, series in all_series(cohort):
        *_, normal = series.directions
        steps = np.diff(series.positions, axis=0)
        distance = steps @ normal
        np.testing.assert_allclose(steps, distance[:, None] * normal, atol=2e-4)
        np.testing.assert_allclose(distance, distance[0], atol=3e-4)
        told = series.first.get("SpacingBetweenSlices")
        if series.phase is not None:
            assert abs(distance[0]) == pytest.approx(patient.truth["spacing_mm"][2], abs=3e-4)
        if told is not None:
            assert abs(distance[0]) == pytest.approx(float(told), abs=3e-4)
        locations = [float(h.SliceLocation) for h in series.headers]
        np.testing.assert_allclose(np.diff(locations), distance, atol=3e-4)


def test_slice_thickness_is_not_always_the_spacing(cohort):
    ratios = set()
    for patient in cohort.patients:
        thickness = float(patient.phases[0].first.SliceThickness)
        ratios.add(round(thickness / patient.truth["spacing_mm"][2], 2))
    assert ratios == {1.0, 2.0}


def test_siemens_leaves_the_slice_spacing_out_of_its_dynamic_series(cohort):
    for patient in cohort.patients:
        for series in patient.phases:
            told = "SpacingBetweenSlices" in series.first
            assert told == (patient.truth["vendor"] == "GE")


def test_phases_of_a_patient_share_one_geometry(cohort):
    for patient in cohort.patients:
        pre, *posts = patient.phases
        for series in posts:
            np.testing.assert_array_equal(series.positions, pre.positions)
            assert series.first.PixelSpacing == pre.first.PixelSpacing
            assert series.first.FrameOfReferenceUID == pre.first.FrameOfReferenceUID


def test_pixels_are_as_the_header_says(cohort):
    for patient, series in all_series(cohort):
        signed = patient.truth["vendor"] == "GE"
        for header in series.headers:
            pixels = header.pixel_array
            assert pixels.dtype == (np.int16 if signed else np.uint16)
            assert pixels.shape == (header.Rows, header.Columns) == (64, 64)
            assert 0 <= pixels.min() == header.SmallestImagePixelValue
            assert pixels.max() == header.LargestImagePixelValue <= 4095
            assert header.BitsStored == header.HighBit + 1 == (16 if signed else 12)
        assert 300 < 64 * float(series.first.PixelSpacing[0]) + 1e-2 < 361


def test_uids_are_unique_over_the_cohort(cohort):
    images = [h.SOPInstanceUID for _, _, h in all_headers(cohort)]
    series = [s.first.SeriesInstanceUID for _, s in all_series(cohort)]
    studies = [p.series[0].first.StudyInstanceUID for p in cohort.patients]
    frames = [p.series[0].first.FrameOfReferenceUID for p in cohort.patients]
    every = [*images, *series, *studies, *frames]
    assert len(set(every)) == len(every)
    assert all(uid.is_valid for uid in every)


def test_slices_carry_the_uids_of_their_series_and_study(cohort):
    for patient, series, header in all_headers(cohort):
        assert header.SeriesInstanceUID == series.first.SeriesInstanceUID
        assert header.StudyInstanceUID == patient.series[0].first.StudyInstanceUID


def test_file_names_hold_the_instance_number_padded_or_not(cohort):
    padded = set()
    for patient in cohort.patients:
        for series in patient.phases:
            numbers = [re.fullmatch(r"1-(\d+)\.dcm", path.name)[1] for path in series.paths]
            assert [int(n) for n in numbers] == list(range(1, len(numbers) + 1))
            padded.add(numbers[0])
    assert padded == {"1", "01"}


def test_odd_patients_have_classic_folders_and_even_ones_descriptive(cohort):
    for patient in cohort.patients:
        number = int(patient.patient_id[-3:])
        assert patient.truth["layout"] == ("classic" if number % 2 else "descriptive")
        for series in patient.series:
            assert_folder_name(series.folder, series.first, patient.truth["layout"])


@pytest.mark.parametrize("layout", ["classic", "descriptive"])
def test_one_layout_for_all_where_asked(tmp_path, layout):
    write_phantom(tmp_path, PhantomSettings(patients=2, matrix=48, slices=16, layout=layout))
    folders = sorted((tmp_path / COLLECTION).glob("*/*/*"))
    assert len(folders) >= 10
    for folder in folders:
        header = pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True)
        assert_folder_name(folder, header, layout)


def assert_folder_name(folder, header, layout):
    study, series = folder.parts[-2:]
    assert folder.parts[-4:-2] == (COLLECTION, header.PatientID)
    if layout == "classic":
        assert (study, series) == (header.StudyInstanceUID, header.SeriesInstanceUID)
        return
    assert re.fullmatch(r"01-01-1990-NA-MRI BREAST BILATERAL WWO-\d{5}", study)
    number, name, tail = re.fullmatch(r"(\d+)\.000000-(.+)-(\d{5})", series).groups()
    assert int(number) == header.SeriesNumber
    assert name == header.SeriesDescription.replace("/", "")
    assert header.SeriesInstanceUID.endswith(tail)


def test_files_are_what_pydicom_itself_writes(cohort, tmp_path):
    """Writing them anew changes nothing: all elements are there, in order."""
    for folder in (cohort.folder / "Duke-Breast-Cancer-MRI").glob("*/*/*"):
        path = min(folder.iterdir())
        pydicom.dcmread(path).save_as(tmp_path / "again.dcm", enforce_file_format=True)
        assert (tmp_path / "again.dcm").read_bytes() == path.read_bytes()
