"""Suggested settings for a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.config.reproduction import PAPER_NETWORKS, SplitSettings
from radiotrain.config.run_config import RunConfig
from radiotrain.data.covariates import check_covariate_name
from radiotrain.data.patients import target_columns
from radiotrain.data.sampler import check_batches
from radiotrain.distributed import choose_device
from radiotrain.networks.registry import NETWORKS, check_network_name
from radiotrain.split.split import Split, load_split
from radiotrain.training.resources import demand_of, device_bytes, memory_bytes

# Not 2: of an odd number of patients it would leave one alone, and batch norm needs two.
_BATCH_SIZES = (16, 8, 4)
# An epoch of fewer steps hardly learns.
_FEWEST_STEPS = 4
# Of a device's memory; libraries and other processes want some, too.
_USABLE = 0.8
_MOST_COVARIATES_NAMED = 12


@dataclass(frozen=True)
class Suggestion:
    """Settings, nested as in a file, and sentences that say why, by dotted key."""

    values: Mapping[str, Any]
    notes: Mapping[str, Sequence[str]]


def suggest_run(
    store: Store,
    split_url: str,
    *,
    targets: Sequence[str] = (),
    network: str | None = None,
) -> Suggestion:
    """Return settings of a run.

    Parameters
    ----------
    split_url
        Of the store's split, whether it is there yet or not.
    targets, network
        Where they are known; by default the first target with positive and negative patients, and
        the first of the paper's networks that reads the store's crops.
    """
    learnt = _learnable(store, targets)[:1] if not targets else _learnable(store, targets)
    name = _networks(store, [network] if network else PAPER_NETWORKS)[0]
    split = _split(store, split_url)
    folds = f"This split: 0 to {split.num_folds - 1}." if split else None
    train, train_notes = _train(store, split, split_url, [name])
    values = {
        "store": store.url,
        "split": split_url,
        "out": f"runs/{'+'.join(learnt)}_{name}",
        "targets": learnt,
        "network": {"name": name},
        "train": train,
    }
    notes = {
        "targets": _target_notes(store),
        "fold": [folds] if folds else [],
        "network.name": _network_notes(store),
        "network.covariates": _covariate_notes(store),
        **train_notes,
    }
    return Suggestion(values, notes)


def suggest_sweep(
    store: Store,
    split_url: str,
    *,
    targets: Sequence[str] = (),
    networks: Sequence[str] = (),
) -> Suggestion:
    """Return settings of a sweep: by default the paper's networks, and all targets that can be learnt."""
    chosen = _networks(store, networks or PAPER_NETWORKS)
    split = _split(store, split_url)
    folds = f"This split: 0 to {split.num_folds - 1}." if split else None
    train, train_notes = _train(store, split, split_url, chosen)
    values = {
        "store": store.url,
        "split": split_url,
        "out": "sweep",
        "networks": chosen,
        "targets": _learnable(store, targets),
        "train": train,
    }
    notes = {
        "networks": _network_notes(store),
        "targets": _target_notes(store),
        "folds": [folds] if folds else [],
        **train_notes,
    }
    return Suggestion(values, notes)


def batch_size_for(num_train: int) -> int:
    """Return the largest usual batch size that leaves an epoch some steps."""
    return next((b for b in _BATCH_SIZES if num_train >= _FEWEST_STEPS * b), _BATCH_SIZES[-1])


def _counts(store: Store) -> dict[str, tuple[int, int]]:
    """Return the numbers of positive and negative patients, by target."""
    return {
        target: (int(np.sum(column == 1)), int(np.sum(column == 0)))
        for target, column in zip(store.targets, store.labels.T, strict=True)
    }


def _learnable(store: Store, targets: Sequence[str]) -> list[str]:
    if targets:
        target_columns(store, targets)
    counts = _counts(store)
    found = [target for target in targets or store.targets if min(counts[target]) > 0]
    if len(found) < len(targets) or not found:
        told = ", ".join(f"{t} {counts[t][0]} and {counts[t][1]}" for t in targets or store.targets)
        raise InputError(
            f"store {store.url} has positive and negative patients: {told}, expected some of both:"
            " choose other targets, or add patients to the cohort"
        )
    return found


