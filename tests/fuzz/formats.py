"""Each kind of file that is read: a whole one, how it is changed, and how the product reads it."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.sweep.config import load_sweep
from cluster.sweep.folder import SweepFolder
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.phases.table import read_phase_table
from preprocessing.storage.digests import (
    NO_LINE,
    dump_with_digest,
    line_digest,
    line_with_digest,
    text_with_digest,
)
from preprocessing.store import Store, metadata
from preprocessing.store.verify import check_metadata
from radiotrain.config.run_config import load_config, parse_config, read_yaml
from radiotrain.evaluation.predictions import read_predictions
from radiotrain.evaluation.subgroups.covariates import read_patients
from radiotrain.split.test_set_access import read_test_log
from radiotrain.verify import verify
from tests.fuzz.mutate import bytes_changed, csv_changed, values_changed, workbook_changed
from tests.intake import write_workbooks
from tests.integration.nothing_lost.damaged_results import Results, make_results, readers

Change = Callable[[bytes, random.Random], bytes]
Read = Callable[[], Any]

# Whole runs and stores, weights and workbooks are read for each.
_SLOW = (
    "verify",
    "store verify",
    "safetensors",
    "promoted predictions",
    "best.pt",
    "user: Cl",
    "user: An",
)


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Parameters
    ----------
    path
        Of a whole one, which is replaced by changed ones.
    read
        Reads it as a command does; returns values that can be compared.
    has_checksum
        Whether a change of its bytes has to be refused, or to change no value.
    weight
        How often it is tried beside the others: those that are read quickly more often.
    changes
        Makes other content that is as the product might have written it, or as a person may.
    """

    name: str
    path: Path
    read: Read
    has_checksum: bool
    changes: tuple[Change, ...] = ()

    @property
    def weight(self) -> int:
        """See above."""
        return 1 if self.name.startswith(_SLOW) else 6


def make_formats(folder: Path) -> tuple[Format, ...]:
    """Write whole files of every kind below a folder."""
    results = make_results(folder / "results")
    return (*_of_results(results), *_of_store(results), *_of_users(folder / "users", results))


def _of_results(results: Results) -> Iterator[Format]:
    for name, (path, read) in readers(results).items():
        changes: tuple[Change, ...] = ()
        if path.suffix == ".json":
            changes = (_json_signed,)
        elif path.suffix == ".jsonl":
            changes = (_lines_signed,)
        elif path.suffix == ".yaml":
            changes = (_yaml_signed,)
        yield Format(name, path, read, has_checksum=True, changes=changes)
    run, sweep = results.run, results.sweep
    for name in ("config.yaml", "run.json", "metrics.jsonl", "inputs.json", "checkpoints/best.pt"):
        yield Format(
            f"verify: {name}", run / name, _verify(run), has_checksum=False, changes=_signed(name)
        )
    for name in ("sweep.yaml", "suggested.json", "timeline.json"):
        yield Format(
            f"status: {name}",
            sweep / name,
            lambda: SweepFolder(str(sweep)).read_sweep(),
            has_checksum=False,
            changes=_signed(name),
        )
    log = Path(f"{results.split}.openings.jsonl")
    line = {"time": "t", "purpose": "p", "runs": ["a"], "split_fingerprint": "f"}
    log.write_text(json.dumps(line) + "\n")
    yield Format(
        "older access log", log, lambda: read_test_log(str(results.split)), has_checksum=False
    )


def _signed(name: str) -> tuple[Change, ...]:
    return {".json": (_json_signed,), ".jsonl": (_lines_signed,), ".yaml": (_yaml_signed,)}.get(
        Path(name).suffix, ()
    )


def _verify(place: Path) -> Read:
    return lambda: [result.problems for result in verify(str(place), lambda _: [])]


def _of_store(results: Results) -> Iterator[Format]:
    url = results.folder / "store"

    def read() -> Any:
        # What a process has checked once, it does not check again.
        metadata._open_array.cache_clear()
        store = Store.open(str(url))
        images, scale = store.read_images(2)
        voxels = images.tobytes(), scale, store.read_region(2).tobytes()
        return store.spec, store.records, store.labels.tolist(), store.fingerprint, voxels

    names = (
        "zarr.json",
        "attributes.json",
        "patients.json",
        "records/000002.json",
        "images/zarr.json",
    )
    chunk = next(path for path in (url / "images" / "c" / "2").rglob("*") if path.is_file())
    for path in (*(url / name for name in names), chunk):
        is_json = path.name in ("patients.json", "000002.json", "attributes.json")
        changes = (_json_signed,) if is_json else ()
        if path.name == "zarr.json" and path.parent == url:
            changes = (_attributes_signed,)
        name = path.relative_to(url).as_posix()
        yield Format(f"store: {name}", path, read, has_checksum=True, changes=changes)
        yield Format(
            f"store verify: {name}",
            path,
            lambda: check_metadata(str(url)).problems(),
            has_checksum=False,
            changes=changes,
        )


