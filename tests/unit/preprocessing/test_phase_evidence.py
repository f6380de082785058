"""Whole patients whose headers tell phases in all the ways that scanners and archives do.

Each is written with pydicom alone; what is stored must be what was acquired, in its place.
"""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.pipeline.process_patient import process_patient
from tests.intake import BOX, NAMES, SHAPE, SPACING, TIMES, Examination, truth, write_workbooks

CONFIG = PreprocessConfig(crop_shape=SHAPE, bias_engine="none")
SUB = ("DERIVED", "PRIMARY", "M", "SUB")


def subtraction(phase):
    return truth(phase) - truth(0) + 2000


def same_name(exam, change=lambda phase: {}, num=4):
    exam.phases(num, lambda phase: {"name": "ax dyn", **change(phase)})


def one_moment(exam, change):
    """One name and one time for all phases."""
    same_name(exam, lambda phase: {"time": "100000", **change(phase)})


def named_subtractions(exam):
    same_name(exam)
    for phase in (1, 2, 3):
        exam.series(subtraction(phase), name="ax dyn_SUB", time=TIMES[phase])


def typed_subtractions(exam):
    same_name(exam)
    for phase in (1, 2, 3):
        exam.series(subtraction(phase), time=TIMES[phase], image_type=SUB)


def projections(exam):
    exam.phases()
    kind = ("DERIVED", "SECONDARY", "PROJECTION IMAGE")
    exam.series(truth(9)[:, :, :3], name=NAMES[1], time=TIMES[1], image_type=kind)
    exam.series(truth(8), name="ax dyn MIP", time=TIMES[1])


def reformats_at_the_same_times(exam):
    exam.phases()
    kind = ("DERIVED", "SECONDARY", "MPR")
    for phase in range(4):
        exam.series(np.repeat(truth(phase), 2, axis=2), name=NAMES[phase], time=TIMES[phase],
                    image_type=kind, spacing=(1.2, 1.1, 1.0))  # fmt: skip


def motion_corrected_beside(exam):
    same_name(exam)
    for phase in range(4):
        exam.series(truth(phase) + 7, name="ax dyn_MOCO", time=TIMES[phase],
                    image_type=("DERIVED", "PRIMARY", "M", "MOCO"))  # fmt: skip


def washin_and_phase_images(exam):
    same_name(exam)
    exam.series(truth(7), name="ax dyn Wash-In", time=TIMES[3])
    for phase in range(4):
        exam.series(truth(7), time=TIMES[phase], image_type=("ORIGINAL", "PRIMARY", "P", "ND"))


def temporal_positions(exam):
    one_moment(exam, lambda phase: {"TemporalPositionIdentifier": phase + 1, "number": 9 - phase})


def trigger_times(exam):
    one_moment(exam, lambda phase: {"TriggerTime": str(90000 * phase), "number": 9 - phase})


def positions_in_one_series(exam):
    uid = generate_uid()
    one_moment(
        exam,
        lambda phase: {
            "uid": uid, "place": "all", "number": 4, "first": 1 + SHAPE[2] * phase,
            "TemporalPositionIdentifier": phase + 1,
        },
    )  # fmt: skip


def acquisition_numbers_in_one_series(exam):
    """With the time of each slice its own, as 2D scans have it."""
    uid = generate_uid()

    def own_time(data, index):
        data.AcquisitionTime = f"10{int(data.AcquisitionNumber):02d}{index:02d}"

    one_moment(exam, lambda phase: {"uid": uid, "place": "all", "number": 4,
                                    "AcquisitionNumber": phase + 1, "edit": own_time})  # fmt: skip


def blocks_of_instance_numbers(exam):
    uid = generate_uid()
    one_moment(exam, lambda phase: {"uid": uid, "place": "all", "number": 4,
                                    "first": 1 + SHAPE[2] * phase})  # fmt: skip


def a_broken_off_last_volume(exam):
    uid = generate_uid()
    same_name(exam, lambda phase: {
        "uid": uid, "place": "all", "number": 4, "first": 1 + SHAPE[2] * phase,
        "TemporalPositionIdentifier": phase + 1, "keep": lambda i: phase < 4 or i < 4,
    }, num=5)  # fmt: skip


