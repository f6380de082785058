"""Multi-frame files: each frame's own place, time and values, against the volumes written."""

import itertools
import random
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom.pixels import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from preprocessing.cohort.cohort import (
    Box,
    Cohort,
    DicomExamination,
    DicomSeries,
    Finding,
    Patient,
    VolumeFile,
)
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.dicom.header import read_slices, read_slices_or_finding
from preprocessing.images.dicom.series import arrange, check_values, on_one_scale, open_series
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.images.phases.examination import find_phases
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.pipeline.check_cohort import common_num_phases
from preprocessing.storage.file_cache import FileCache
from tests.unit.preprocessing.enhanced_files import (
    AXIAL,
    ORIGIN_MM,
    SLICE_MM,
    SPACING_MM,
    group,
    time_of,
    write_enhanced,
)

ROWS, COLUMNS, SLICES, PHASES = 6, 5, 4, 3
VENDORS = ("siemens", "philips", "ge")
WHOLE = Box((0, 0, 0), (ROWS, COLUMNS, SLICES))


@pytest.fixture
def phases():
    rng = np.random.default_rng(3)
    return [rng.integers(0, 4096, (ROWS, COLUMNS, SLICES)) for _ in range(PHASES)]


def shuffled(seed=0):
    order = list(itertools.product(range(PHASES), range(SLICES)))
    random.Random(seed).shuffle(order)
    return order


def by_time(slices):
    """Volumes of the slices of each temporal position."""
    positions = sorted({h.temporal_position for h in slices})
    return [
        arrange([h for h in slices if h.temporal_position == p], f"phase {p}") for p in positions
    ]


def read_all(volumes):
    return [v.read(Box((0, 0, 0), v.grid.shape)) for v in volumes]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("order", [None, shuffled()])
def test_phases_of_one_file_come_back(tmp_path, phases, vendor, order):
    path = write_enhanced(tmp_path / "1.dcm", phases, vendor=vendor, order=order)
    slices = read_slices(path)
    volumes = by_time(slices)
    for found, truth in zip(read_all(volumes), phases, strict=True):
        np.testing.assert_array_equal(found, truth)
    assert [h.frame for h in slices] == list(range(PHASES * SLICES))
    # Frame by frame the pixels that pydicom reads, at the place that the file tells.
    data = pydicom.dcmread(path)
    for header in slices:
        groups = data.PerFrameFunctionalGroupsSequence[header.frame]
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        assert header.position_mm == tuple(position)
        (volume,) = [v for v in volumes if header in v.headers]
        k = volume.headers.index(header)
        part = Box((0, 0, k), (ROWS, COLUMNS, k + 1))
        np.testing.assert_array_equal(
            volume.read(part)[..., 0], pixel_array(path, index=header.frame)
        )


@pytest.mark.parametrize("vendor", VENDORS)
def test_each_frame_says_what_a_classic_file_says(tmp_path, phases, vendor):
    slices = read_slices(write_enhanced(tmp_path / "1.dcm", phases, vendor=vendor))
    first, last = slices[0], slices[-1]
    assert last.position_mm == tuple(np.add(ORIGIN_MM, (0, 0, SLICE_MM * (SLICES - 1))))
    assert (last.row_direction, last.column_direction) == (AXIAL[:3], AXIAL[3:])
    assert last.spacing_mm == SPACING_MM
    assert [h.instance_number for h in slices] == [1, 2, 3, 4] * PHASES
    assert [h.temporal_position for h in slices] == [1] * 4 + [2] * 4 + [3] * 4
    assert {h.num_temporal_positions for h in slices} == {PHASES}
    assert last.time_s - first.time_s == 90 * (PHASES - 1)
    assert (first.has_contrast, last.has_contrast) == (False, True)
    assert (last.echo_time_ms, last.field_strength_t, last.sequence) == (1.8, 3.0, "fl3d1")
    assert last.image_type == ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")
    assert len({h.instance for h in slices}) == len(slices)
    assert {h.description for h in slices} == {"ax dyn"}


