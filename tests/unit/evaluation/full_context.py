"""A context that knows everything about two networks, for tests of card and checklists."""

from __future__ import annotations

from radiotrain.evaluation.leak_checks import LeakCheck
from radiotrain.evaluation.report.context import (
    CohortFlow,
    DataFacts,
    FoldCounts,
    LabelCounts,
    ModelFacts,
    ReportContext,
    RunFacts,
)
from radiotrain.split.access_log import AccessRecord

CONFIG = {
    "train": {"epochs": 20, "lr": 0.001, "class_weights": True, "sampling": "once"},
    "augment": {"enabled": True},
}
DATA = DataFacts(
    layout="manifest",
    num_phases=4,
    crop_shape=(24, 24, 12),
    spacing_mm=((1.0, 1.0, 2.0), (1.5, 1.5, 2.0), (2.0, 2.0, 3.0)),
    preprocessing={"region": "box", "motion": "none", "resample_mm": None},
    acquisition=(("manufacturer", "SIEMENS", 40), ("manufacturer", "GE", 20)),
    covariates=("age", "manufacturer"),
    stratified_over=("ER",),
    num_folds=2,
    split_seed=7,
)
FLOW = CohortFlow(
    num_patients=84,
    excluded=(("X1", "NO_BOX", "no box"),),
    num_train=30,
    num_validation=29,
    num_test=24,
    folds=(FoldCounts(0, 30, 29), FoldCounts(1, 29, 30)),
    labels=(LabelCounts("ER", "development", 30, 28, 1), LabelCounts("ER", "test", 12, 12, 0)),
)


def make_model(run: str = "net", **more: object) -> ModelFacts:
    values: dict[str, object] = {
        "run": run,
        "network": "ResNet18",
        "targets": ("ER",),
        "num_parameters": 1_234_567,
        "seed": 3,
        "fold": 0,
        "epochs": 20,
        "best_epoch": 11,
        "config": CONFIG,
    }
    return ModelFacts(**{**values, **more})  # type: ignore[arg-type]


def make_context(*models: ModelFacts, **more: object) -> ReportContext:
    values: dict[str, object] = {
        "flow": FLOW,
        "facts": RunFacts(models or (make_model(),), DATA, {"torch": "2.9", "monai": "1.5"}),
        "openings": (AccessRecord("2026-01-02T03:04:05+00:00", "final test", ("net",), "abc"),),
        "provenance": {"store": "cohort.zarr"},
        "leak_checks": (LeakCheck("Twice?", "clear", "83 patients", ()),),
        "warnings": ("The store was moved.",),
    }
    return ReportContext(**{**values, **more})  # type: ignore[arg-type]