def _networks(store: Store, names: Sequence[str]) -> list[str]:
    """Return those that read the store's crops; where none does, one that reads any."""
    crop = store.spec.crop_shape
    known = [check_network_name(name) for name in names]
    fitting = [name for name in known if NETWORKS[name].smallest_side <= min(crop)]
    if len(fitting) < len(known) and tuple(names) != PAPER_NETWORKS:
        name = next(name for name in known if name not in fitting)
        side = NETWORKS[name].smallest_side
        raise InputError(
            f"network {name} reads crops of {side}×{side}×{side} or more, and store {store.url} has"
            f" {'×'.join(map(str, crop))}: choose another, see 'radiotrain models'"
        )
    return fitting or ["ResNet18"]


def _split(store: Store, url: str) -> Split | None:
    return load_split(url, store) if files.exists(files.absolute(url)) else None


def _train(
    store: Store, split: Split | None, split_url: str, networks: Sequence[str]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    if split is not None:
        sizes = {len(split.train_ids(fold)) for fold in range(split.num_folds)}
    else:
        usual = SplitSettings()
        sizes = {int(len(store.patient_ids) * (1 - usual.test_fraction) * (1 - 1 / usual.folds))}
    num_train = min(sizes)
    batch_size = batch_size_for(num_train)
    values: dict[str, Any] = {"batch_size": batch_size}
    notes = {
        "train.batch_size": [
            f"{num_train} patients train: {-(-num_train // batch_size)} steps an epoch."
        ]
    }
    most = _at_a_time(store, split_url, networks, batch_size, sizes)
    if most is not None:
        values["micro_batch_size"] = most
        notes["train.micro_batch_size"] = [
            "Counted for this machine's memory; another may take more, which is quicker."
        ]
    return values, notes


def _at_a_time(
    store: Store, split_url: str, networks: Sequence[str], batch_size: int, sizes: Iterable[int]
) -> int | None:
    """Return how many patients this machine can compute at a time; None where it is the batch."""
    device = choose_device("auto")
    room = _USABLE * device_bytes(device)
    num, needed = batch_size, 0.0
    while num >= 2:
        needed = max(
            memory_bytes(
                demand_of(_run(store, split_url, name, num)),
                store.image_shape,
                half_precision=device.type == "cuda",
            )
            for name in networks
        )
        if needed <= room:
            break
        num //= 2
    num = leaving_nobody_alone(sizes, batch_size, max(num, 2))
    return None if num >= batch_size else num


def leaving_nobody_alone(sizes: Iterable[int], batch_size: int, at_a_time: int) -> int:
    """Return how many patients, or a few more, can be computed at a time so that none is alone.

    Parameters
    ----------
    sizes
        Training patients of each fold.
    """
    for num in range(at_a_time, batch_size):
        with suppress(InputError):
            for size in sizes:
                check_batches(size, batch_size, 1, num)
            return num
    return batch_size


def _run(store: Store, split_url: str, network: str, batch_size: int) -> RunConfig:
    return RunConfig.model_validate(
        {
            "store": store.url,
            "split": split_url,
            "out": "runs",
            "network": {"name": network},
            "train": {"batch_size": batch_size},
        }
    )


def _target_notes(store: Store) -> list[str]:
    counts = _counts(store)
    told = ", ".join(f"{target} ({p} positive, {n} negative)" for target, (p, n) in counts.items())
    return [f"This store: {told}."]


def _network_notes(store: Store) -> list[str]:
    crop = store.spec.crop_shape
    fitting = [name for name, f in NETWORKS.items() if f.smallest_side <= min(crop)]
    told = [
        f"Those that read this store's crops of {'×'.join(map(str, crop))}: {', '.join(fitting)}."
    ]
    if len(fitting) < len(NETWORKS):
        too_large = [f"{n} ({f.smallest_side})" for n, f in NETWORKS.items() if n not in fitting]
        told.append(f"Not (smallest side): {', '.join(too_large)}.")
    return told


def _covariate_notes(store: Store) -> list[str]:
    known = sorted({name for record in store.records for name in record.covariates})
    allowed = [name for name in known if _is_allowed(name, known)]
    if not allowed:
        return ["This store has none."]
    more = len(allowed) - _MOST_COVARIATES_NAMED
    shown = ", ".join(allowed[:_MOST_COVARIATES_NAMED])
    return [f"This store: {shown}{f' and {more} more' if more > 0 else ''}."]


def _is_allowed(name: str, known: Sequence[str]) -> bool:
    try:
        check_covariate_name(name, known)
    except InputError:
        return False
    return True
