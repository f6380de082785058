"""Several patients at once: none ends the others, and nothing that was done is lost."""

from __future__ import annotations

import csv
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from preprocessing.cohort.cohort import Box
from tests.commands import call, kill_session, start
from tests.integration.predict.world import (
    FILES,
    World,
    newcomer,
    read_json,
    volumes_of,
    write_nifti,
)
from tests.processes import wait_for


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_bad_patient_ends_no_batch_and_is_named(
    world: World, newcomers: Path, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(newcomers, cohort)
    spoilt = newcomer(cohort, 1).folder
    file = max(spoilt.rglob("*.dcm"))
    file.write_bytes(file.read_bytes()[:-200])
    for path in [p for p in spoilt.rglob("*.dcm") if p != file]:
        path.write_bytes(path.read_bytes()[:-200])
    out = tmp_path / "out"
    said, _ = call("predict", world.models[0], cohort, "--out", out)
    assert "2 patients predicted (0 before), 1 not" in said
    assert [(r["number"], r["finding"]) for r in table_of(out)] == [
        ("0001", ""), ("0002", "dicom-damaged"), ("0003", ""),
    ]  # fmt: skip
    assert {p.name for p in out.iterdir()} == {"0001", "0003", "key.csv", "predictions.csv"}
    assert "0002,Breast_MRI_002" in (out / "key.csv").read_text()
    # What tells who is who is for its owner alone, also where its folder is opened later.
    for path, mode in (
        (out, 0o700),
        (out / "key.csv", 0o600),
        (out / "0001" / "report-sr.dcm", 0o600),
    ):
        assert path.stat().st_mode & 0o777 == mode
    assert "Breast_MRI" not in (out / "predictions.csv").read_text()
    # Mended, only that one is done.
    shutil.rmtree(spoilt)
    shutil.copytree(newcomer(newcomers, 1).folder, spoilt)
    said, _ = call("predict", world.models[0], cohort, "--out", out)
    assert "3 patients predicted (2 before), 0 not" in said
    assert all(r["finding"] == "" for r in table_of(out))


def test_a_batch_says_what_one_by_one_says(world: World, newcomers: Path, tmp_path: Path) -> None:
    folders = tmp_path / "patients"
    rows = ["patient_id,box_row_start,box_row_stop,box_col_start,box_col_stop,box_slice_start,box_slice_stop"]  # fmt: skip
    for n in range(3):
        one = newcomer(newcomers, n)
        shutil.copytree(one.folder, folders / f"p{n}")
        rows.append(f"p{n}," + ",".join(one.words[1:]))
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    words = ["--batch", "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "out"]
    call("predict", world.models[0], folders, *words)
    for n, row in enumerate(table_of(tmp_path / "out")):
        one = newcomer(newcomers, n)
        alone = tmp_path / f"alone{n}"
        call("predict", world.models[0], one.folder, *one.words, "--out", alone)
        (target,) = read_json(alone)["targets"]
        assert float(row["probability"]) == pytest.approx(target["probability"], abs=1e-6)
        assert row["call"] == target["call"]
        assert read_json(tmp_path / "out" / row["number"])["targets"] == [target]


def test_a_manifest_without_labels_is_enough(world: World, newcomers: Path, tmp_path: Path) -> None:
    one = newcomer(newcomers, 2)
    volumes = volumes_of(one)
    box = volumes[0].box_to_positions(one.box)
    values: dict[str, Any] = {"patient_id": "A"}
    for n, volume in enumerate(volumes[:4]):
        voxels = volume.read(Box((0, 0, 0), volume.grid.shape))
        write_nifti(tmp_path / f"a{n}.nii.gz", voxels, volume)
        values[f"phase_{n}"] = f"a{n}.nii.gz"
    for axis, first, last in zip(("row", "col", "slice"), box.start, box.stop, strict=True):
        values |= {f"box_{axis}_start": first, f"box_{axis}_stop": last}
    pd.DataFrame([values]).to_csv(tmp_path / "manifest.csv", index=False)
    call("predict", world.models[0], tmp_path / "manifest.csv", "--out", tmp_path / "out")
    (row,) = table_of(tmp_path / "out")
    assert row["finding"] == ""
    assert {p.name for p in (tmp_path / "out" / "0001").iterdir()} == FILES - {"report-sr.dcm"}
    # The same patient, in a table as others keep it.
    values["ID"] = values.pop("patient_id")
    (tmp_path / "manifest.csv").unlink()
    pd.DataFrame([values]).to_csv(tmp_path / "table.csv", index=False, sep=";")
    words = (tmp_path / "table.csv", "--column", "patient_id=ID", "--out", tmp_path / "out")
    said, _ = call("predict", world.models[0], *words)
    assert "1 patients predicted (1 before), 0 not" in said


@pytest.mark.slow
def test_what_is_killed_loses_nothing_that_was_done(
    world: World, newcomers: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("predict", *world.models, newcomers, "--draws", 40, "--out", out)
    process = start(*words)
    wait_for(lambda: (out / "0001" / "prediction.json").exists(), "the first patient")
    time.sleep(0.05)
    kill_session(process)
    done = (out / "0001" / "prediction.json").read_bytes()
    said, _ = call(*words)
    assert re.search(r"3 patients predicted \([12] before\), 0 not", said)
    assert (out / "0001" / "prediction.json").read_bytes() == done
    assert len(table_of(out)) == 9