def a_file_twice(exam):
    exam.phases()
    file = sorted((exam.folder / "s2").iterdir())[3]
    shutil.copy(file, file.with_name("copy of it.dcm"))


def everything_twice(exam):
    exam.phases()
    shutil.copytree(exam.folder, exam.folder / "again")


def after_midnight(exam):
    times = ("235800", "235930", "000100", "000300")
    days = ("20200101", "20200101", "20200102", "20200102")
    same_name(exam, lambda phase: {"time": times[phase], "AcquisitionDate": days[phase],
                                   "ContentDate": days[phase]})  # fmt: skip


def after_midnight_on_one_date(exam):
    times = ("235800", "235930", "000100", "000300")
    same_name(exam, lambda phase: {"time": times[phase]})


def after_midnight_on_the_studys_date(exam):
    times = ("235800", "235930", "000100", "000300")

    def undated(data, index):
        del data.AcquisitionDate, data.ContentDate

    same_name(exam, lambda phase: {"time": times[phase], "edit": undated})


def only_acquisition_date_time(exam):
    def moment(data, index):
        data.AcquisitionDateTime = f"20200101{data.AcquisitionTime}.5"
        del data.AcquisitionTime, data.AcquisitionDate
        data.ContentTime = "120000"

    same_name(exam, lambda phase: {"edit": moment, "number": 9 - phase})


def numbers_against_time(exam):
    same_name(exam, lambda phase: {"number": 9 - phase})


def words_with_signs(exam):
    names = ("dyn_pre", "DynPost1", "dyn_post_2", "dyn post-3")
    exam.phases(4, lambda phase: {"name": names[phase], "time": "100000"})


def posts_without_numbers(exam):
    exam.phases(4, lambda phase: {"name": "ax dyn post" if phase else "ax dyn pre"})


def counted_with_contrast_told(exam):
    agent = {"ContrastBolusAgent": "GADAVIST"}
    exam.phases(4, lambda phase: {"name": f"dyn phase {phase + 1}", "time": "100000",
                                  **(agent if phase else {})})  # fmt: skip


def water_and_fat_in_one_series(exam):
    for phase in range(4):
        uid = generate_uid()
        for k, kind in enumerate(("FAT", "WATER")):
            exam.series(truth(phase) if kind == "WATER" else truth(9), name=NAMES[phase], time=TIMES[phase],
                        uid=uid, number=phase, place=f"p{phase}", first=1 + SHAPE[2] * k,
                        image_type=("DERIVED", "PRIMARY", "DIXON", kind))  # fmt: skip


def water_and_fat_by_name(exam):
    for phase in range(4):
        for kind in ("InPhase", "OutPhase", "FAT", "WATER"):
            voxels = truth(phase) if kind == "WATER" else truth(9)
            exam.series(voxels, name=f"{kind}: Ax Vibrant Flex", time=TIMES[phase])


def one_series_in_two_folders(exam):
    uids = [generate_uid() for _ in range(4)]
    for half in (0, 1):
        exam.phases(4, lambda phase, half=half: {
            "uid": uids[phase], "number": phase, "place": f"disk{half}",
            "keep": lambda i: (i < 5) == (half == 0),
        })  # fmt: skip


def sent_twice(exam):
    exam.phases()
    exam.series(truth(2), name=NAMES[2], time="100405", number=77)


def broken_off_and_repeated(exam):
    exam.phases()
    exam.series(truth(9), name=NAMES[1], time="100130", keep=lambda i: i < 4)


def statics_beside(exam):
    same_name(exam)
    for name in ("ax t2 fs", "DWI dyn", "3 plane loc", "t1_tirm_tra", "Ax 3D T1 NON FS", "ax t1"):
        exam.series(truth(9), name=name, time="095500")


def spread_over_studies(exam):
    same_name(exam, lambda phase: {"StudyInstanceUID": generate_uid()})


