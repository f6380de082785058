"""One small cohort with planted words, taken all the way by commands, once for all tests here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from tests.commands import end, end_all, start
from tests.local_ray import ray_here  # noqa: F401
from tests.security.planted import (
    FAMILY,
    SECRETS,
    Places,
    plant_in_dicom,
    plant_in_workbook,
)

NUM_PATIENTS = 24
CROP = ("--crop-shape", 24, 24, 12)
TRAINING = {
    "network": {"name": "ResNet10-narrow"},
    "train": {"epochs": 1, "batch_size": 4, "warmup_epochs": 0.5},
    "device": "cpu",
}

# Columns of the workbook whose text a person types.
TYPED = (
    "Manufacturer",
    "Manufacturer Model Name",
    "Menopause (at diagnosis)",
    "Race and Ethnicity",
)


@dataclass
class Chain:
    """The folders of each step, and everything that was written (below `out`) or said."""

    cohort: Path
    out: Path
    places: Places

    @property
    def store(self) -> Path:
        return self.out / "store"

    @property
    def run(self) -> Path:
        return self.out / "run"


@contextmanager
def secrets_planted() -> Iterator[None]:
    """Put secrets where the programs begun in the block find them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Preprocess, look, split, train, evaluate."""
    folder = tmp_path_factory.mktemp("planted")
    chain = Chain(folder / "cohort", folder / "out", Places(folder / "out"))
    chain.out.mkdir()
    write_phantom(chain.cohort, PhantomSettings(patients=NUM_PATIENTS, matrix=48, slices=16))
    _plant(chain.cohort)
    with secrets_planted():
        _run(chain)
    yield chain
    end_all()


def _run(chain: Chain) -> None:
    say = chain.places.said
    say += end(start("cohort", "check", chain.cohort, "--json", chain.out / "check.json"))
    say += end(start("preprocess", chain.cohort, chain.store, *CROP, "--workers", 1))
    say += end(start("qc", chain.store, "--out", chain.out / "qc", "--workers", 1))
    splits = chain.out / "splits.json"
    say += end(start("split", chain.store, "--out", splits, "--folds", 3))
    values = {"store": str(chain.store), "split": str(splits), "targets": ["ER"], **TRAINING}
    run = chain.out / "run.yaml"
    run.write_text(yaml.safe_dump({**values, "out": str(chain.run)}))
    say += end(start("train", "--config", run))
    words = ("evaluate", chain.run, "--out", chain.out / "report", "--purpose", "test")
    say += end(start(*words))


@pytest.fixture(scope="session")
def swept(chain: Chain) -> Chain:
    """Also a sweep of one trial, on a Ray of its own."""
    values = yaml.safe_load((chain.out / "run.yaml").read_text())
    sweep = {k: v for k, v in values.items() if k not in ("network", "out")}
    sweep |= {"networks": ["ResNet10-narrow"], "out": str(chain.out / "sweep"), "folds": [0]}
    config = chain.out / "sweep.yaml"
    config.write_text(yaml.safe_dump(sweep))
    with secrets_planted():
        chain.places.said += end(start("tune", "--config", config), timeout_s=240)
    return chain


def _plant(cohort: Path) -> None:
    """A person in every file; in three patients also where what is wrong is told."""
    collection = cohort / "Duke-Breast-Cancer-MRI"
    for file in sorted(collection.rglob("*.dcm")):
        plant_in_dicom(file)
    # A slice cut short, in a file that is named after its patient.
    for series in (collection / "Breast_MRI_002").glob("*/*"):
        file = sorted(series.iterdir())[3]
        file.with_name(f"{FAMILY}_003.dcm").write_bytes(file.read_bytes()[:-300])
        file.unlink()
    # A name where a number should be.
    for file in (collection / "Breast_MRI_003").rglob("*.dcm"):
        content = file.read_bytes()
        at = content.find(b"\x28\x00\x30\x00")
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        name = f"{FAMILY}\\{FAMILY}".encode()[:length].ljust(length)
        file.write_bytes(content[: at + 8] + name + content[at + 8 + length :])
    # A phase that is not there: its series are named in the finding.
    dynamic = sorted((collection / "Breast_MRI_004").glob("*/*"), key=lambda p: p.name)
    shutil.rmtree(dynamic[-1])
    workbook = next(cohort.glob("Clinical*.xlsx"))
    plant_in_workbook(workbook, "PR", ["Breast_MRI_005"])
    # So many that reports would count them.
    several = [f"Breast_MRI_{n:03d}" for n in range(6, 14)]
    for column in TYPED:
        plant_in_workbook(workbook, column, several)
