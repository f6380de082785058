"""A study that came twice, under two ids, as it happens in real downloads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from preprocessing.common.progress import progress
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.store import Store
from radiotrain.evaluation.leak_checks import check_store
from radiotrain.split.split import load_split
from radiotrain.split.test_set_access import open_test_set
from tests.commands import call
from tests.stores import preprocess_here

ORIGINAL, COPY = "Breast_MRI_002", "Breast_MRI_011"


def test_one_study_under_two_ids_is_found_whatever_its_box(tmp_path: Path) -> None:
    cohort, store_url, split_url = (tmp_path / name for name in ("cohort", "store", "split.json"))
    write_phantom(cohort, PhantomSettings(patients=24, matrix=64, slices=24))
    patients = cohort / "Duke-Breast-Cancer-MRI"
    shutil.rmtree(patients / COPY)
    # The images and their UIDs; the box of the table stays that of the other patient.
    shutil.copytree(patients / ORIGINAL, patients / COPY)
    preprocess_here(cohort, store_url, "--crop-shape", 24, 24, 12)
    call("split", store_url, "--out", split_url)
    store = Store.open(str(store_url))
    boxes = json.loads((cohort / "truth.json").read_text())["patients"]
    assert boxes[ORIGINAL]["box"] != boxes[COPY]["box"]
    split = load_split(str(split_url), store)
    access = open_test_set(str(split_url), "a test", [])
    sides, volumes, _ = check_store(store, split, access, progress)
    assert sides.outcome == "clear"
    (finding,) = volumes.findings
    assert sorted(volumes.patients[0]) == sorted([ORIGINAL, COPY])
    one_of_each = (ORIGINAL in split.test_ids) != (COPY in split.test_ids)
    assert finding.startswith("Leak: ") == one_of_each