def by_structure(exam):
    """Not named as dynamic at all; a series of the same geometry was acquired before."""
    exam.series(truth(9), name="T1 axial", time="093000")
    uid = generate_uid()
    same_name(exam, lambda phase: {
        "name": "T1 axial rep", "uid": uid, "place": "all", "number": 5, "time": "100000",
        "TemporalPositionIdentifier": phase + 1, "NumberOfTemporalPositions": 4,
        "first": 1 + SHAPE[2] * phase,
    })  # fmt: skip


def derived_only(exam):
    exam.phases(4, lambda phase: {"image_type": ("DERIVED", "PRIMARY", "M", "NORM", "FILTERED")})


def names_left_out(exam):
    """As many exports blank SeriesDescription."""
    exam.phases(4, lambda phase: {"name": ""})


def pre_in_a_series_of_its_own(exam):
    exam.series(truth(0), name="t1_fl3d_tra_pre", time=TIMES[0])
    uid = generate_uid()
    for phase in (1, 2, 3):
        exam.series(truth(phase), name="t1_fl3d_tra_post", time=TIMES[phase], uid=uid, place="posts",
                    number=9, first=1 + SHAPE[2] * (phase - 1), TemporalPositionIdentifier=phase)  # fmt: skip


def pre_of_the_same_name_as_the_posts_series(exam):
    exam.series(truth(0), name="t1_fl3d_tra", time=TIMES[0])
    uid = generate_uid()
    for phase in (1, 2, 3):
        exam.series(truth(phase), name="t1_fl3d_tra", time=TIMES[phase], uid=uid, place="posts",
                    number=9, first=1 + SHAPE[2] * (phase - 1), TemporalPositionIdentifier=phase)  # fmt: skip


def bare_name_beside_prefixes(exam):
    """GE; no word of the name says dynamic."""
    exam.phases(4, lambda phase: {"name": f"Ph{phase}/Ax 3D T1 FS" if phase else "Ax 3D T1 FS"})


def original_pre_and_derived_posts(exam):
    derived = {"image_type": ("DERIVED", "PRIMARY", "M")}
    exam.phases(4, lambda phase: derived if phase else {})


def distortion_corrected_beside(exam):
    same_name(exam)
    same_name(
        exam,
        lambda phase: {
            "voxels": truth(phase + 10),
            "image_type": ("ORIGINAL", "PRIMARY", "M", "ND"),
        },
    )


def a_test_of_the_bolus(exam):
    exam.series(truth(9)[:, :, :1], name="dyn test", time="095900")
    same_name(exam)


def seconds_in_names(exam):
    names = ("dyn pre", "dyn post 60 SECONDS", "dyn post 120 SECONDS", "dyn post 180 SECONDS")
    exam.phases(4, lambda phase: {"name": names[phase]})


def a_localiser_in_the_series(exam):
    positions_in_one_series(exam)
    uid = next(iter(pydicom.dcmread(f).SeriesInstanceUID for f in (exam.folder / "all").iterdir()))

    def coronal(data, index):
        data.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    exam.series(
        truth(9)[:, :, :3], name="ax dyn", uid=uid, place="all", number=4, first=101, edit=coronal
    )


def acquisition_numbers_interleaved(exam):
    uid = generate_uid()

    def turn(phase):
        def edit(data, index):
            data.InstanceNumber = 1 + 4 * index + phase

        return {
            "uid": uid,
            "place": "all",
            "number": 4,
            "edit": edit,
            "AcquisitionNumber": phase + 1,
        }

    one_moment(exam, turn)


def counted_from_one(exam):
    exam.phases(4, lambda phase: {"name": f"dyn phase {phase + 1}"})


def other_languages(exam):
    names = ("T1 vor KM", "T1 nach KM 1", "T1 nach KM 2", "T1 nach KM 3")
    exam.phases(4, lambda phase: {"name": names[phase], "time": "100000"})


