"""Sweeps that take seconds."""

from __future__ import annotations

import pytest

from cluster.sweep.config import SweepConfig
from cluster.sweep.folder import SweepFolder, read_states, summaries
from radiotrain.config.run_config import parse_config


@pytest.fixture(scope="session")
def make_sweep(store, split_url):
    """Return a function that makes a sweep's configuration: two trials for each of two targets."""

    def make(out, **changes):
        values = {
            "store": store.url,
            "split": split_url,
            "out": str(out),
            "networks": ["ResNet10-narrow"],
            "targets": ["ER", "PR"],
            "seeds": [0, 1],
            "train": {"epochs": 4, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
            "halving": {"grace_epochs": 1, "reduction_factor": 2},
            "logging": {"tensorboard": False},
            # Two at a time: it is starting a trial's process that takes time.
            "resources": {"cpus": 2},
            "device": "cpu",
        }
        return parse_config(SweepConfig, values | changes, "test")

    return make


@pytest.fixture(scope="session")
def look():
    """Return a function that reads from storage how a sweep's trials stand, by name."""

    def read(sweep):
        plans = SweepFolder(sweep.out).read_plans(sweep)
        return {s.plan.name: s for s in summaries(sweep, read_states(plans))}

    return read
