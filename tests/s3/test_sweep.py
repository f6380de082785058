"""A sweep from a bucket into a bucket ends as one between folders, interrupted or not."""

from __future__ import annotations

import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.sweep.config import SweepConfig
from cluster.sweep.folder import SweepFolder, TrialState, read_states
from preprocessing.storage import files
from radiotrain.config.run_config import dump_config, parse_config
from radiotrain.split.split import make_split, save_split
from tests.commands import start
from tests.ray_copies import COMMAND
from tests.unit.training.synthetic import write_store

# Ray's sockets lie there, whose names must be short.
SHORT = Path(tempfile.gettempdir())

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def sweep_at(place: str) -> SweepConfig:
    values = {
        "store": files.join(place, "store"),
        "split": files.join(place, "splits.json"),
        "out": files.join(place, "sweep"),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "search": {"train.lr": {"loguniform": [1e-3, 1e-2]}},
        "num_samples": 2,
        "train": {"epochs": 6, "batch_size": 8, "warmup_epochs": 1},
        "halving": {"grace_epochs": 2, "reduction_factor": 2},
        "device": "cpu",
    }
    return parse_config(SweepConfig, values, "test")


def states(sweep: SweepConfig) -> tuple[TrialState, ...]:
    return read_states(SweepFolder(sweep.out).read_plans(sweep))


def facts(sweep: SweepConfig) -> dict[str, Any]:
    return {
        state.plan.name: (
            [record.status for record in state.records],
            [(m.validation_auc, m.train_loss) for h in state.histories for m in h],
        )
        for state in states(sweep)
    }


def test_in_a_bucket_and_interrupted_it_ends_as_on_folders(
    copied_workers: None, tmp_path: Path, url: str, bucket: Any
) -> None:
    there = {"TMPDIR": str(SHORT)}
    tune = partial(start, "tune", "--config", program=("-c", COMMAND), environment=there)
    store = write_store(str(tmp_path / "store"))
    save_split(make_split(store, seed=3, num_folds=4), str(tmp_path / "splits.json"))
    bucket.put(f"{tmp_path}/store/", f"{url.removeprefix('s3://')}/store/", recursive=True)
    bucket.put(f"{tmp_path}/splits.json", f"{url.removeprefix('s3://')}/splits.json")
    here, there = sweep_at(str(tmp_path)), sweep_at(url)
    for name, sweep in (("here", here), ("there", there)):
        (tmp_path / f"{name}.yaml").write_text(dump_config(sweep))
    local = tune(tmp_path / "here.yaml")
    said = local.communicate(timeout=300)
    assert local.returncode == 0, said

    first = tune(tmp_path / "there.yaml")
    end = time.monotonic() + 200
    while sum(state.num_epochs for state in states(there)) < 2:
        assert time.monotonic() < end
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    assert first.communicate(timeout=100)
    assert first.returncode == 130
    second = tune(tmp_path / "there.yaml")
    said = second.communicate(timeout=300)
    assert second.returncode == 0, said

    assert facts(there) == facts(here)
    assert sorted(statuses[-1] for statuses, _ in facts(there).values()) == ["finished", "stopped"]
    assert len(SweepFolder(there.out).read_timeline()) >= 2
