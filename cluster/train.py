"""Train one network on several workers: DDP under Ray Train.

The run folder's checkpoints are the truth. A group of workers that lost a member, or that is to
have another number of members, is ended as a whole; the next one goes on from the newest
checkpoint with the same global batches. Ray keeps no state that is needed.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from threading import Event, Thread, current_thread, main_thread
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from cluster.failures import (
    FailureNotices,
    WorkerFailedError,
    describe_failure,
    read_notices,
    sum_up,
    write_notices,
)
from cluster.metrics import TrialMetrics
from cluster.notice import LeavingNodes, WorkerNotice, own_node, tell_workers
from cluster.session import growth_of_cluster, has_gpus, ray_session
from preprocessing.common.errors import DamagedFileError, InputError, LockLostError
from preprocessing.processes import stop_notice
from preprocessing.processes.machine import num_cpus
from preprocessing.processes.stop_notice import Stopped
from preprocessing.storage import files
from preprocessing.storage.files import make_private
from preprocessing.storage.folder_lock import exclusive
from radiotrain.config.run_config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.runs.checkpoint import newest_position
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.runs.run_folder import RunFolder
from radiotrain.training.loop import RunResult, is_done, print_line, recorded_result
from radiotrain.training.loop import train as train_loop
from radiotrain.training.validate import check_fits

# A lost node or worker: the run folder's checkpoint is where the next attempt goes on.
_MAX_FAILURES = 3
# Nodes that are taken away after a notice are no fault of the training.
_MAX_PREEMPTIONS = -1
# How long workers may take to write a checkpoint after a notice to stop came to the driver.
_NOTICE_GRACE_S = 25.0
_SECONDS_BETWEEN_LOOKS = 1.0
# How long a worker may wait for another. A worker that raised or died ends the group at once; this
# is for one that hangs, and has to outlast the slowest reading of patients and writing of
# checkpoints. Torch's own default is half an hour.
_COLLECTIVE_TIMEOUT_S = 600
# How long the workers of a killed driver take to end.
_DYING_S = 20.0
# How long a worker of rank 0 waits for its predecessor, which may be on a host that was lost: an object store's
# lock, or a file server's, outlasts its holder by a minute or more.
PATIENCE_S = 150.0
# How often Ray looks whether an elastic group could be larger. Growing costs a new start.
_SECONDS_BETWEEN_RESIZES = 60.0


def train_on_ray(
    config: RunConfig,
    workers: int | tuple[int, int],
    *,
    until_epoch: int | None = None,
    resources: Mapping[str, float] | None = None,
) -> RunResult:
    """Train on Ray workers, one GPU each where the cluster has GPUs.

    Uses the Ray that is running, or starts a local one.

    Parameters
    ----------
    workers
        How many; or the fewest and the most, where as many train as there is room for: workers
        that are lost are done without, and nodes that join are taken up within a minute.
    until_epoch
        As in `radiotrain.training.loop.train`.
    resources
        CPU and GPU of a worker, where the caller knows better than the above.

    Raises
    ------
    InputError
        If the configuration, store and split do not fit together; nothing is started then.
    RadiotrainError
        What a worker found wrong with the input.
    WorkersError
        What else ended workers more often than is tried again.
    Stopped
        If a notice to stop came: the run is paused at a checkpoint.
    """
    check_fits(config, workers)
    fewest, most = _bounds(workers)
    folder = RunFolder(config.out)
    record = folder.read_record()
    if record is not None and is_done(folder, config, record, until_epoch):
        return recorded_result(folder, record)
    cpus_each, cpus = _share_cpus(fewest, most)
    with (
        stop_notice.put_off(tell=tell_workers, grace_s=_NOTICE_GRACE_S),
        _alone(folder),
        ray_session(num_cpus=cpus) as is_own,
        _follow(folder),
        _own_interrupt(),
    ):
        use_gpu = has_gpus() and config.device != "cpu"
        _check_room(fewest, "GPU" if use_gpu else "CPU", is_own)
        each = dict(resources or {"CPU": cpus_each if is_own else 1, "GPU": int(use_gpu)})
        scaling = _scaling(fewest, most, each)
        try:
            _trainer(config, folder, scaling, until_epoch).fit()
        except Stopped as stop:
            # The workers did not come to a point where they could say so themselves.
            _pause(folder)
            raise stop from None
        except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - raised below
            reason = _reason(error)
            _record_failure(folder, reason)
            raise reason from None
        notice = stop_notice.came() or WorkerNotice()()
    record = folder.read_record()
    assert record is not None
    if notice is not None and not is_done(folder, config, record, until_epoch):
        raise Stopped(notice, f"paused {newest_position(folder.checkpoints).describe()}")
    return recorded_result(folder, record)


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Be the only one that has Ray train this run, and refuse while a process trains it without.

    The run folder's own lock is its writer's, the worker of rank 0.
    """
    make_private(folder.url)
    with exclusive(files.join(folder.url, "ray"), "run"):
        with exclusive(folder.url, "run", patience_s=_DYING_S):
            pass
        yield


def _bounds(workers: int | tuple[int, int]) -> tuple[int, int]:
    return (workers, workers) if isinstance(workers, int) else workers


