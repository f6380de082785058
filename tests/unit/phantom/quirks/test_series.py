"""What quirks of series do: names, folders, studies, times, phases that lack."""

import numpy as np
import openpyxl
import pytest

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import COLLECTION, write_phantom
from tests.unit.phantom.quirks.twins import SLICES, SMALL, TIMES, Patient, differing

pytestmark = pytest.mark.slow

MAPPING = "Breast-Cancer-MRI-filepath_filename-mapping.xlsx"


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
