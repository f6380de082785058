"""Built once in each process that runs tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.folder import SweepFolder
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from radiotrain.config.run_config import RunConfig, dump_config, parse_config
from radiotrain.training.loop import train
from tests.commands import call
from tests.integration.predict.world import FILES, NewPatient, World, newcomer
from tests.security.planted import plant_in_dicom
from tests.stores import preprocess_here


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(tmp_path_factory.mktemp("predict"))
    settings = PhantomSettings(patients=24, matrix=64, slices=24, effects={"ER": 4})
    write_phantom(found.cohort, settings)
    preprocess_here(found.cohort, found.folder / "store", "--crop-shape", 24, 24, 12)
    call("split", found.folder / "store", "--out", found.folder / "splits.json", "--folds", 2)
    for model, targets in zip(found.models, (["ER"], ["PR", "HER2"]), strict=True):
        values = {
            "store": str(found.folder / "store"),
            "split": str(found.folder / "splits.json"),
            "out": str(model),
            "targets": targets,
            "network": {"name": "ResNet10-narrow"},
            "train": {"epochs": 3, "batch_size": 4, "lr": 3e-3, "warmup_epochs": 0},
            "device": "cpu",
            "logging": {"tensorboard": False},
        }
        config = parse_config(RunConfig, values, "test")
        (found.folder / f"{model.name}.yaml").write_text(dump_config(config))
        call("train", "--config", found.folder / f"{model.name}.yaml")
    return found


@pytest.fixture(scope="session")
def newcomers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with another seed than the cohort, as a download."""
    folder = tmp_path_factory.mktemp("newcomers") / "cohort"
    write_phantom(folder, PhantomSettings(patients=3, seed=7, matrix=64, slices=24))
    return folder


@pytest.fixture(scope="session")
def patient(newcomers: Path, tmp_path_factory: pytest.TempPathFactory) -> NewPatient:
    """One whose files say who they are, wherever files have room for that."""
    found = newcomer(newcomers)
    folder = tmp_path_factory.mktemp("named") / "person"
    shutil.copytree(found.folder, folder)
    for file in folder.rglob("*.dcm"):
        plant_in_dicom(file)
    return NewPatient(folder, found.box)


@pytest.fixture(scope="session")
def predicted(world: World, patient: NewPatient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predicted") / "out"
    said, _ = call("predict", *world.models, patient.folder, *patient.words, "--out", out)
    assert "Research use only" in said
    assert {p.name for p in out.iterdir()} == FILES
    (out.parent / "said.txt").write_text(said)
    return out


@pytest.fixture(scope="session")
def ensemble(world: World) -> Path:
    """A model promoted from a sweep of one trial on two folds."""
    values = {
        "store": str(world.folder / "store"),
        "split": str(world.folder / "splits.json"),
        "out": str(world.folder / "sweep"),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "folds": [0, 1],
        "train": {"epochs": 10, "batch_size": 4, "lr": 3e-3, "warmup_epochs": 0},
        "halving": {"enabled": False},
        "device": "cpu",
        "logging": {"tensorboard": False},
    }
    sweep = parse_config(SweepConfig, values, "test")
    SweepFolder(sweep.out).write_sweep(sweep)
    for plan in plan_trials(sweep):
        for run in plan.runs:
            train(run, reporter=lambda _: None)
    call("promote", world.folder / "sweep")
    return world.folder / "sweep" / "promoted" / "ER"
