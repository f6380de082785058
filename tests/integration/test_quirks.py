"""What preprocessing makes of each thing that goes wrong in real downloads.

The clean twin is the same cohort without quirks: what is used or repaired must give its tensor.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.phantom.quirks import QUIRKS, parse_quirks
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.truth import read_mask
from preprocessing.phantom.write import COLLECTION, write_phantom
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.store import REGION_PADDING, REGION_TUMOUR
from radiotrain.cli import main

MATRIX, SLICES, CROP = 64, 24, (24, 24, 12)
CONFIG = PreprocessConfig(crop_shape=CROP, bias_engine="none")
NAMES = [quirk.name for quirk in QUIRKS]
DOCS = Path(__file__).parents[2] / "docs" / "quirks.md"

# Of these the files were acquired elsewhere or otherwise than the twin's: pydicom says what is
# at the true tumour.
ACQUIRED_OTHERWISE = ("oblique", "box-at-edge", "box-beyond-edge")

quirks = pytest.mark.parametrize("quirk", QUIRKS, ids=NAMES)


def make(folder, names):
    settings = PhantomSettings(
        patients=len(QUIRKS),
        seed=7,
        matrix=MATRIX,
        slices=SLICES,
        noise=0.01,
        motion=0.1,
        quirks=names,
    )
    write_phantom(folder, settings)
    return read_cohort(folder)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    return make(tmp_path_factory.mktemp("spoilt"), parse_quirks(["all"]))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return make(tmp_path_factory.mktemp("clean"), ())


def process(cohort, quirk):
    index = NAMES.index(quirk.name)
    patient = cohort.patients[index]
    assert patient.patient_id == f"Breast_MRI_{index + 1:03d}"
    return process_patient(patient, index, CONFIG)


@quirks
def test_outcome_and_finding(spoilt, clean, quirk):
    record, tensor = process(spoilt, quirk)
    twin, _ = process(clean, quirk)
    assert twin.findings == ()
    codes = [f.code for f in record.findings]
    excluding = {f.code for f in record.findings if f.excludes}
    if quirk.outcome == "excluded":
        assert (record.status, tensor) == ("excluded", None)
        assert excluding == {quirk.finding}
    else:
        assert record.status == "stored", codes
        assert not excluding
        assert set(codes) >= {quirk.finding} if quirk.finding else codes == []


@quirks
def test_findings_are_sentences_without_uids_or_folders(spoilt, quirk):
    record, _ = process(spoilt, quirk)
    folder = spoilt.root / COLLECTION / record.patient_id
    names = {p.name for p in folder.rglob("*") if p.is_dir()}
    for finding in record.findings:
        assert not re.search(r"\d+(\.\d+){4,}", finding.message)
        assert str(spoilt.root) not in finding.message
        assert not [name for name in names if name in finding.message]
        assert "\n" not in finding.message
        assert len(finding.message) > 15


@pytest.mark.parametrize(
    "quirk",
    [q for q in QUIRKS if q.outcome != "excluded" and q.name not in ACQUIRED_OTHERWISE],
    ids=lambda q: q.name,
)
def test_tensor_is_that_of_the_clean_twin(spoilt, clean, quirk):
    record, tensor = process(spoilt, quirk)
    expected, twin = process(clean, quirk)
    assert tensor is not None, record.findings
    np.testing.assert_array_equal(tensor.images, twin.images)
    assert record.spacing_mm == pytest.approx(expected.spacing_mm, rel=1e-3)
    # The files of the one have the same time in all phases: nothing is known.
    unknown = (None,) * CONFIG.num_phases
    known = quirk.name != "mapping-workbook"
    assert record.phase_times_s == (expected.phase_times_s if known else unknown)
    if quirk.name != "box-larger-than-crop":
        assert record.box_in_crop == expected.box_in_crop
        np.testing.assert_array_equal(tensor.region, twin.region)


@pytest.mark.parametrize("name", ACQUIRED_OTHERWISE)
def test_tensor_holds_the_voxels_of_the_true_tumour(spoilt, name):
    record, tensor = process(spoilt, QUIRKS[NAMES.index(name)])
    assert tensor is not None, record.findings
    expected = voxels_of_tumour(spoilt.root, record.patient_id)
    start, stop = record.box_in_crop
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    np.testing.assert_array_equal(tensor.images[(slice(None), *inside)], expected)
    marked = np.zeros(CROP, dtype=bool)
    marked[inside] = True
    np.testing.assert_array_equal((tensor.region & REGION_TUMOUR) > 0, marked)
    assert not (tensor.region & REGION_PADDING).any()
    touched = [a == 0 or b == size for a, b, size in zip(start, stop, CROP, strict=True)]
    edge = {"oblique": None, "box-at-edge": 2, "box-beyond-edge": 0}[name]
    assert [axis for axis in range(3) if touched[axis]] == ([] if edge is None else [edge])


def voxels_of_tumour(root, patient_id):
    """(P, R, C, S) of the true tumour's smallest box, turned to back, left, head."""
    with np.load(root / "truth" / f"{patient_id}.npz") as arrays:
        mask = read_mask(arrays, (SLICES, MATRIX, MATRIX))
    box = tuple(slice(a.min(), a.max() + 1) for a in np.nonzero(mask))
    phases: dict[str, list[pydicom.Dataset]] = {}
    for path in (root / COLLECTION / patient_id).rglob("*.dcm"):
        data = pydicom.dcmread(path)
        if data.MRAcquisitionType == "3D":
            phases.setdefault(data.AcquisitionTime, []).append(data)
    turned = []
    for time in sorted(phases)[: CONFIG.num_phases]:
        slices = sorted(phases[time], key=lambda d: d.InstanceNumber)
        voxels = np.stack([d.pixel_array for d in slices])[box]
        to_left, _, _, _, to_back, _ = slices[0].ImageOrientationPatient
        to_head = slices[-1].ImagePositionPatient[2] - slices[0].ImagePositionPatient[2]
        flips = [i for i, d in enumerate((to_head, to_back, to_left)) if d < 0]
        turned.append(np.moveaxis(np.flip(voxels, flips), 0, 2))
    return np.stack(turned)