def _of_users(folder: Path, results: Results) -> Iterator[Format]:
    folder.mkdir()
    run, sweep = folder / "run.yaml", folder / "sweep.yaml"
    run.write_text(_without_last_line(results.run / "config.yaml"))
    sweep.write_text(_without_last_line(results.sweep / "sweep.yaml"))
    preprocess = folder / "preprocess.yaml"
    preprocess.write_text("crop_shape: [32, 32, 16]\nshrink: 2\nn4_iterations: [50, 20]\n")
    of_yaml = {
        run: lambda: load_config(str(run)),
        sweep: lambda: load_sweep(str(sweep)),
        preprocess: lambda: parse_config(PreprocessConfig, read_yaml(str(preprocess)), "settings"),
    }
    for path, read in of_yaml.items():
        yield Format(f"user: {path.name}", path, read, has_checksum=False, changes=(_yaml,))
    yield from _of_cohorts(folder)
    yield from _of_tables(folder)


def _of_cohorts(folder: Path) -> Iterator[Format]:
    duke = folder / "duke"
    ids = ("Breast_MRI_001", "Breast_MRI_002")
    for patient_id in ids:
        (duke / "Duke-Breast-Cancer-MRI" / patient_id / "series").mkdir(parents=True)
    write_workbooks(duke, ids)
    for name in ("Clinical_and_Other_Features.xlsx", "Annotation_Boxes.xlsx"):
        yield Format(
            f"user: {name}",
            duke / name,
            lambda: read_cohort(duke),
            has_checksum=False,
            changes=(workbook_changed, workbook_changed),
        )
    manifest = folder / "manifest.csv"
    manifest.write_text(
        "patient_id,phase0,phase1,mask,ER,PR,age\n"
        "A,a0.nii.gz,a1.nii.gz,am.nii.gz,1,0,44\nB,b0.nii.gz,b1.nii.gz,bm.nii.gz,0,1,\n"
    )
    for letter in "ab":
        for part in "01m":
            (folder / f"{letter}{part}.nii.gz").write_bytes(b"")
    yield Format(
        "user: manifest.csv",
        manifest,
        lambda: read_cohort(manifest),
        has_checksum=False,
        changes=(csv_changed, csv_changed),
    )


def _of_tables(folder: Path) -> Iterator[Format]:
    phases = folder / "phases.csv"
    phases.write_text("patient_id,series,phase\nA,1.2.3,0\nA,1.2.4,1\nB,1.2.5,0\nB,1.2.6,1\n")
    predictions = folder / "predictions.csv"
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["run", "patient_id", "target", "split", "fold", "label", "probability"])
    for number in range(8):
        part = "validation" if number % 2 else "test"
        writer.writerow(["net", f"P{number}", "ER", part, 0 if number % 2 else "", number // 2 % 2, 0.1 * number])  # fmt: skip
    predictions.write_text(buffer.getvalue())
    patients = folder / "patients.csv"
    patients.write_text("patient_id,age,scanner\nP0,44,GE\nP2,51,Siemens\nP4,,GE\n")
    tables: dict[Path, Read] = {
        phases: lambda: read_phase_table(str(phases)),
        predictions: lambda: read_predictions(predictions).to_dict(),
        patients: lambda: read_patients(patients),
    }
    for path, read in tables.items():
        yield Format(
            f"user: {path.name}",
            path,
            read,
            has_checksum=False,
            changes=(csv_changed, csv_changed),
        )


def _without_last_line(path: Path) -> str:
    return path.read_text("utf-8").rsplit("\n", 2)[0] + "\n"


def _json_signed(content: bytes, rng: random.Random) -> bytes:
    values = json.loads(content)
    values.pop("sha256", None)
    changed = values_changed(values, rng)
    if not isinstance(changed, dict):
        return json.dumps(changed).encode()
    return dump_with_digest(changed).encode()


def _attributes_signed(content: bytes, rng: random.Random) -> bytes:
    """A store's own attributes, in Zarr's file."""
    document = json.loads(content)
    attributes = document["attributes"]
    attributes.pop("sha256")
    changed = values_changed(attributes, rng)
    if isinstance(changed, dict):
        changed = json.loads(dump_with_digest(changed))
    return json.dumps(document | {"attributes": changed}).encode()


def _lines_signed(content: bytes, rng: random.Random) -> bytes:
    found = [json.loads(line) for line in content.splitlines()]
    at, previous, text = rng.randrange(len(found)), NO_LINE, ""
    for number, values in enumerate(found):
        values.pop("sha256", None)
        one = values_changed(values, rng) if number == at else values
        if not isinstance(one, dict):
            one = {"a": one}
        line = line_with_digest(one, previous)
        previous, text = line_digest(line), text + line
    return text.encode()


def _yaml_signed(content: bytes, rng: random.Random) -> bytes:
    return text_with_digest(_yaml(content, rng).decode("utf-8", errors="replace")).encode()


def _yaml(content: bytes, rng: random.Random) -> bytes:
    """Change the values that a text holds, or the text itself."""
    if rng.random() < 0.5:
        values = yaml.safe_load(content)
        return yaml.safe_dump(values_changed(values, rng), sort_keys=False).encode()
    return bytes_changed(content, rng)
