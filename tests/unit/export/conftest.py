"""Trained once for all tests of exports."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from preprocessing.store import Store
from radiotrain.split.split import Split, load_split, make_split, save_split
from tests.unit.export.exporting import export
from tests.unit.export.trained import train_ensemble, train_run, write_full_store


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="session")
def store(folder: Path) -> Store:
    return write_full_store(str(folder / "store"))


@pytest.fixture(scope="session")
def split_url(store: Store, folder: Path) -> str:
    url = str(folder / "splits.json")
    save_split(make_split(store, seed=3, num_folds=4), url)
    return url


@pytest.fixture(scope="session")
def split(store: Store, split_url: str) -> Split:
    return load_split(split_url, store)


@pytest.fixture(scope="session")
def models(store: Store, split_url: str, folder: Path) -> dict[str, str]:
    """Folders of trained models, by what they are."""
    runs = folder / "runs"
    covariates = {"name": "ResNet10-narrow", "covariates": ["age_years", "manufacturer"]}
    covariates["allow_covariates"] = ["manufacturer"]
    train_run(store, split_url, runs / "single")
    train_run(store, split_url, runs / "several", targets=["ER", "PR", "HER2"])
    slower = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1}
    train_run(store, split_url, runs / "nobody", fold=None, train=slower)
    train_run(store, split_url, runs / "covariates", network=covariates)
    train_ensemble(store, split_url, runs / "ensemble", targets=["ER", "PR"])
    train_ensemble(store, split_url, runs / "ensemble-raw", calibrated=False, targets=["ER", "PR"])
    train_ensemble(store, split_url, runs / "ensemble-covariates", network=covariates)
    return {path.name: str(path) for path in runs.iterdir()}


@pytest.fixture(scope="session")
def single_export(models: dict[str, str], folder: Path) -> Path:
    export(models["single"], "safetensors", folder / "single-export")
    return folder / "single-export"


@pytest.fixture
def exported(single_export: Path, tmp_path: Path) -> Path:
    """A copy of one model's export, to be spoilt."""
    return Path(shutil.copytree(single_export, tmp_path / "exported"))
