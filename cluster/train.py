"""One training over several workers: the same loop, as DDP under Ray Train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import ray.train
import torch
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from cluster.session import has_gpus, ray_session
from preprocessing import files
from preprocessing.errors import RadiotrainError
from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.data.order import check_batches
from radiotrain.data.patients import part_ids, target_columns
from radiotrain.distributed import Worker
from radiotrain.networks.registry import build_network
from radiotrain.runs import RunFolder
from radiotrain.split import load_split
from radiotrain.training.loop import RunResult, print_line, recorded_result
from radiotrain.training.loop import train as train_loop
from radiotrain.training.metrics import EpochMetrics

# A lost node or worker: the run folder's checkpoint is where the next attempt goes on.
_MAX_FAILURES = 3
_SECONDS_BETWEEN_LOOKS = 1.0


def train_on_ray(config: RunConfig, workers: int) -> RunResult:
    """Train on `workers` Ray workers, one GPU each where the cluster has GPUs.

    Uses the Ray that is running, or starts a local one.

    Raises
    ------
    InputError
        If the configuration, store and split do not fit together; nothing is started then.
    """
    check_fits(config, workers)
    folder = RunFolder(config.out)
    record = folder.read_record()
    if record is not None and record.status in ("finished", "stopped"):
        return recorded_result(folder, record)
    with ray_session(num_cpus=workers + 1), _follow(folder):
        use_gpu = has_gpus() and config.device != "cpu"
        trainer = TorchTrainer(
            _train_worker,
            train_loop_config={"config": config.model_dump(mode="json")},
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu),
            torch_config=TorchConfig(backend="nccl" if use_gpu else "gloo"),
            run_config=ray.train.RunConfig(
                name=folder.name,
                storage_path=files.join(folder.url, "ray"),
                failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise _cause(error) from error
    record = folder.read_record()
    assert record is not None
    return recorded_result(folder, record)


def check_fits(config: RunConfig, workers: int) -> None:
    """Find out what a worker would refuse, before any is started.

    Raises
    ------
    InputError
        With the worker's own words.
    """
    store = Store.open(config.store)
    split = load_split(config.split, store)
    RunFolder(config.out).check_same_run(config, store.fingerprint, split.fingerprint)
    target_columns(store, config.targets)
    num_patients = len(part_ids(split, config.fold, "train"))
    check_batches(num_patients, config.train.batch_size, workers)
    with torch.device("meta"):  # nothing is computed or kept
        build_network(
            config.network.name, store.spec.num_phases, len(config.targets), store.spec.crop_shape
        )


@contextmanager
def _follow(folder: RunFolder) -> Iterator[None]:
    """Print each epoch when it appears in the run folder: workers may be on other machines."""
    over = Event()

    def follow() -> None:
        shown = len(folder.read_metrics())
        while True:
            last_look = over.wait(_SECONDS_BETWEEN_LOOKS)
            for metrics in folder.read_metrics()[shown:]:
                print_line(metrics.describe())
                shown += 1
            if last_look:
                return

    thread = Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _train_worker(values: Mapping[str, Any]) -> None:
    device = ray.train.torch.get_device()
    train_loop(
        RunConfig.model_validate(values["config"]),
        worker=Worker.of_group(device),
        on_epoch=_report,
    )


def _report(metrics: EpochMetrics) -> bool:
    """Show an epoch to Ray's dashboard; checkpoints are the run folder's business."""
    ray.train.report({"epoch": metrics.epoch, "validation_auc": metrics.validation_auc})
    return False


def _cause(error: Exception) -> BaseException:
    """Return the user's mistake behind Ray's wrapping, where there is one."""
    failures: Mapping[int, BaseException] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, RadiotrainError):
                return cause
            cause = getattr(cause, "cause", None) or cause.__cause__
    return error
