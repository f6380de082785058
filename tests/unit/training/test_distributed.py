"""The same global batches over 1, 2 and 3 gloo processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing

from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.data.order import epoch_order, global_batches
from radiotrain.distributed import Worker
from radiotrain.runs import RunFolder
from radiotrain.split import load_split
from radiotrain.training.loop import train
from radiotrain.training.training import Training
from tests.unit.training.synthetic import run_config

TRAIN = {"epochs": 3, "batch_size": 9, "warmup_epochs": 1, "gradient_clip": None}


def measure(config: RunConfig, worker: Worker) -> dict[str, Any]:
    """Take one step and validate. Batch norm's own dependence on the shares is left out."""
    store = Store.open(config.store)
    training = Training(config, worker, store, load_split(config.split, store))
    training.wrapped.eval()
    logits = training.validate()
    batch = global_batches(epoch_order(0, 0, len(training.patients)), config.train.batch_size)[0]
    num_known = int((training.patients.labels[batch] >= 0).sum())
    loss = training.take_step(0, 0, batch, num_known)
    gradients = {n: p.grad for n, p in training.network.named_parameters()}
    return {
        "logits": torch.from_numpy(logits),
        "loss": worker.sum(loss),
        "gradients": gradients,
    }


def work(rank: int, folder: str, configs: dict[int, RunConfig]) -> None:
    """Be one of two workers, then one of three: starting processes is what takes time."""
    torch.set_num_threads(1)
    for world_size, config in configs.items():
        if rank < world_size:
            group = f"file://{folder}/group-{world_size}"
            distributed.init_process_group("gloo", group, rank=rank, world_size=world_size)
            work_in_group(config, Path(folder, f"{world_size}-{rank}.pt"))
            distributed.destroy_process_group()


def work_in_group(config: RunConfig, out: Path) -> None:
    worker = Worker.of_group(torch.device("cpu"))
    torch.save(measure(config, worker), out)
    # Only the last rank asks to stop: all of them must.
    result = train(
        config,
        worker=worker,
        on_epoch=lambda m: worker.rank == worker.world_size - 1 and m.epoch == 1,
        reporter=lambda _: None,
    )
    assert (result.status, len(result.history)) == ("stopped", 2)


@pytest.fixture(scope="module")
def configs(
    store: Store, split_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, RunConfig]:
    folder = tmp_path_factory.mktemp("workers")
    return {
        size: run_config(
            store, split_url, folder / f"run-{size}", train=TRAIN, targets=["ER", "HER2"]
        )
        for size in (2, 3)
    }


@pytest.fixture(scope="module")
def together(configs: dict[int, RunConfig]) -> Path:
    """Folder with what each worker of each group measured."""
    folder = Path(configs[2].out).parent
    multiprocessing.spawn(work, (str(folder), configs), nprocs=max(configs))
    return folder


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_together_equal_one(
    configs: dict[int, RunConfig], together: Path, world_size: int
) -> None:
    alone = measure(configs[world_size], Worker.single("cpu"))
    for rank in range(world_size):
        found = torch.load(together / f"{world_size}-{rank}.pt", weights_only=True)
        # 8 validation patients over 3 workers: every one once, in order, on every rank.
        assert torch.allclose(found["logits"], alone["logits"], atol=1e-5)
        assert found["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        for name, gradient in alone["gradients"].items():
            assert torch.allclose(found["gradients"][name], gradient, atol=1e-5, rtol=1e-4), name


@pytest.mark.parametrize("world_size", [2, 3])
def test_one_worker_writes_and_all_stop(
    configs: dict[int, RunConfig], together: Path, world_size: int
) -> None:
    folder = RunFolder(configs[world_size].out)
    record = folder.read_record()
    assert record is not None
    assert (record.status, record.world_size, record.num_epochs) == ("stopped", world_size, 2)
    assert [m.epoch for m in folder.read_metrics()] == [0, 1]
    assert len(folder.read_predictions()) == 16
