"""The same global batches over 1, 2, 3 and 4 gloo processes."""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import load_split
from radiotrain.training.loop import train
from radiotrain.training.trainer import Training
from tests.unit.training.synthetic import run_config

pytestmark = pytest.mark.slow

TRAIN = {
    "epochs": 3,
    "batch_size": 12,
    "micro_batch_size": 3,  # 4 parts of one worker's share, 1 of one among four
    "warmup_epochs": 1,
    "gradient_clip": None,
}


SIZES = (2, 3, 4)


def measure(config: RunConfig, worker: Worker) -> dict[str, Any]:
    """Take a step of each kind and validate."""
    store = Store.open(config.store)
    split = load_split(config.split, store)
    # Each worker normalises by its own share, so that is left out here...
    alone = Training(config, worker, store, split)
    alone.wrapped.eval()
    logits = alone.validate()
    # ... and here they normalise together.
    train = config.train.model_copy(update={"sync_batch_norm": True, "micro_batch_size": None})
    together = Training(config.model_copy(update={"train": train}), worker, store, split)
    together.wrapped.train()
    return {
        "logits": torch.from_numpy(logits),
        **{f"alone {k}": v for k, v in take_step(alone).items()},
        **{f"together {k}": v for k, v in take_step(together).items()},
        "buffers": {k: v.double() for k, v in together.network.named_buffers()},
    }


def take_step(training: Training) -> dict[str, Any]:
    loss = training.take_step(training.plan(0)[0])
    gradients = {n: p.grad.clone() for n, p in training.network.named_parameters()}
    return {"loss": float(loss), "gradients": gradients}


def work(rank: int, folder: str, configs: dict[int, RunConfig]) -> None:
    """Be a worker of each group in turn: starting processes is what takes time."""
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
    result = train(config, worker=worker, until_epoch=2, reporter=lambda _: None)
    assert (result.status, len(result.history)) == ("paused", 2)


@pytest.fixture(scope="module")
def configs(
    store: Store, split_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, RunConfig]:
    folder = tmp_path_factory.mktemp("workers")
    return {
        size: run_config(
            store, split_url, folder / f"run-{size}", train=TRAIN, targets=["ER", "HER2"]
        )
        for size in SIZES
    }


@pytest.fixture(scope="module")
def together(configs: dict[int, RunConfig]) -> Path:
    """Folder with what each worker of each group measured."""
    folder = Path(configs[2].out).parent
    # The workers are copies of one process that has loaded what each of them would load.
    loaded = [__name__, "monai.networks.nets", "torch._dynamo"]
    context = multiprocessing.get_context("forkserver")
    # That process, begun for tests of something else, would not have loaded it.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    context.set_forkserver_preload(loaded)
    workers = [
        context.Process(target=work, args=(rank, str(folder), configs))
        for rank in range(max(configs))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    return folder


@pytest.mark.parametrize("world_size", SIZES)
def test_workers_together_equal_one(
    configs: dict[int, RunConfig], together: Path, world_size: int
) -> None:
    alone = measure(configs[world_size], Worker.single("cpu"))
    for rank in range(world_size):
        found = torch.load(together / f"{world_size}-{rank}.pt", weights_only=True)
        # 8 validation patients over 3 workers: every one once, in order, on every rank.
        assert torch.allclose(found["logits"], alone["logits"], atol=1e-5)
        for how in ("alone", "together"):
            assert found[f"{how} loss"] == pytest.approx(alone[f"{how} loss"], rel=1e-5)
            for name, gradient in alone[f"{how} gradients"].items():
                other = found[f"{how} gradients"][name]
                assert torch.allclose(other, gradient, atol=1e-5, rtol=1e-4), (how, name)
        for name, buffer in alone["buffers"].items():
            assert torch.allclose(found["buffers"][name], buffer, atol=1e-6, rtol=1e-5), name


@pytest.mark.parametrize("world_size", SIZES)
def test_one_worker_writes_and_all_pause(
    configs: dict[int, RunConfig], together: Path, world_size: int
) -> None:
    folder = RunFolder(configs[world_size].out)
    record = folder.read_record()
    assert record is not None
    assert (record.status, record.world_size, record.num_epochs) == ("paused", world_size, 2)
    assert [m.epoch for m in folder.read_metrics()] == [0, 1]
    assert len(folder.read_predictions()) == 16