def zones_of_time(exam):
    """10:00 in Berlin is before 9:30 in London."""
    zones = ("+0200", "+0200", "+0000", "+0000")
    moments = ("20200101100000", "20200101100200", "202001010804", "20200101080600")

    def edit(phase):
        def change(data, index):
            data.AcquisitionDateTime = moments[phase] + zones[phase]
            del data.AcquisitionTime, data.AcquisitionDate

        return {"edit": change, "number": 9 - phase}

    same_name(exam, edit)


def a_date_missing(exam):
    def edit(phase):
        def change(data, index):
            if phase == 2:
                del data.AcquisitionDate, data.StudyDate
            if phase == 1:
                data.AcquisitionDate = "00000000"

        return {"edit": change}

    same_name(exam, edit)


def another_modality_beside(exam):
    ct = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
    exam.series(truth(9), name="dynamic CT", time="095900", **ct)
    same_name(exam)


def no_agent_named(exam):
    exam.phases(4, lambda phase: {} if phase else {"ContrastBolusAgent": "NONE"})


def typed_names_outvoted(exam):
    """Two things that the scanner wrote agree against what was typed."""
    exam.phases(
        4, lambda phase: {"name": NAMES[3 - phase], "TemporalPositionIdentifier": phase + 1}
    )


USED = (
    named_subtractions, typed_subtractions, projections, reformats_at_the_same_times,
    motion_corrected_beside, washin_and_phase_images, temporal_positions, trigger_times,
    positions_in_one_series, acquisition_numbers_in_one_series, blocks_of_instance_numbers,
    a_broken_off_last_volume, a_file_twice, everything_twice, after_midnight,
    after_midnight_on_one_date, after_midnight_on_the_studys_date, only_acquisition_date_time,
    numbers_against_time, words_with_signs, posts_without_numbers, counted_with_contrast_told,
    water_and_fat_in_one_series, water_and_fat_by_name, one_series_in_two_folders, sent_twice,
    broken_off_and_repeated, statics_beside, spread_over_studies, by_structure, derived_only,
    typed_names_outvoted, names_left_out, pre_in_a_series_of_its_own,
    pre_of_the_same_name_as_the_posts_series, bare_name_beside_prefixes,
    original_pre_and_derived_posts, distortion_corrected_beside, a_test_of_the_bolus, seconds_in_names,
    a_localiser_in_the_series, acquisition_numbers_interleaved, counted_from_one, other_languages,
    zones_of_time, a_date_missing, another_modality_beside, no_agent_named,
)  # fmt: skip


def made(tmp_path, write, config=CONFIG, **tables):
    exam = Examination(tmp_path, "Breast_MRI_001")
    write(exam)
    write_workbooks(tmp_path, ["Breast_MRI_001"], **tables)
    (patient,) = read_cohort(tmp_path).patients
    return process_patient(patient, 0, config)


def name_of(write):
    return write.__name__.replace("_", " ")


@pytest.mark.parametrize("write", USED, ids=name_of)
def test_phases_are_those_that_were_acquired(tmp_path, write):
    record, tensor = made(tmp_path, write)
    assert record.status == "stored", record.findings
    for phase in range(4):
        assert np.array_equal(tensor.images[phase], truth(phase)), phase
    assert record.details["phases_by"]


def names_against_time(exam):
    exam.phases(4, lambda phase: {"name": NAMES[3 - phase]})


def positions_against_time(exam):
    same_name(exam, lambda phase: {"TemporalPositionIdentifier": 4 - phase})


def series_numbers_alone(exam):
    one_moment(exam, lambda phase: {})


def two_first_passes(exam):
    exam.phases()
    exam.series(truth(9), name=NAMES[1], time="100300")


def pre_contrast_by_another_name(exam):
    exam.series(truth(0), name="Ax T1 FS pre", time="095900")
    same_name(exam, num=5)


def counted_from_two(exam):
    exam.phases(4, lambda phase: {"name": f"dyn phase {phase + 2}"})


def water_beside_something_else(exam):
    same_name(exam)
    water = ("ORIGINAL", "PRIMARY", "DIXON", "WATER")
    same_name(exam, lambda phase: {"voxels": truth(phase + 10), "image_type": water})