def test_codes_of_a_workbook_without_its_code_book_are_not_taken_for_values(spoilt, clean):
    flat = QUIRKS[NAMES.index("flat-workbook")]
    (record, _), (expected, _) = process(spoilt, flat), process(clean, flat)
    for name in ("manufacturer", "field_strength_t"):
        assert record.covariates[name] == expected.covariates[name]


def test_a_mapping_workbook_of_all_patients_leaves_the_others_as_they_are(tmp_path):
    sizes = {"patients": 3, "seed": 7, "matrix": MATRIX, "slices": SLICES}
    write_phantom(tmp_path / "told", PhantomSettings(**sizes, quirks=("mapping-workbook",)))
    write_phantom(tmp_path / "plain", PhantomSettings(**sizes))
    told, plain = (read_cohort(tmp_path / name) for name in ("told", "plain"))
    for i, (one, other) in enumerate(zip(told.patients, plain.patients, strict=True)):
        record, tensor = process_patient(one, i, CONFIG)
        _, expected = process_patient(other, i, CONFIG)
        assert tensor is not None, record.findings
        np.testing.assert_array_equal(tensor.images, expected.images)
        assert record.findings == ()


def test_check_reports_every_patient(spoilt, tmp_path, monkeypatch, capsys):
    report = tmp_path / "check.json"
    words = ["radiotrain", "cohort", "check", str(spoilt.root), "--json", str(report)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    entries = json.loads(report.read_text())["patients"]
    lines = capsys.readouterr().out.splitlines()
    assert len(entries) == len(QUIRKS)
    for quirk, entry, line in zip(QUIRKS, entries, lines, strict=False):
        assert line.startswith(entry["patient_id"])
        assert entry["usable"] == (quirk.outcome != "excluded"), (quirk.name, entry["findings"])
        # No box is larger than the command's usual crop.
        if quirk.finding and quirk.name != "box-larger-than-crop":
            assert f"[{quirk.finding}]" in line


def test_docs_list_exactly_the_quirks():
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if "--quirk" in line]
    table = [row for row in rows if row.startswith("|")]
    assert table == [
        f"| {q.description} | {q.outcome} | {f'`{q.finding}`' if q.finding else '–'}"
        f" | `radiotrain phantom OUT --quirk {q.name}` |"
        for q in QUIRKS
    ]


def test_what_else_is_decided_is_tested_where_the_docs_say():
    root = DOCS.parents[1]
    code = "\n".join(p.read_text("utf-8") for p in (root / "preprocessing").rglob("*.py"))
    section = DOCS.read_text("utf-8").split("## What else is decided")[1]
    rows = [line for line in section.splitlines() if re.match(r"\| (?!What is wrong)", line)]
    assert len(rows) > 100
    for row in rows:
        _, _, _, findings, tests, _ = re.split(r"(?<!\\)\|", row)
        codes = re.findall(r"`(.+?)`", findings)
        assert [c for c in codes if f'"{c}"' not in code] == [], row
        file = ""
        for named in re.findall(r"`(.+?)`", tests):
            *files, name = named.split("::")
            file = files[0] if files else file
            path = root / (file if "/" in file else f"tests/unit/preprocessing/{file}")
            assert f"def {name}(" in path.read_text("utf-8"), row
