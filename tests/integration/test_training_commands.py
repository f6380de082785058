"""The commands of training, as a user types them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from preprocessing.store import Store
from radiotrain.config.run_config import dump_config
from radiotrain.networks.registry import NETWORKS
from tests.commands import call, end, start, the_sentence
from tests.unit.training.synthetic import run_config, write_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, its split and a configuration."""
    folder = tmp_path_factory.mktemp("training-commands")
    store = write_store(str(folder / "store"))
    out, _ = end(start("split", store.url, "--out", folder / "splits.json", "--seed", 1))
    assert "40 patients, the test set is sealed" in out
    config = run_config(store, str(folder / "splits.json"), folder / "run")
    (folder / "run.yaml").write_text(dump_config(config))
    return folder


def train_words(folder: Path, *changes: str) -> list[str]:
    words = ["train", "--config", str(folder / "run.yaml")]
    return [*words, *(word for change in changes for word in ("--set", change))]


@pytest.mark.slow
def test_killed_run_resumes_to_the_undisturbed_weights(folder: Path) -> None:
    long = ["train.epochs=12", "train.lr=1e-3"]
    out, _ = end(start(*train_words(folder, *long, f"out={folder}/undisturbed")), timeout_s=200)
    assert "finished: epoch" in out
    words = train_words(folder, *long, f"out={folder}/killed")
    process = start(*words)
    metrics = folder / "killed" / "metrics.jsonl"
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 2):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(metrics.read_text().splitlines()) < 12
    _, error = end(start(*words), timeout_s=200)
    assert "resuming after epoch" in error
    runs = [folder / name for name in ("undisturbed", "killed")]
    newest = [max((run / "checkpoints").glob("epoch-0011-*.pt")) for run in runs]
    first, second = (torch.load(path, weights_only=True)["network"] for path in newest)
    assert all(torch.equal(first[name], second[name]) for name in first)
    tables = [pd.read_parquet(run / "predictions.parquet") for run in runs]
    assert tables[0].drop(columns="run").equals(tables[1].drop(columns="run"))
    record = json.loads((folder / "killed" / "run.json").read_text())
    assert record["status"] == "finished"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--config", "none.yaml"], "no configuration at none.yaml"),
        (["--set", "train.lrr=1"], "unknown key 'train.lrr' (did you mean 'train.lr'?)"),
        (["--set", "network.name=ResNet19"], "unknown network 'ResNet19' (did you mean 'ResNet1"),
        (["--set", "store=nowhere"], "no store at"),
        (["--set", "split=nowhere"], "no split at"),
        (["--set", "targets=HER3"], "did you mean 'HER2'"),
        (["--workers", "2"], "add --backend ray"),
        (["--debug", "--backend", "ray"], "leave out --backend ray"),
        (["split", "nowhere"], "no store at"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(
    folder: Path, words: list[str], message: str
) -> None:
    full = words if words[0] in ("train", "split") else [*train_words(folder), *words]
    _, error = call(*full, status=2)
    assert message in the_sentence(error)
    # Beside it, only what was read.
    others = [x for x in error.splitlines() if not x.startswith("error: ")]
    assert all(x.startswith("read ") for x in others)
    assert not (folder / "run").exists()


def test_split_of_another_store_is_refused(folder: Path) -> None:
    other = write_store(str(folder / "other-store"), seed=1)
    _, error = call(*train_words(folder, f"store={other.url}"), status=2)
    assert "make a new split" in the_sentence(error)


def test_debug_says_whether_a_batch_was_learned(folder: Path) -> None:
    _, said = call(*train_words(folder), "--debug")
    assert "was overfitted" in said
    assert "(Linear): (8, 1)" in said


@pytest.mark.slow
def test_models_lists_every_network() -> None:
    said, _ = call("models")
    assert all(name in said for name in NETWORKS)


def test_training_imports_no_imaging_library_and_no_ray(folder: Path) -> None:
    program = (
        "import sys, radiotrain.training.loop, radiotrain.runs.predict_run, radiotrain.training.debug;"
        "print([m for m in ('ray','SimpleITK','pydicom','nibabel','dask') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


LEAN = """
import runpy, sys
from importlib.machinery import PathFinder

absent = {
    "ray", "dask", "distributed", "SimpleITK", "pydicom", "nibabel", "pandas", "pyarrow", "sklearn",
    "scipy", "matplotlib", "tensorboard", "s3fs", "upath", "typer", "rich",
}
find_spec = PathFinder.find_spec

def find(name, path=None, target=None):
    return None if name.partition(".")[0] in absent else find_spec(name, path, target)

PathFinder.find_spec = find
words = "--networks ResNet10-narrow --crop-shape 16 16 8 --patients 20 --batch-size 4"
sys.argv = ["training", *words.split(), "--seconds", "0.1", "--without-monai", "--device", "cpu"]
runpy.run_module("benchmarks.training", run_name="__main__")
"""


@pytest.mark.slow
def test_speed_is_measured_on_a_machine_with_little_more_than_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = next(li for li in done.stdout.splitlines() if li.startswith("ResNet10-narrow"))
    loop, fixed, ratio = (float(word) for word in line.split()[1:4])
    assert min(loop, fixed) > 0
    assert abs(ratio - loop / fixed) < 0.05 * ratio


def test_saved_configuration_is_plain_yaml(folder: Path) -> None:
    values = yaml.safe_load((folder / "run.yaml").read_text())
    assert values["train"]["batch_size"] == 8
    assert Store.open(values["store"]).targets == ("ER", "PR", "HER2")