@pytest.mark.parametrize("vendor", VENDORS)
def test_phases_in_files_of_their_own(tmp_path, phases, vendor):
    for p, phase in enumerate(phases):
        path = write_enhanced(tmp_path / f"{p}.dcm", [phase], vendor=vendor, first_phase=p)
        volume = open_series(DicomSeries((path,), f"phase {p}"))
        np.testing.assert_array_equal(volume.read(WHOLE), phase)
        assert volume.grid.spacing_mm == pytest.approx((*SPACING_MM, SLICE_MM))
        box = volume.box_to_positions(Box((0, 0, 2), (1, 1, 3)))
        assert (box.start[2], box.stop[2]) == (2, 3)


def test_a_file_of_one_frame(tmp_path, phases):
    paths = []
    for k in range(SLICES):

        def number(frame, p, s, k=k):
            frame.PlanePositionSequence = group(ImagePositionPatient=[0, 0, 2.0 * k])
            frame.FrameContentSequence[0].InStackPositionNumber = k + 1

        part = [phases[0][:, :, k : k + 1]]
        paths.append(write_enhanced(tmp_path / f"{k}.dcm", part, edit_frame=number))
    volume = open_series(DicomSeries(tuple(paths), "series"))
    np.testing.assert_array_equal(volume.read(WHOLE), phases[0])
    assert [h.instance_number for h in volume.headers] == [1, 2, 3, 4]


def test_only_the_part_asked_for_is_read(tmp_path, phases):
    path = write_enhanced(tmp_path / "1.dcm", phases[:1], order=shuffled_slices())
    volume = open_series(DicomSeries((path,), "series"))
    part = Box((1, 2, 0), (4, 5, 4))
    np.testing.assert_array_equal(volume.read(part, step=2), phases[0][1:4, 2:5, 0:4:2])


def shuffled_slices():
    return [(0, s) for s in (2, 0, 3, 1)]


def test_a_frame_s_own_slope_wins(tmp_path, phases):
    slopes = [(1, 0), (2.5, -100), (0.125, 7)]

    def once(ds):
        ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = group(
            RescaleSlope=9, RescaleIntercept=9, RescaleType="US"
        )

    path = write_enhanced(tmp_path / "1.dcm", phases, slopes=slopes, edit=once, order=shuffled())
    volumes, findings = on_one_scale(by_time(read_slices(path)))
    assert [f.code for f in findings] == ["rescale-differs"]
    for found, truth, (slope, intercept) in zip(read_all(volumes), phases, slopes, strict=True):
        np.testing.assert_allclose(found, truth * slope + intercept, rtol=1e-7)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_philips_frames_are_read_on_its_own_scale(tmp_path, phases, syntax):
    slopes, scales = [(1.5, 0), (3, 6), (1.5, 0)], [0.25, 0.5, 0.25]
    path = write_enhanced(
        tmp_path / "1.dcm",
        phases,
        vendor="philips",
        slopes=slopes,
        scale_slopes=scales,
        syntax=syntax,
    )
    slices = read_slices(path)
    assert {h.scale_slope for h in slices} == {0.25, 0.5}
    volumes, findings = on_one_scale(by_time(slices))
    assert [f.code for f in findings] == ["philips-scale"]
    for found, truth, (slope, intercept), scale in zip(
        read_all(volumes), phases, slopes, scales, strict=True
    ):
        np.testing.assert_allclose(found, (truth * slope + intercept) / (slope * scale), rtol=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_raw_syntaxes(tmp_path, phases, syntax):
    path = write_enhanced(tmp_path / "1.dcm", phases, syntax=syntax, order=shuffled())
    for found, truth in zip(read_all(by_time(read_slices(path))), phases, strict=True):
        np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("has_table", [True, False])
@pytest.mark.parametrize("pieces", [1, 2])
def test_compressed_frames(tmp_path, syntax, has_table, pieces):
    rng = np.random.default_rng(3)
    large = [rng.integers(0, 4096, (40, 32, SLICES)) for _ in range(PHASES)]
    path = write_enhanced(tmp_path / "1.dcm", large, order=shuffled())
    data = pydicom.dcmread(path)
    data.compress(syntax, generate_instance_uid=False)
    frames = list(pydicom.encaps.generate_frames(data.PixelData, number_of_frames=12))
    data.PixelData = pydicom.encaps.encapsulate(frames, pieces, has_table)
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)
    if pieces > 1 and not has_table:
        found = read_slices_or_finding(path)
        assert (found.code, found.excludes) == ("dicom-damaged", True)
        return
    for found, truth in zip(read_all(by_time(read_slices(path))), large, strict=True):
        np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("descending", [False, True])