def reconstructed_twice(exam):
    same_name(exam)
    filtered = ("ORIGINAL", "PRIMARY", "M", "FIL")
    same_name(exam, lambda phase: {"voxels": truth(phase + 10), "image_type": filtered})


def two_examinations_within_an_hour(exam):
    same_name(exam, lambda phase: {"FrameOfReferenceUID": "1.2.3.4"}, num=4)
    study = generate_uid()
    same_name(exam, lambda phase: {"StudyInstanceUID": study, "FrameOfReferenceUID": "1.2.3.5",
                                   "time": f"103{phase}00"}, num=5)  # fmt: skip


def numbers_that_take_turns(exam):
    """One series, one time, and instance numbers that go through the phases slice by slice."""
    uid = generate_uid()

    def turn(phase):
        def edit(data, index):
            data.InstanceNumber = 1 + 4 * index + phase

        return {"uid": uid, "place": "all", "number": 4, "edit": edit}

    one_moment(exam, turn)


def content_times_and_series_numbers(exam):
    """Both tell when an image was made, which need not be when it was acquired."""

    def edit(phase):
        def change(data, index):
            del data.AcquisitionTime
            data.ContentTime = TIMES[3 - phase]

        return {"edit": change, "number": 9 - phase}

    same_name(exam, edit)


def a_phase_marked_as_derived(exam):
    derived = {"image_type": ("DERIVED", "PRIMARY", "M")}
    same_name(exam, lambda phase: derived if phase == 2 else {}, num=5)


def a_phase_named_as_static(exam):
    same_name(exam, lambda phase: {"name": "ax dyn T2"} if phase == 2 else {}, num=5)


def a_phase_of_a_bare_name(exam):
    same_name(
        exam, lambda phase: {"name": "t1_vibe"} if phase == 0 else {"name": "t1_vibe dyn"}, num=5
    )


def a_series_that_may_be_the_pre_contrast(exam):
    """Its name is that of the series of all posts, but for what says how many there are."""
    exam.series(truth(0), name="t1_fl3d_tra", time="095700")
    uid = generate_uid()
    same_name(exam, lambda phase: {
        "name": "t1_fl3d_tra_4x", "uid": uid, "place": "all", "number": 5,
        "TemporalPositionIdentifier": phase + 1, "NumberOfTemporalPositions": 4,
        "first": 1 + SHAPE[2] * phase, "voxels": truth(phase + 1),
    })  # fmt: skip


def another_sequence_in_the_row(exam):
    same_name(exam, lambda phase: {"SequenceName": "*tse2d" if phase == 2 else "*fl3d1"}, num=5)


def prone_then_supine(exam):
    for k, position in enumerate(("prone", "supine")):
        for phase in range(4):
            exam.series(truth(phase + 10 * k), name=f"dyn {position}", time=f"1{k}0{phase}00")


def two_echoes_in_one_series(exam):
    uid = generate_uid()
    for phase in range(4):
        for echo in (1, 2):
            exam.series(truth(phase + 10 * (echo - 1)), name="ax dyn", time=TIMES[phase], uid=uid, number=4,
                        place="all", EchoTime=1.2 * echo, first=1 + SHAPE[2] * (2 * phase + echo - 1))  # fmt: skip


def dates_that_do_not_belong_together(exam):
    days = ("20200103", "20200109", "20200101", "20200106")
    same_name(exam, lambda phase: {"AcquisitionDate": days[phase], "ContentDate": days[phase]})


def contrast_in_the_first_only(exam):
    same_name(exam, lambda phase: {} if phase else {"ContrastBolusAgent": "GADAVIST"})


AMBIGUOUS = (
    names_against_time, positions_against_time, series_numbers_alone, two_first_passes,
    pre_contrast_by_another_name, counted_from_two, water_beside_something_else,
    reconstructed_twice, two_examinations_within_an_hour, numbers_that_take_turns,
    contrast_in_the_first_only, content_times_and_series_numbers, a_phase_marked_as_derived,
    a_phase_named_as_static, a_phase_of_a_bare_name, another_sequence_in_the_row, prone_then_supine,
    a_series_that_may_be_the_pre_contrast, two_echoes_in_one_series, dates_that_do_not_belong_together,
)  # fmt: skip


