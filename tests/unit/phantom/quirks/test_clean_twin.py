"""What a quirk does not concern is as in the clean twin."""

import json
import shutil

import pytest

from preprocessing.phantom.quirks import QUIRKS
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import COLLECTION, write_phantom
from tests.unit.phantom.quirks.twins import NAMES, SMALL, TIMES, differing

pytestmark = pytest.mark.slow

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
    "phase-shifted": {"ImagePositionPatient", "PixelData"},
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


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("truncated-file", "no-images")])
def test_what_a_quirk_does_not_concern_is_as_in_the_clean_twin(both, name):
    patient, twin = (p.files for p in both(name))
    # A file of several frames has the first one's UID, and nothing else like it.
    shared = [u for u in patient.keys() & twin.keys() if "NumberOfFrames" not in patient[u]]
    assert shared
    found = set().union(*(differing(patient[uid], twin[uid]) for uid in shared))
    assert found <= CONCERNS.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_labels_and_tumour_are_those_of_the_clean_twin(both, name):
    patient, twin = both(name)
    assert patient.truth["labels"] == twin.truth["labels"]
    assert patient.truth["kinetics"] == twin.truth["kinetics"]
    assert patient.tumour.sum() == twin.tumour.sum() or name == "oblique"


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
