"""The notebook, run as a person would, on a store and a run of a phantom."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient

from radiotrain.runs.run_folder import RunFolder
from tests.commands import call
from tests.stores import preprocess_here

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "store_and_run.ipynb"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom's store, its split, and a run of few epochs."""
    folder = tmp_path_factory.mktemp("notebook")
    phantom = ("--patients", "40", "--matrix", "64", "--slices", "24", "--effect", "3")
    call("phantom", folder / "cohort", *phantom, "--workers", "1")
    crop = ("--crop-shape", "24", "24", "12")
    preprocess_here(folder / "cohort", folder / "store", *crop)
    call("split", folder / "store", "--out", folder / "splits.json")
    values = {
        "store": str(folder / "store"),
        "split": str(folder / "splits.json"),
        "out": str(folder / "run"),
        "network": {"name": "ResNet10-narrow"},
        "train": {"epochs": 3, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
        "logging": {"tensorboard": False},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    call("train", "--config", folder / "run.yaml")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_it_runs_and_draws(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIOTRAIN_STORE", str(made / "store"))
    monkeypatch.setenv("RADIOTRAIN_RUN", str(made / "run"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(made / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # The kernel of this very environment, whatever others are installed for the user.
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] in ("python", sys.executable)
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(made)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    figures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(figures) == 4
    assert all(len(figure.data["image/png"]) > 5_000 for figure in figures)
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "40 patients of 4 × 24 × 24 × 12 voxels" in said
    assert "ResNet10-narrow on ER: finished after 3 epochs" in said
    # What the run itself recorded, by torch's own way to count.
    record = RunFolder(str(made / "run")).read_record()
    assert record is not None
    found = re.search(r"AUC ([\d.]+), (\d+) patients", said)
    assert found is not None
    assert float(found[1]) == pytest.approx(record.validation_auc_per_target["ER"], abs=1e-6)
    assert not [o for o in outputs if o.get("name") == "stderr"]


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