@pytest.mark.parametrize("write", AMBIGUOUS, ids=name_of)
def test_what_can_be_read_in_two_ways_is_excluded(tmp_path, write):
    record, tensor = made(tmp_path, write)
    assert tensor is None
    assert record.exclusion_code == "phases-ambiguous", record.findings
    assert "phases.csv" in record.findings[-1].message


def only_motion_corrected(exam):
    exam.phases(4, lambda phase: {"name": "dyn_MOCO"})


def only_reformats(exam):
    exam.phases(4, lambda phase: {"image_type": ("DERIVED", "SECONDARY", "MPR")})


def only_subtractions(exam):
    exam.phases(4, lambda phase: {"image_type": SUB})


def only_secondary(exam):
    exam.phases(4, lambda phase: {"image_type": ("DERIVED", "SECONDARY")})


def first_position_missing(exam):
    same_name(
        exam,
        lambda phase: {"TemporalPositionIdentifier": phase + 2, "NumberOfTemporalPositions": 5},
    )


def inner_position_missing(exam):
    same_name(exam, lambda phase: {"TemporalPositionIdentifier": phase + 1 + (phase > 0)})


def posts_alone(exam):
    exam.phases(4, lambda phase: {"name": f"dyn post {phase + 1}"})


def unnumbered_posts_alone(exam):
    exam.phases(4, lambda phase: {"name": "dyn post"})


def a_volume_missing_by_instance_numbers(exam):
    uid = generate_uid()
    for phase in (0, 2, 3, 4):
        exam.series(truth(phase), name="ax dyn", time=TIMES[phase], uid=uid, place="all", number=4,
                    first=1 + SHAPE[2] * phase)  # fmt: skip


def the_first_volume_missing_by_instance_numbers(exam):
    uid = generate_uid()
    for phase in (1, 2, 3, 4):
        exam.series(truth(phase), name="ax dyn", time=TIMES[phase], uid=uid, place="all", number=4,
                    first=1 + SHAPE[2] * phase)  # fmt: skip


def a_volume_missing_by_acquisition_numbers(exam):
    uid = generate_uid()
    for n, phase in enumerate((0, 2, 3, 4)):
        exam.series(truth(phase), name="ax dyn", time=TIMES[phase], uid=uid, place="all", number=4,
                    AcquisitionNumber=phase + 1, first=1 + SHAPE[2] * n)  # fmt: skip


def another_patient_beside(exam):
    same_name(exam)
    same_name(exam, lambda phase: {"PatientID": "other", "StudyInstanceUID": "1.2.3"})


def a_phase_without_a_place(exam):
    def edit(phase):
        def change(data, index):
            if phase == 1:
                del data.ImagePositionPatient

        return {"edit": change}

    same_name(exam, edit, num=5)


def a_phase_without_the_tumours_slices(exam):
    exam.phases(4, lambda phase: {"keep": lambda i: phase != 1 or i >= 5})


def a_phase_in_colour(exam):
    def edit(phase):
        def change(data, index):
            if phase == 2:
                data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"

        return {"edit": change}

    same_name(exam, edit, num=5)


def names_of_large_numbers(exam):
    exam.phases(4, lambda phase: {"name": f"Ph{10**9 + phase}/dyn post", "time": "100000"})


def large_temporal_positions(exam):
    one_moment(exam, lambda phase: {"TemporalPositionIdentifier": 2_000_000_000 + phase})


def only_differences(exam):
    exam.series(truth(0), name="Vibrant", time=TIMES[0])
    for phase in (1, 2, 3):
        exam.series(subtraction(phase), name=f"(Ph{phase}/Vibrant) - (Vibrant)", time=TIMES[phase])


