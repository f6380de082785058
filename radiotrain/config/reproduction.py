"""Settings of the reproduction of the paper's table.

The steps: cohort → check → store → split → sweep → promoted models → report.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from preprocessing.common.config import PreprocessConfig
from radiotrain.config.run_config import Section

PAPER_NETWORKS = ("SEResNet50", "ResNet34", "SEResNext101")
"""Best for ER, PR and HER2: Shiri et al., Mol Imaging Biol 2025, abstract."""

QUICK: Mapping[str, Any] = {
    "preprocess": {"crop_shape": [24, 24, 12]},
    "sweep": {
        "networks": ["ResNet10-narrow", "ResNet10"],
        "folds": [0],
        "train": {"epochs": 20, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1},
        "augment": {"rotate_degrees": 10, "zoom": 0.05},
        "halving": {"grace_epochs": 6, "reduction_factor": 2},
    },
}
"""Small images, small networks, few epochs: the whole pipeline in minutes, as a rehearsal."""


class SplitSettings(Section):
    """How patients are divided; as the options of ``radiotrain split``."""

    seed: int = Field(default=0, ge=0)
    """Same store and seed, same split."""
    folds: int = Field(default=5, ge=2)
    """Folds over all but the test patients."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share kept for the test; the paper's is a fifth. Without outer parts only."""
    outer: int | None = Field(default=None, ge=2)
    """Parts of a cross-validated test, in which every patient is tested; null: one test set."""
    repeats: int = Field(default=1, ge=1)
    """How often all patients are divided into outer parts."""

    @property
    def num_outer(self) -> int:
        """Outer parts of all repeats; 0 where there is one test set."""
        return 0 if self.outer is None else self.outer * self.repeats


class ReproduceConfig(Section):
    """What differs from the paper's way, if anything."""

    preprocess: PreprocessConfig = PreprocessConfig()
    """As a file of settings for ``radiotrain preprocess``."""
    split: SplitSettings = SplitSettings()
    sweep: dict[str, Any] = Field(default_factory=dict)
    """As ``sweep.yaml``, without store, split and out; by default the paper's three networks for ER, PR
    and HER2, cross-validated over all folds."""

    def sweep_yaml(self, store: str, split: str, out: str) -> dict[str, Any]:
        """Return the sweep's configuration."""
        return {
            "store": store,
            "split": split,
            "out": out,
            "networks": list(PAPER_NETWORKS),
            "targets": ["ER", "PR", "HER2"],
            "folds": list(range(self.split.folds)),
            **self.sweep,
        }


def merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as one; where both have a value, that of `high`."""
    result = dict(low)
    for key, value in high.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result