def _share_cpus(fewest: int, most: int) -> tuple[int, int]:
    """Return the CPUs of a worker, and all that a Ray started here counts.

    Ray gives torch as many threads as a worker has CPUs. On a machine of one's own they would
    lie idle otherwise; an elastic group takes as many workers as there are cores.
    """
    cores = num_cpus()
    num_workers = max(fewest, min(most, cores))
    each = max(1, cores // num_workers)
    return each, each * num_workers


def _check_room(fewest: int, kind: str, is_own: bool) -> None:
    """Refuse what can never be held; say that a cluster has to grow first."""
    room = int(ray.cluster_resources().get(kind, 0))
    if room >= fewest:
        return
    if is_own:
        raise InputError(
            f"{fewest} workers need a {kind} each and this machine has {room}: lower --workers, or"
            " set device to cpu"
        )
    most = int(growth_of_cluster().most(kind))
    # Without an autoscaler, nodes join by somebody's hand, nobody knows how many.
    if 0 < most < fewest:
        raise InputError(
            f"{fewest} workers need a {kind} each and the Ray cluster can grow to {most}: lower"
            " --workers, or raise max_workers in the cluster's file"
        )
    print_line(f"the Ray cluster has {room} {kind}s, waiting for the {fewest} that are asked for")


def _scaling(fewest: int, most: int, each: Mapping[str, float]) -> ScalingConfig:
    return ScalingConfig(
        num_workers=fewest if fewest == most else (fewest, most),
        use_gpu=each.get("GPU", 0) > 0,
        resources_per_worker={kind: amount for kind, amount in each.items() if amount > 0},
        elastic_resize_monitor_interval_s=_SECONDS_BETWEEN_RESIZES,
    )


def _trainer(
    config: RunConfig, folder: RunFolder, scaling: ScalingConfig, until_epoch: int | None
) -> TorchTrainer:
    return TorchTrainer(
        _train_worker,
        train_loop_config={"config": config.model_dump(mode="json"), "until_epoch": until_epoch},
        scaling_config=scaling,
        torch_config=TorchConfig(
            backend="nccl" if scaling.use_gpu else "gloo", timeout_s=_COLLECTIVE_TIMEOUT_S
        ),
        run_config=ray.train.RunConfig(
            name=folder.name,
            storage_path=files.join(folder.url, "ray"),
            failure_config=FailureConfig(
                max_failures=_MAX_FAILURES, max_preemption_failures=_MAX_PREEMPTIONS
            ),
            callbacks=[FailureNotices(folder.url, _MAX_FAILURES)],
        ),
    )


@contextmanager
def _own_interrupt() -> Iterator[None]:
    """Take Ctrl-C back from Ray, which leaves its handler behind when a training has ended."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _follow(folder: RunFolder) -> Iterator[None]:
    """Print epochs and failures when the run folder has them: workers may be on other machines."""
    over = Event()
    write_notices(folder.url, [])
    epochs = notices = 0
    # A run that goes on writes a damaged file anew.
    with suppress(DamagedFileError):
        epochs = len(folder.read_metrics())

    def look() -> None:
        nonlocal epochs, notices
        for notice in read_notices(folder.url)[notices:]:
            print_line(notice)
            notices += 1
        for metrics in folder.read_metrics()[epochs:]:
            config = folder.read_config()
            has_validation = config is None or config.fold is not None
            print_line(metrics.describe(has_validation=has_validation))
            epochs += 1

    def follow() -> None:
        last_look = False
        while not last_look:
            last_look = over.wait(_SECONDS_BETWEEN_LOOKS)
            # An object store that does not answer now is asked again.
            with suppress(Exception):
                look()

    thread = Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _train_worker(values: Mapping[str, Any]) -> None:
    config = RunConfig.model_validate(values["config"])
    worker = Worker.of_group(ray.train.torch.get_device())
    try:
        with closing(TrialMetrics(RunFolder(config.out).name, "+".join(config.targets))) as shown:

            def on_epoch(metrics: EpochMetrics) -> None:
                _report(metrics)
                if worker.is_writer:
                    shown.epoch(metrics)

            train_loop(
                config,
                worker=worker,
                until_epoch=values["until_epoch"],
                on_epoch=on_epoch,
                patience_s=PATIENCE_S,
                notice=WorkerNotice(),
                is_leaving=LeavingNodes(worker.gather(own_node())),
            )
    except Stopped:
        # The driver, which was given the notice, says so.
        return
    except Exception as error:
        raise WorkerFailedError(
            describe_failure(error, worker, RunFolder(config.out).url)
        ) from error


def _report(metrics: EpochMetrics) -> None:
    """Show an epoch to Ray's dashboard; checkpoints are the run folder's business."""
    ray.train.report({"epoch": metrics.epoch, "validation_auc": metrics.validation_auc})


def _reason(error: BaseException) -> BaseException:
    """Return what to tell the user of what Ray raised."""
    if isinstance(error, SystemExit):
        # Ray's own handler of Ctrl-C ends the process as if all were well.
        return KeyboardInterrupt()
    if isinstance(error, WorkerGroupError):
        return sum_up(error.worker_failures)
    if isinstance(error, ControllerError):
        return error.controller_failure  # type: ignore[no-any-return]
    return error


def _pause(folder: RunFolder) -> None:
    """Say in the folder that the run waits to be gone on with."""
    with suppress(Exception):
        record = folder.read_record()
        if record is not None and record.status == "running":
            folder.write_record(replace(record, status="paused"))


def _record_failure(folder: RunFolder, reason: BaseException) -> None:
    """Say in the folder why the run ended: the worker that writes it may not have been asked."""
    text = "interrupted by Ctrl-C" if isinstance(reason, KeyboardInterrupt) else str(reason)
    if isinstance(reason, LockLostError):
        return
    with suppress(Exception), exclusive(folder.url, "run", patience_s=_DYING_S):
        record = folder.read_record()
        if record is not None:
            folder.write_record(replace(record, status="failed", error=text))
