"""Workers, CPUs and GPU share of a trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.session import growth_of_cluster, has_gpus, most_of
from cluster.sweep.config import SweepConfig, TrialPlan, example_trials
from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.training.loop import print_line
from radiotrain.training.resources import demand_of, memory_bytes

# What libraries need in passing, and what fragments take of a GPU's memory.
_MARGIN = 1.3
_MOST_ON_A_GPU = 4
# A GPU that does not answer is not worth a longer wait.
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Gpu:
    """A GPU of the cluster.

    Parameters
    ----------
    memory_bytes
        Zero where torch cannot use it, or somebody else does.
    has_bfloat16
        Whether ``precision: auto`` trains in it.
    """

    memory_bytes: int
    has_bfloat16: bool


def worker_resources(
    sweep: SweepConfig, plans: Sequence[TrialPlan], store: Store
) -> dict[str, float]:
    """Return CPU and GPU of a worker, on the Ray in use."""
    gpus = sweep.resources.gpus
    if gpus is None:
        gpus = float(has_gpus() and sweep.device != "cpu")
        if gpus and sweep.resources.workers == 1:
            runs = [plan.run for plan in plans or example_trials(sweep)]
            gpus = gpu_share(runs, store.image_shape, _gpus_there())
    return {"CPU": sweep.resources.cpus, "GPU": gpus}


def gpu_share(
    runs: Iterable[RunConfig], image_shape: tuple[int, int, int, int], gpus: Sequence[Gpu]
) -> float:
    """Return the share of a GPU that a trial is to have: 1, 1/2, 1/3 or 1/4.

    The smallest with which all of them, by what is counted of their memory, fit any of the GPUs. Ray
    counts shares and watches over none: a trial may take more than its own.

    Parameters
    ----------
    image_shape
        (P, R, C, S).
    """
    room = min((gpu.memory_bytes for gpu in gpus), default=0)
    if not room:
        return 1.0
    half = all(gpu.has_bfloat16 for gpu in gpus)
    most = max(
        memory_bytes(demand, image_shape, half_precision=half)
        for demand in {demand_of(run) for run in runs}
    )
    together = max(1, min(_MOST_ON_A_GPU, math.floor(room / (_MARGIN * most))))
    # Ray counts in ten-thousandths.
    return math.floor(10_000 / together) / 10_000


def _gpus_there() -> tuple[Gpu, ...]:
    """Return the GPUs whose memory says how many trials share one; of none, none share."""
    gpus = _gpus_of_cluster()
    if not gpus:
        print_line(
            "no GPU is up yet, each trial will have one to itself: set resources.gpus, e.g. to 0.5,"
            " to let trials share"
        )
    return gpus


def _gpus_of_cluster() -> tuple[Gpu, ...]:
    """Return one GPU of each node that has any, as a task there sees it."""
    look = ray.remote(num_gpus=1, num_cpus=0, max_retries=0)(_look)
    asked = [
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("GPU", 0) >= 1
    ]
    if not asked:
        return ()
    answers, silent = ray.wait(asked, num_returns=len(asked), timeout=_TIMEOUT_S)
    for task in silent:
        ray.cancel(task, force=True)
    return (*ray.get(answers), *(Gpu(0, False) for _ in silent))


def _look() -> Gpu:
    import torch

    if not torch.cuda.is_available():
        return Gpu(0, False)
    total = torch.cuda.get_device_properties(0).total_memory
    return Gpu(int(total), torch.cuda.is_bf16_supported())


def trial_resources(workers: int, each: Mapping[str, float]) -> Any:
    """Return what a trial's own actor takes; the workers of a larger trial take theirs themselves."""
    if workers == 1:
        return dict(each)
    # On the head, which need not have a CPU to spare.
    return tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])


def max_running(workers: int, each: Mapping[str, float]) -> int | None:
    """Return how many trials of several workers have room: those that wait for it must not be begun.

    Ray Train takes a trial's places when its actor is there already, so that two trials could each
    hold a part of what they need and wait for the rest for ever.
    """
    if workers == 1:
        return None
    return trials_at_a_time(workers, each)


def trials_at_a_time(workers: int, each: Mapping[str, float]) -> int:
    """Return how many trials have room in the Ray in use, fully grown; at least one."""
    room = min(int(most_of(kind) // amount) for kind, amount in each.items() if amount)
    return max(1, room // workers)


def check_room(workers: int, each: Mapping[str, float]) -> None:
    """Refuse workers that no node could ever hold: Tune would wait for ever."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    nodes += [dict(kind.resources) for kind in growth_of_cluster().kinds]
    if not any(all(n.get(k, 0) >= v for k, v in each.items()) for n in nodes):
        largest = max((n.get("CPU", 0), n.get("GPU", 0)) for n in nodes)
        raise InputError(
            f"a trial asks for {each['CPU']:g} CPUs and {each['GPU']:g} GPUs, the largest node has"
            f" {largest[0]:g} and {largest[1]:g}: lower resources in the sweep's configuration"
        )
    total = {kind: most_of(kind) for kind in ("CPU", "GPU")}
    if any(total.get(kind, 0) < workers * amount for kind, amount in each.items()):
        raise InputError(
            f"a trial of {workers} workers asks for {workers * each['CPU']:g} CPUs and"
            f" {workers * each['GPU']:g} GPUs, there are {total.get('CPU', 0):g} and"
            f" {total.get('GPU', 0):g}: lower resources.workers, or start more nodes"
        )