def test_legacy_converted_files(tmp_path, make_series, descending):
    """highdicom turns classic files into one; both must come to the same volume."""
    truth = np.random.default_rng(0).integers(0, 4000, (ROWS, COLUMNS, SLICES))
    paths = make_series(tmp_path / "classic", truth, descending=descending, slope="0.5")
    datasets = [pydicom.dcmread(p) for p in paths]
    for ds in datasets:
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2", "1.3", "1.4"
        ds.PatientID, ds.PatientSex, ds.AccessionNumber = "x", "F", ""
        ds.StudyID, ds.StudyDate, ds.StudyTime = "", "20200101", "090000"
        ds.ReferringPhysicianName, ds.PatientName, ds.PatientBirthDate = "", "", ""
        ds.AcquisitionDate, ds.PositionReferenceIndicator = "20200101", ""
        ds.ImageType, ds.ContentTime, ds.ContentDate = (
            ["ORIGINAL", "PRIMARY", "M"],
            "1100",
            "20200101",
        )
        ds.SOPInstanceUID = generate_uid()
    converted = LegacyConvertedEnhancedMRImage(datasets, "1.3.1", 7, "1.3.1.1", 1)
    path = tmp_path / "converted.dcm"
    converted.save_as(path)
    volume = open_series(DicomSeries((path,), "series"))
    classic = open_series(DicomSeries(paths, "series"))
    np.testing.assert_allclose(volume.read(WHOLE), classic.read(WHOLE))
    np.testing.assert_allclose(volume.grid.matrix, classic.grid.matrix)
    assert volume.headers[0].time_s == classic.headers[0].time_s + _days(2020, 1, 1)


def _days(*day):
    return date(*day).toordinal() * 86400.0


def without(*keywords):
    def edit(frame, p, s):
        for keyword in keywords:
            if keyword in frame.FrameContentSequence[0]:
                del frame.FrameContentSequence[0][keyword]

    return edit


NO_NUMBER = ("InStackPositionNumber", "DimensionIndexValues")


@pytest.mark.parametrize("turned", [False, True])
def test_slices_without_numbers_are_counted_the_way_the_file_runs(tmp_path, phases, turned):
    slices = range(SLICES - 1, -1, -1) if turned else range(SLICES)
    order = [(p, s) for p in range(PHASES) for s in slices]
    path = write_enhanced(tmp_path / "1.dcm", phases, order=order, edit_frame=without(*NO_NUMBER))
    assert [h.instance_number for h in read_slices(path)] == [1, 2, 3, 4] * PHASES


def test_slices_without_numbers_in_no_order_are_counted_along_the_normal(tmp_path, phases):
    path = write_enhanced(
        tmp_path / "1.dcm", phases, order=shuffled(), edit_frame=without(*NO_NUMBER)
    )
    found = [h.instance_number for h in read_slices(path)]
    assert found == [s + 1 for _, s in shuffled()]


def test_one_number_for_several_places_is_not_believed(tmp_path, phases):
    def constant(frame, p, s):
        frame.FrameContentSequence[0].InStackPositionNumber = 1

    path = write_enhanced(tmp_path / "1.dcm", phases, edit_frame=constant)
    assert [h.instance_number for h in read_slices(path)] == [1, 2, 3, 4] * PHASES


def test_time_offsets_alone_number_the_phases(tmp_path, phases):
    path = write_enhanced(
        tmp_path / "1.dcm",
        phases,
        vendor="ge",
        order=shuffled(),
        edit_frame=without("DimensionIndexValues"),
    )
    slices = read_slices(path)
    assert [h.temporal_position for h in slices] == [p + 1 for p, _ in shuffled()]
    assert [h.trigger_time_ms for h in slices] == [90_000.0 * p for p, _ in shuffled()]