def nothing_tells_slices_apart(exam):
    uid = generate_uid()
    one_moment(exam, lambda phase: {"uid": uid, "place": "all", "number": 4})


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (only_motion_corrected, "no-dynamic-series"),
        (only_reformats, "no-dynamic-series"),
        (only_subtractions, "no-dynamic-series"),
        (only_secondary, "no-dynamic-series"),
        (first_position_missing, "phase-missing"),
        (inner_position_missing, "phase-missing"),
        (posts_alone, "phase-missing"),
        (unnumbered_posts_alone, "phase-missing"),
        (nothing_tells_slices_apart, "slices-ambiguous"),
        (a_volume_missing_by_instance_numbers, "phase-missing"),
        (the_first_volume_missing_by_instance_numbers, "phase-missing"),
        (a_volume_missing_by_acquisition_numbers, "phase-missing"),
        (another_patient_beside, "several-patients"),
        (a_phase_without_a_place, "dicom-damaged"),
        (a_phase_without_the_tumours_slices, "tumour-cut"),
        (a_phase_in_colour, "dicom-not-a-phase"),
        (names_of_large_numbers, "phases-ambiguous"),
        (large_temporal_positions, "phase-missing"),
        (only_differences, "too-few-phases"),
    ],
    ids=lambda value: name_of(value) if callable(value) else value,
)
def test_what_is_no_phase_is_never_stored(tmp_path, write, code):
    record, tensor = made(tmp_path, write)
    assert tensor is None
    assert record.exclusion_code == code, record.findings


def both_breasts(exam):
    """Left and right in turns, under one name; the patient's left is at positive x."""
    for phase in range(4):
        for side, voxels in (("R", truth(phase + 10)), ("L", truth(phase))):
            x = 30.0 if side == "L" else -30.0 - 24 * 1.1
            exam.series(voxels, name="sag dyn", time=f"100{phase}{'05' if side == 'L' else '00'}",
                        origin=(x, 0, 0))  # fmt: skip


def test_the_breast_with_the_tumour_is_used(tmp_path):
    record, tensor = made(tmp_path / "L", both_breasts, side="L")
    assert record.findings[0].code == "phases-by-box"
    assert all(np.array_equal(tensor.images[p], truth(p)) for p in range(4))
    record, tensor = made(tmp_path / "R", both_breasts, side="R")
    assert all(np.array_equal(tensor.images[p], truth(p + 10)) for p in range(4))
    record, _ = made(tmp_path / "unknown", both_breasts)
    assert record.exclusion_code == "phases-ambiguous"


def test_the_box_tells_the_breast_by_instance_numbers(tmp_path):
    def numbered_on(exam):
        for phase in range(4):
            exam.series(truth(phase + 10), name="ax dyn", time=f"100{phase}00")
            exam.series(
                truth(phase), name="ax dyn", time=f"100{phase}05", origin=(100, 0, 0), first=101
            )

    box = {**BOX, "Slice": (103, 107)}
    record, tensor = made(tmp_path, numbered_on, box=box)
    assert record.status == "stored", record.findings
    assert all(np.array_equal(tensor.images[p], truth(p)) for p in range(4))


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("motion-corrected", [truth(p) + 7 for p in range(4)]),
        ("acquired", [truth(p) for p in range(4)]),
    ],
)
def test_motion_corrected_copies_are_used_where_they_are_asked_for(tmp_path, images, expected):
    config = CONFIG.model_copy(update={"phase_images": images})
    _, tensor = made(tmp_path, motion_corrected_beside, config)
    assert np.array_equal(tensor.images, expected)


@pytest.mark.parametrize("write", [named_subtractions, typed_subtractions], ids=name_of)
def test_subtractions_are_used_where_they_are_asked_for(tmp_path, write):
    config = CONFIG.model_copy(update={"phase_images": "subtraction"})
    _, tensor = made(tmp_path, write, config)
    assert np.array_equal(tensor.images, [truth(0), *(subtraction(p) for p in (1, 2, 3))])


def test_spacing_of_the_writer_is_what_the_tests_say():
    assert SPACING[2] != SPACING[0] != SPACING[1]
