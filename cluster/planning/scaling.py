"""How long an epoch takes on several GPUs, and whether a sweep should use them together or apart.

The model, of a step of B patients on w workers:

    step = B / w · train + exposed + sync            exposed, sync: none of them where w is 1
    exposed = max(0, ring - overlap · backward)      what of the exchange is not hidden
    ring = 2 (w - 1) / w · bytes / bandwidth + 2 (w - 1) · latency

The ring all-reduce's cost is that of Patarasuk and Yuan, J Parallel Distrib Comput 69 (2009) 117-124;
DDP hides it behind the backward pass (Li et al., VLDB 13 (2020) 3005-3018).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

# Of a training step's time; the rest is the forward pass and the optimiser.
_BACKWARD_SHARE = 0.6
# Batch norm needs two patients a worker.
_FEWEST_PER_WORKER = 2
# A shorter sweep that costs less than this much more is worth it.
_WORTH = 1.05


@dataclass(frozen=True)
class Work:
    """An epoch of one trial.

    Parameters
    ----------
    batch_size
        Of all workers together.
    train_s, validate_s
        Seconds a patient on one GPU.
    gradient_bytes
        That a step exchanges: four a parameter.
    """

    num_train: int
    num_validation: int
    batch_size: int
    train_s: float
    validate_s: float
    gradient_bytes: float


@dataclass(frozen=True)
class Link:
    """What lies between GPUs.

    Parameters
    ----------
    gbits
        10^9 bits a second between hosts, one way.
    gbits_inside
        The same between GPUs of a host.
    gpus_per_host
        Workers of a trial fill a host before they take the next.
    latency_s
        Of one message.
    overlap
        Share of the backward pass that hides the exchange.
    """

    gbits: float
    gbits_inside: float = 400.0
    gpus_per_host: int = 1
    latency_s: float = 30e-6
    overlap: float = 0.5

    def ring_s(self, workers: int, num_bytes: float) -> float:
        """Return how long workers take to add up their gradients; the slowest link decides."""
        if workers == 1:
            return 0.0
        gbits = self.gbits_inside if workers <= self.gpus_per_host else self.gbits
        shares = 2 * (workers - 1)
        return shares / workers * 8 * num_bytes / (gbits * 1e9) + shares * self.latency_s


@dataclass(frozen=True)
class Overheads:
    """What comes on top of the arithmetic.

    Parameters
    ----------
    sync_s
        A step, of several workers: what they wait for each other.
    epoch_s
        An epoch: checkpoint and report.
    start_s
        A trial of one worker; of several: `start_together_s`, as Ray Train has to start.
    """

    sync_s: float = 0.002
    epoch_s: float = 0.5
    start_s: float = 0.15
    start_together_s: float = 22.0


@dataclass(frozen=True)
class Option:
    """One way to spread a sweep over GPUs.

    Parameters
    ----------
    at_a_time
        Trials side by side.
    speedup
        Of an epoch, against one worker.
    wall_hours
        Of the whole sweep.
    gpu_hours
        Of GPUs at work: an autoscaler gives idle ones back.
    """

    workers: int
    at_a_time: int
    epoch_s: float
    speedup: float
    wall_hours: float
    gpu_hours: float


def epoch_s(work: Work, workers: int, link: Link, overheads: Overheads) -> float:
    """Return the seconds of an epoch."""
    steps = math.ceil(work.num_train / work.batch_size)
    share = work.num_train / steps / workers * work.train_s
    step = share
    if workers > 1:
        hidden = link.overlap * _BACKWARD_SHARE * share
        step += max(0.0, link.ring_s(workers, work.gradient_bytes) - hidden) + overheads.sync_s
    validation = math.ceil(work.num_validation / workers) * work.validate_s
    return steps * step + validation + overheads.epoch_s


def options(
    works: Sequence[Work], epochs: float, num_gpus: int, link: Link, overheads: Overheads
) -> tuple[Option, ...]:
    """Return each way to spread a sweep, from trials side by side to one trial on all GPUs.

    Parameters
    ----------
    works
        One for each trial.
    epochs
        That a trial trains on average.
    """
    return tuple(
        _option(works, epochs, workers, num_gpus, link, overheads)
        for workers in _powers_of_two(num_gpus)
        if all(work.batch_size >= _FEWEST_PER_WORKER * workers for work in works)
    )


def choose(found: Sequence[Option]) -> Option:
    """Return the quickest; among those hardly slower, the cheapest."""
    quickest = min(option.wall_hours for option in found)
    near = [option for option in found if option.wall_hours <= _WORTH * quickest]
    return min(near, key=lambda option: (option.gpu_hours, option.workers))


def _option(
    works: Sequence[Work],
    epochs: float,
    workers: int,
    num_gpus: int,
    link: Link,
    overheads: Overheads,
) -> Option:
    start = overheads.start_s if workers == 1 else overheads.start_together_s
    lengths = [epoch_s(work, workers, link, overheads) for work in works]
    alone = [epoch_s(work, 1, link, overheads) for work in works]
    at_a_time = max(1, num_gpus // workers)
    seconds = [start + epochs * length for length in lengths]
    wall = _makespan(seconds, at_a_time)
    return Option(
        workers=workers,
        at_a_time=min(at_a_time, len(works)),
        epoch_s=float(np.mean(lengths)),
        speedup=sum(alone) / sum(lengths),
        wall_hours=wall / 3600,
        gpu_hours=workers * sum(seconds) / 3600,
    )


def _makespan(seconds: Sequence[float], at_a_time: int) -> float:
    """Return when the last trial ends, if the next longest always begins where a place is free."""
    ends = [0.0] * at_a_time
    for length in sorted(seconds, reverse=True):
        first = ends.index(min(ends))
        ends[first] += length
    return max(ends)


def _powers_of_two(most: int) -> Iterator[int]:
    number = 1
    while number <= most:
        yield number
        number *= 2


@dataclass(frozen=True)
class Measurement:
    """A measured step: workers on one host, each with `threads` of its cores."""

    network: str
    workers: int
    batch_size: int
    gradient_bytes: float
    step_s: float


@dataclass(frozen=True)
class Fit:
    """What measured steps say about the model's constants.

    Parameters
    ----------
    train_s
        Network to seconds a patient.
    gbits
        Of the exchange between processes of one host.
    relative_error
        Of each measurement: the model's step over the measured one, less 1.
    """

    train_s: dict[str, float]
    sync_s: float
    gbits: float
    relative_error: tuple[float, ...]


def fit(measured: Sequence[Measurement], num_cores: int) -> Fit:
    """Fit seconds a patient of each network, waiting a step and bandwidth, by least squares.

    Workers beyond the cores share them. Relative errors count, and nothing may be negative (Lawson and
    Hanson 1974).
    """
    names = list(dict.fromkeys(m.network for m in measured))
    rows = np.zeros((len(measured), len(names) + 2))
    for row, m in zip(rows, measured, strict=True):
        crowded = max(1.0, m.workers / num_cores)
        row[names.index(m.network)] = m.batch_size / m.workers * crowded
        if m.workers > 1:
            row[-2] = 1.0
            row[-1] = 2 * (m.workers - 1) / m.workers * 8 * m.gradient_bytes / 1e9
    steps = np.array([m.step_s for m in measured])
    found, _ = nnls(rows / steps[:, None], np.ones(len(steps)))
    errors = rows @ found / steps - 1
    return Fit(
        train_s=dict(zip(names, found[:-2].tolist(), strict=True)),
        sync_s=float(found[-2]),
        gbits=math.inf if found[-1] == 0 else float(1 / found[-1]),
        relative_error=tuple(errors.tolist()),
    )