def test_image_kinds_mixed_in_one_file_stay_apart(tmp_path, phases):
    kinds = [["DERIVED", "PRIMARY", "DIXON", k] for k in ("WATER", "FAT", "IN_PHASE")]

    def at_once(frame, p, s):
        frame.FrameContentSequence[0].TemporalPositionIndex = 1
        if p == 2:
            frame.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"

    path = write_enhanced(tmp_path / "1.dcm", phases, frame_types=kinds, edit_frame=at_once)
    slices = read_slices(path)
    assert [h.image_type[3:] for h in slices[::SLICES]] == [
        ("WATER",),
        ("FAT",),
        ("IN_PHASE", "PHASE"),
    ]
    volume = open_series(DicomSeries((path,), "series"))
    assert np.array_equal(volume.read(Box((0, 0, 0), volume.grid.shape)), phases[0])
    assert "series-split" in [f.code for f in volume.findings]


def test_a_file_of_several_phases_is_not_one_phase(tmp_path, phases):
    path = write_enhanced(tmp_path / "1.dcm", phases)
    with pytest.raises(UnreadableImageError, match="temporal position differs") as caught:
        open_series(DicomSeries((path,), "series"))
    assert caught.value.finding.code == "series-several-volumes"


def test_a_frame_missing_is_a_slice_missing(tmp_path, phases):
    order = [(0, 0), (0, 1), (0, 3)]
    path = write_enhanced(tmp_path / "1.dcm", phases, order=order)
    with pytest.raises(UnreadableImageError) as caught:
        open_series(DicomSeries((path,), "series"))
    assert caught.value.finding.code == "slice-missing"


def test_stacks_that_make_no_volume_are_named(tmp_path, phases):
    def two_sides(frame, p, s):
        frame.FrameContentSequence[0].StackID = "1" if s < 2 else "2"
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        position[2] += 40 if s >= 2 else 0

    path = write_enhanced(tmp_path / "1.dcm", phases[:1], edit_frame=two_sides)
    with pytest.raises(UnreadableImageError, match="holds 2 stacks"):
        open_series(DicomSeries((path,), "series"))


def test_planes_of_a_localizer_are_slices_of_their_own(tmp_path, phases):
    planes = [AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)]

    def turn(frame, p, s):
        frame.PlaneOrientationSequence = group(ImageOrientationPatient=list(planes[p]))

    slices = read_slices(write_enhanced(tmp_path / "1.dcm", phases, edit_frame=turn))
    assert [h.row_direction + h.column_direction for h in slices[::SLICES]] == planes


def test_headers_do_not_need_the_pixels(tmp_path, phases, monkeypatch):
    path = write_enhanced(tmp_path / "1.dcm", phases)
    read = []
    real = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: read.append(k) or real(*a, **k))
    read_slices(path)
    assert [k["stop_before_pixels"] for k in read] == [True]


def colour(ds):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0


def fewer(ds):
    del ds.PerFrameFunctionalGroupsSequence[-1]


def classic(ds):
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    del ds.PerFrameFunctionalGroupsSequence, ds.SharedFunctionalGroupsSequence
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], list(AXIAL)
    ds.PixelSpacing = [1, 1]


def capture(ds):
    classic(ds)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    del ds.ImagePositionPatient, ds.ImageOrientationPatient


def ultrasound(ds):
    capture(ds)
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.3.1", "US"


def placeless(ds):
    del ds.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


def more(ds):
    ds.NumberOfFrames = 13


@pytest.mark.parametrize(
    ("edit", "code", "excludes"),
    [
        (colour, "dicom-not-a-phase", False),
        (capture, "dicom-not-a-phase", False),
        (ultrasound, "dicom-other-modality", False),
        (fewer, "dicom-multiframe", True),
        (more, "dicom-multiframe", True),
        (classic, "dicom-multiframe", True),
        (placeless, "dicom-multiframe", True),
    ],
)
def test_frames_that_make_no_slices(tmp_path, phases, edit, code, excludes):
    found = read_slices_or_finding(write_enhanced(tmp_path / "1.dcm", phases, edit=edit))
    assert isinstance(found, Finding)
    assert (found.code, found.excludes) == (code, excludes)
    assert "Secret" not in found.message


def test_frames_cut_short(tmp_path, phases):
    path = write_enhanced(tmp_path / "1.dcm", phases)
    path.write_bytes(path.read_bytes()[:-10])
    found = read_slices_or_finding(path)
    assert (found.code, "cut short by 10 bytes" in found.message) == ("dicom-damaged", True)


def test_enhanced_phases_on_one_scale_are_noted_for_nothing(tmp_path, phases):
    slices = read_slices(write_enhanced(tmp_path / "1.dcm", phases))
    assert check_values([slices]).findings == ()


