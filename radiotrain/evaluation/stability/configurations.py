"""Which runs are one configuration that was trained again."""

from __future__ import annotations

from collections.abc import Mapping

from radiotrain.config import RunConfig, digest

_OF_REPLICATES = ("seed", "fold")
_DIGITS = 6


def name_configurations(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """Return the name of each run's configuration; replicates have the same.

    Runs are replicates where they differ in nothing but seed, fold and where they are kept and
    computed. Names are short (targets and network), with a digest where that would not tell two
    configurations apart.

    Parameters
    ----------
    configs
        The configuration of each run, by the run's name.
    """
    digests = {run: _digest(config) for run, config in configs.items()}
    short = {run: _short_name(config) for run, config in configs.items()}
    digests_of: dict[str, set[str]] = {}
    for run, name in short.items():
        digests_of.setdefault(name, set()).add(digests[run])
    return {
        run: name if len(digests_of[name]) == 1 else f"{name} {digests[run][:_DIGITS]}"
        for run, name in short.items()
    }


def _digest(config: RunConfig) -> str:
    return digest({k: v for k, v in config.identity().items() if k not in _OF_REPLICATES})


def _short_name(config: RunConfig) -> str:
    return f"{'+'.join(config.targets)} {config.network.name}"
