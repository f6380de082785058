"""What TCIA really ships; skipped where there is none of it."""

from __future__ import annotations

import json
import sys

import numpy as np
import pydicom
import pytest

from preprocessing.cohort.cohort import Box, DicomSeries
from preprocessing.images.dicom.series import open_series
from preprocessing.store import Store
from radiotrain.cli import main

pytestmark = pytest.mark.slow


def run(monkeypatch, *words, status=0):
    monkeypatch.setattr(sys, "argv", ["radiotrain", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code or 0) == status


def test_the_real_workbooks_are_read_whole(real_data, tmp_path, monkeypatch):
    """922 patients, ER 686, PR 598, HER2 163 positive (Saha et al. 2018), 922 boxes, no images."""
    words = ["cohort", "check", real_data / "duke_tables", "--json", tmp_path / "f.json"]
    run(monkeypatch, *words, status=1)
    patients = json.loads((tmp_path / "f.json").read_text())["patients"]
    assert len(patients) == 922
    positive = {t: sum(p["labels"][t] == 1 for p in patients) for t in ("ER", "PR", "HER2")}
    assert positive == {"ER": 686, "PR": 598, "HER2": 163}
    assert all(p["labels"][t] in (0, 1) for p in patients for t in positive)
    assert sum(p["box"] is not None for p in patients) == 922
    assert not any(p["usable"] for p in patients)
    assert all([f["code"] for f in p["findings"]] == ["no-images"] for p in patients)


def test_real_slices_are_read_as_pydicom_reads_them(real_data):
    files = tuple(sorted((real_data / "duke_dicom").glob("*.dcm")))
    volume = open_series(DicomSeries(files, "ax t1"))
    assert volume.grid.spacing_mm[:2] == (0.5859, 0.5859)
    assert volume.grid.spacing_mm[2] > 0
    voxels = volume.read(Box((0, 0, 0), volume.grid.shape))
    for i, header in enumerate(volume.headers):
        np.testing.assert_array_equal(voxels[:, :, i], pydicom.dcmread(header.path).pixel_array)


def test_every_real_crop_is_in_the_store_or_named(real_data, tmp_path, monkeypatch, capsys):
    manifest = real_data / "duke_crops" / "manifest.csv"
    run(monkeypatch, "preprocess", manifest, tmp_path / "s", "--crop-shape", 112, 112, 8)
    assert "134 patients stored, 0 excluded" in capsys.readouterr().out
    store = Store.open(str(tmp_path / "s"))
    assert (store.labels == 1).sum(axis=0).tolist() == [88, 78, 22]
    assert store.image_shape == (3, 112, 112, 8)
    # Contrast agent reaches tumours: the early phase is brighter than the first inside the box.
    rises = []
    for i in range(0, 134, 8):
        voxels, _ = store.read_images(i)
        tumour = (store.read_region(i) & 1) > 0
        rises.append(voxels[1][tumour].mean() > voxels[0][tumour].mean())
    assert np.mean(rises) > 0.9