def test_big_endian_frames(tmp_path, phases):
    path = write_enhanced(tmp_path / "little.dcm", phases)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    data.PixelData = np.frombuffer(data.PixelData, "<u2").byteswap().tobytes()
    # pydicom changes the order of bytes of what was converted only.
    assert sum(1 for _ in data.iterall()) > 0
    big = tmp_path / "big.dcm"
    pydicom.dcmwrite(big, data, little_endian=False, implicit_vr=False, enforce_file_format=True)
    for found, truth in zip(read_all(by_time(read_slices(big))), phases, strict=True):
        np.testing.assert_array_equal(found, truth)


def test_an_enhanced_file_of_a_manifest_is_read_frame_by_frame(tmp_path, phases):
    """SimpleITK would take the frames as they lie in the file."""
    sources, truths = [], []
    for p, phase in enumerate(phases):
        path = tmp_path / f"{p}.dcm"
        write_enhanced(path, [phase], order=shuffled_slices(), slopes=[(1 + p, -p)])
        sources.append(VolumeFile(path))
        truths.append(phase * (1 + p) - p)
    patient = Patient("P1", phases=tuple(sources), box=Box((1, 1, 1), (3, 3, 3)))
    config = PreprocessConfig(num_phases=PHASES, crop_shape=(4, 4, 4))
    opened = open_patient(patient, config, FileCache())
    assert isinstance(opened, OpenedPatient), opened
    for volume, truth in zip(opened.volumes, truths, strict=True):
        np.testing.assert_array_equal(volume.read(WHOLE), truth)
    assert [f.code for f in opened.findings] == ["rescale-differs"]


def opened_alone(source):
    """Open a patient whose phases are all in one file or folder, as a manifest names it."""
    patient = Patient("P1", phases=(source,), box=Box((1, 1, 1), (3, 3, 3)))
    cohort = Cohort(Path("/"), "manifest", (), (patient,))
    num = common_num_phases(cohort)
    config = PreprocessConfig(num_phases=max(num, 2), crop_shape=(4, 4, 4))
    return num, open_patient(patient, config, FileCache())


@pytest.mark.parametrize("vendor", VENDORS)
def test_one_enhanced_file_of_a_manifest_holds_all_phases(tmp_path, phases, vendor):
    path = write_enhanced(tmp_path / "1.dcm", phases, vendor=vendor, order=shuffled())
    for source in (VolumeFile(path), DicomSeries((path,), "all")):
        num, opened = opened_alone(source)
        assert num == PHASES
        assert isinstance(opened, OpenedPatient), opened
        for volume, truth in zip(opened.volumes, phases, strict=True):
            np.testing.assert_array_equal(volume.read(WHOLE), truth)
        assert [(f.code, f.excludes) for f in opened.findings] == [("series-split", False)]


def test_what_cannot_be_read_has_no_say_in_how_many_phases_there_are(tmp_path, phases):
    sound = write_enhanced(tmp_path / "sound.dcm", phases)
    (tmp_path / "short.dcm").write_bytes(sound.read_bytes()[:-100])
    (tmp_path / "none.nii").write_bytes(b"no image")
    names = ("sound.dcm", "short.dcm", "none.nii", "gone.nii")
    patients = tuple(Patient(n, phases=(VolumeFile(tmp_path / n),)) for n in names)
    assert common_num_phases(Cohort(tmp_path, "manifest", (), patients)) == PHASES


def test_one_folder_of_a_manifest_holds_all_phases(tmp_path, phases):
    """An enhanced file a phase, their names in another order than their times."""
    uid, paths = generate_uid(), []
    for p, phase in enumerate(phases):
        path = write_enhanced(tmp_path / f"{9 - p}.dcm", [phase], first_phase=p, series=uid)
        paths.append(path)
    num, opened = opened_alone(DicomSeries(tuple(reversed(paths)), "all"))
    assert num == PHASES
    assert isinstance(opened, OpenedPatient), opened
    for volume, truth in zip(opened.volumes, phases, strict=True):
        np.testing.assert_array_equal(volume.read(WHOLE), truth)


def back_in_time(frame, p, s):
    frame.FrameContentSequence[0].FrameAcquisitionDateTime = time_of(PHASES - p)


