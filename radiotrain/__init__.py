"""From a cohort of breast DCE-MRI to tested networks for ER, PR and HER2.

The names in ``__all__`` are the public interface. They are imported when they are first used, so that
``import radiotrain`` stays cheap. Everything else may change without notice.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from radiotrain.version import __version__

if TYPE_CHECKING:
    from preprocessing.cohort.cohort import Cohort
    from preprocessing.cohort.read_cohort import read_cohort
    from preprocessing.qc.measures import relative_enhancement
    from preprocessing.store import Store
    from radiotrain.config.run_config import RunConfig, load_config
    from radiotrain.evaluation.evaluate import evaluate_table
    from radiotrain.evaluation.predictions import read_predictions
    from radiotrain.inference.open_model import load_model
    from radiotrain.runs.run_folder import RunFolder
    from radiotrain.split.split import Split, load_split, make_split, save_split
    from radiotrain.statistics.auc import auc, delong_interval
    from radiotrain.statistics.resampling import roc_band
    from radiotrain.training.loop import RunResult, train

__all__ = [
    "Cohort",
    "RunConfig",
    "RunFolder",
    "RunResult",
    "Split",
    "Store",
    "__version__",
    "auc",
    "delong_interval",
    "evaluate_table",
    "load_config",
    "load_model",
    "load_split",
    "make_split",
    "read_cohort",
    "read_predictions",
    "relative_enhancement",
    "roc_band",
    "save_split",
    "train",
]

_MODULES = {
    "Cohort": "preprocessing.cohort.cohort",
    "RunConfig": "radiotrain.config.run_config",
    "RunFolder": "radiotrain.runs.run_folder",
    "RunResult": "radiotrain.training.loop",
    "Split": "radiotrain.split.split",
    "Store": "preprocessing.store",
    "auc": "radiotrain.statistics.auc",
    "delong_interval": "radiotrain.statistics.auc",
    "evaluate_table": "radiotrain.evaluation.evaluate",
    "load_config": "radiotrain.config.run_config",
    "load_model": "radiotrain.inference.open_model",
    "load_split": "radiotrain.split.split",
    "make_split": "radiotrain.split.split",
    "read_cohort": "preprocessing.cohort.read_cohort",
    "read_predictions": "radiotrain.evaluation.predictions",
    "relative_enhancement": "preprocessing.qc.measures",
    "roc_band": "radiotrain.statistics.resampling",
    "save_split": "radiotrain.split.split",
    "train": "radiotrain.training.loop",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
