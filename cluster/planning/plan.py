"""A sweep on GPUs that are not there yet: how to spread it over them, and what it will take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.planning.gpus import Gpu, seconds_a_patient
from cluster.planning.scaling import Link, Option, Overheads, Work, choose, options
from cluster.sweep.config import SweepConfig, TrialPlan, example_trials
from cluster.sweep.folder import SweepFolder, read_states, standings
from cluster.sweep.membership import suggested_per_group
from cluster.sweep.progress import epochs_to_come_by_group
from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.data.patients import part_ids
from radiotrain.networks.cost import NetworkCost, network_cost
from radiotrain.places import open_inputs
from radiotrain.split import Split
from radiotrain.training.demand import demand_of, memory_bytes

# float32.
_BYTES_PER_GRADIENT = 4
# A second GPU a trial that brings less than this is not worth its price.
_PAYS = 1.3


@dataclass(frozen=True)
class Plan:
    """How a sweep may be spread, and what to know about it.

    Parameters
    ----------
    sentences
        For a person: which to take, and what it rests on.
    """

    options: tuple[Option, ...]
    choice: Option
    sentences: tuple[str, ...]


def make_plan(sweep: SweepConfig, num_gpus: int, gpu: Gpu, link: Link, efficiency: float) -> Plan:
    """Plan a sweep; nothing is trained, and no GPU is needed.

    Parameters
    ----------
    efficiency
        See `cluster.planning.gpus.seconds_a_patient`.

    Raises
    ------
    InputError
        If a trial's batch does not fit into the GPU's memory.
    """
    store, split = open_inputs(sweep.store, sweep.split)
    plans = SweepFolder(sweep.out).read_plans(sweep)
    kinds = plans or example_trials(sweep)
    _check_memory(kinds, store, gpu)
    num_trials = max(len(plans), suggested_per_group(sweep) * len(sweep.targets))
    works = [_work(plan, store, split, gpu, efficiency) for plan in kinds]
    works = [works[n % len(works)] for n in range(num_trials)]
    to_come = epochs_to_come_by_group(sweep, standings(sweep, read_states(plans)))
    epochs = sum(to_come.values()) / num_trials
    found = options(works, epochs, num_gpus, link, Overheads())
    choice = choose(found)
    sentences = (
        *_advice(found, choice, num_trials, num_gpus),
        _what_is_left(num_trials, epochs),
        _what_it_rests_on(gpu, link, efficiency),
    )
    return Plan(found, choice, sentences)


def _what_is_left(num_trials: int, epochs: float) -> str:
    if not epochs:
        return "every trial has ended: nothing is left to train"
    return f"{num_trials} trials, {epochs:.0f} epochs each at most on average, as halving is configured"


def _what_it_rests_on(gpu: Gpu, link: Link, efficiency: float) -> str:
    plural = "s" * (link.gpus_per_host > 1)
    return (
        f"reckoned from {gpu.name}'s data sheet at {100 * efficiency:.0f} % of its roof, not"
        f" measured; {link.gbits:g} Gb/s between hosts of {link.gpus_per_host} GPU{plural}; reading"
        " the cohort and starting nodes are not counted"
    )


def _work(plan: TrialPlan, store: Store, split: Split, gpu: Gpu, efficiency: float) -> Work:
    cost = _cost(plan, store)
    train_s, validate_s = seconds_a_patient(cost, gpu, efficiency)
    return Work(
        num_train=len(part_ids(split, plan.run.fold, "train")),
        num_validation=len(part_ids(split, plan.run.fold, "validation")),
        batch_size=plan.run.train.batch_size,
        train_s=train_s,
        validate_s=validate_s,
        gradient_bytes=_BYTES_PER_GRADIENT * cost.num_parameters,
    )


def _cost(plan: TrialPlan, store: Store) -> NetworkCost:
    phases, *crop = store.image_shape
    rows, columns, slices = crop
    return network_cost(
        plan.run.network.name, phases, len(plan.run.targets), (rows, columns, slices)
    )


def _check_memory(plans: Sequence[TrialPlan], store: Store, gpu: Gpu) -> None:
    for plan in plans:
        needed = memory_bytes(demand_of(plan.run), store.image_shape, half_precision=True)
        if needed > gpu.gb * 1e9:
            raise InputError(
                f"trial {plan.name} needs {needed / 1e9:.0f} GB for a batch of"
                f" {plan.run.train.batch_size}, {gpu.name} has {gpu.gb:g}: lower train.batch_size,"
                " set train.micro_batch_size or speed.activation_checkpointing, or take another GPU"
            )


def _advice(
    found: Sequence[Option], choice: Option, num_trials: int, num_gpus: int
) -> Iterator[str]:
    if choice.workers == 1:
        yield (
            f"take: trials side by side, {choice.at_a_time} at a time, one GPU each"
            " (resources.workers: 1)"
        )
    else:
        yield (
            f"take: {choice.workers} GPUs a trial, {choice.at_a_time} trial"
            f"{'s' * (choice.at_a_time > 1)} at a time (resources.workers: {choice.workers})"
        )
    if num_trials < num_gpus and choice.workers == 1 and num_gpus > 1:
        yield f"{num_gpus - choice.at_a_time} of {num_gpus} GPUs would have nothing to do"
    second = next((option for option in found if option.workers == 2), None)
    if second is not None and second.speedup < _PAYS:
        verb = "slows it down" if second.speedup < 1 else "brings little"
        yield (
            f"a second GPU on one trial {verb}: epochs {second.speedup:.2f} times as fast, since all"
            " gradients are exchanged at each step"
        )