def with_echoes(frame, p, s):
    frame.MREchoSequence = group(EffectiveEchoTime=1.8 + p)


def without_times(frame, p, s):
    del frame.FrameContentSequence[0].FrameAcquisitionDateTime
    del frame.FrameContentSequence[0].TemporalPositionIndex
    frame.FrameContentSequence[0].DimensionIndexValues = [1, s + 1, 1]


@pytest.mark.parametrize(
    ("edit_frame", "code", "words"),
    [
        (back_in_time, "phases-ambiguous", "by acquisition time, after it by temporal position"),
        (with_echoes, "phases-ambiguous", "acquired in another way"),
        (without_times, "slices-ambiguous", "3 different slices at one position"),
    ],
)
def test_volumes_of_one_file_that_are_no_phases_for_certain(
    tmp_path, phases, edit_frame, code, words
):
    path = write_enhanced(tmp_path / "1.dcm", phases, vendor="philips", edit_frame=edit_frame)
    _, found = opened_alone(VolumeFile(path))
    (finding,) = [f for f in found if f.excludes]
    assert finding.code == code
    assert words in finding.message


def test_several_series_in_one_folder_are_phases_where_their_headers_tell(tmp_path, phases):
    paths = [
        write_enhanced(tmp_path / f"{9 - p}.dcm", [v], first_phase=p) for p, v in enumerate(phases)
    ]
    _, opened = opened_alone(DicomSeries(tuple(paths), "all"))
    assert isinstance(opened, OpenedPatient), opened
    for volume, truth in zip(opened.volumes, phases, strict=True):
        np.testing.assert_array_equal(volume.read(WHOLE), truth)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_phase_missing_in_a_file_of_all_phases_is_not_closed_up(tmp_path, phases, gone):
    """A manifest's `phase_0` alone, whose frames lack a temporal position."""
    order = [(p, s) for p in range(PHASES) for s in range(SLICES) if p != gone]
    path = write_enhanced(tmp_path / "1.dcm", phases, order=order)
    patient = Patient("P1", phases=(VolumeFile(path),), box=Box((1, 1, 1), (3, 3, 3)))
    config = PreprocessConfig(num_phases=PHASES - 1, crop_shape=(4, 4, 4))
    found = open_patient(patient, config, FileCache())
    assert [f.code for f in found if f.excludes] == ["phase-missing"]


def test_a_file_of_all_phases_beside_another_is_refused(tmp_path, phases):
    sources = [
        VolumeFile(write_enhanced(tmp_path / "all.dcm", phases)),
        VolumeFile(write_enhanced(tmp_path / "one.dcm", phases[1:2])),
    ]
    config = PreprocessConfig(num_phases=PHASES, crop_shape=(4, 4, 4))
    for order in (sources, sources[::-1]):
        patient = Patient("P1", phases=tuple(order), box=Box((1, 1, 1), (3, 3, 3)))
        found = open_patient(patient, config, FileCache())
        assert [f.code for f in found] == ["phases-in-one-file"]


def test_one_volume_alone_is_one_phase(tmp_path, phases):
    num, found = opened_alone(VolumeFile(write_enhanced(tmp_path / "1.dcm", phases[:1])))
    assert num == 1
    assert [f.code for f in found] == ["too-few-phases"]


@pytest.mark.parametrize("edit", [classic, colour, capture])
def test_frames_without_places_beside_the_phases_hurt_nothing(tmp_path, phases, edit):
    write_enhanced(tmp_path / "dyn" / "1.dcm", phases)
    write_enhanced(tmp_path / "loc" / "1.dcm", phases, description="3-plane loc", edit=edit)
    found = find_phases(DicomExamination(tmp_path), PHASES, FileCache())
    assert [f.code for f in found.findings if f.excludes] == []
    for phase, truth in zip(found.phases, phases, strict=True):
        np.testing.assert_array_equal(phase.open().read(WHOLE), truth)


def test_phase_without_places_is_missed(tmp_path, phases):
    for p, phase in enumerate(phases):
        path = tmp_path / str(p) / "1.dcm"
        write_enhanced(path, [phase], first_phase=p, edit=classic if p == 1 else None)
    found = find_phases(DicomExamination(tmp_path), PHASES, FileCache())
    assert [(f.code, f.excludes) for f in found.findings] == [("dicom-multiframe", True)]
