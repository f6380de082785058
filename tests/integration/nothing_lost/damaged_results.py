"""A tiny result of each kind, whole, for tests that spoil copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.folder import Suggestion, SweepFolder, TrialInterval
from cluster.sweep.progress import read_progress
from cluster.sweep.promote import plan_promotions, promote
from preprocessing.store import Store
from radiotrain.config.run_config import parse_config
from radiotrain.evaluation.compare.report_folder import read_report
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.model import open_model, open_models
from radiotrain.evaluation.report.write import write_report
from radiotrain.export.load import load_export
from radiotrain.export.write import Exporter
from radiotrain.inference.run_model import load_run_models
from radiotrain.runs.checked_files import read_json
from radiotrain.runs.checkpoint import save_weights
from radiotrain.runs.predict_run import check_best, read_best
from radiotrain.runs.promoted import read_promoted
from radiotrain.runs.provenance import read_inputs
from radiotrain.runs.run_folder import PredictedBy, RunFolder, RunRecord
from radiotrain.split.split import load_split, make_split, save_split
from radiotrain.training.loop import train
from tests.checked_files import change_config, change_history, change_values
from tests.commands import call
from tests.unit.evaluation.test_compare import make_table
from tests.unit.export.trained import train_run, write_full_store

TRAIN = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}


@dataclass(frozen=True)
class Results:
    """Folders of results. `others` are runs that differ from `run` in one thing each."""

    folder: Path
    run: Path
    others: dict[str, Path]
    sweep: Path
    promoted: Path
    export: Path
    reports: tuple[Path, Path]
    comparison: Path

    @property
    def split(self) -> Path:
        return self.folder / "splits.json"


def make_results(folder: Path) -> Results:
    torch.set_num_threads(1)
    store = write_full_store(str(folder / "store"))
    split_url = str(folder / "splits.json")
    save_split(make_split(store, seed=3, num_folds=4), split_url)
    sweep = _train_sweep(store, split_url, folder / "sweep")
    runs = {run.fold: Path(run.out) for run in plan_trials(sweep)[0].runs}
    others = {"fold": runs[1]}
    for name, changes in (("target", {"targets": ["PR"]}), ("seed", {"seed": 1})):
        others[name] = folder / f"other-{name}"
        train_run(store, split_url, others[name], **changes)
    others["network"] = _with_another_network(runs[0], folder / "other-network")
    others["weights"] = _trained_elsewhere(runs[0], folder / "other-weights")
    (promotion,) = plan_promotions(sweep.out)
    promote(promotion, lambda *_: None)
    Exporter(str(runs[0]), "safetensors", str(folder / "export")).write(lambda: None)
    reports = (folder / "report-a", folder / "report-b")
    for report, shift in zip(reports, (0.8, 1.6), strict=True):
        table = make_table(shift=shift, num=30)
        write_report(evaluate_table(table, num_resamples=100), table, report)
    call("compare", *reports, "--out", folder / "comparison", "--resamples", 100)
    return Results(
        folder,
        runs[0],
        others,
        Path(sweep.out),
        Path(promotion.url),
        folder / "export",
        reports,
        folder / "comparison",
    )


def _train_sweep(store: Store, split_url: str, out: Path) -> SweepConfig:
    values = {
        "store": store.url,
        "split": split_url,
        "out": str(out),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "folds": [0, 1],
        "train": TRAIN,
        "halving": {"enabled": False},
        "logging": {"tensorboard": False},
        "device": "cpu",
    }
    sweep = parse_config(SweepConfig, values, "test")
    written = SweepFolder(sweep.out)
    written.write_sweep(sweep)
    (plan,) = plan_trials(sweep)
    for run in plan.runs:
        train(run, reporter=lambda _: None)
    written.add_suggestion(Suggestion("ER", 0, "ResNet10-narrow", {"train.lr": 1e-3}))
    for rung in (1, 2):
        written.add_segment(TrialInterval(plan.name, rung, 1, "host", 1, 1.0, 2.0, 3.5, 0.25))
    return sweep


def _with_another_network(run: Path, out: Path) -> Path:
    """A run that says to have another network, whose files agree with each other."""
    shutil.copytree(run, out)
    config = RunFolder(str(run)).read_config()
    assert config is not None
    network = config.network.model_copy(update={"name": "ResNet10"})
    change_config(out, config.model_copy(update={"network": network, "out": str(out)}))
    return out


def _trained_elsewhere(run: Path, out: Path) -> Path:
    """The same training on another machine, which rounds otherwise."""
    shutil.copytree(run, out)
    folder = RunFolder(str(out))
    record, table = record_of(out), folder.read_predictions()
    saved = torch.load(folder.best_weights, weights_only=True)
    saved["weights"] = {
        name: value + 1e-3 if value.is_floating_point() else value
        for name, value in saved["weights"].items()
    }
    weights = save_weights(folder.best_weights, saved)
    made_by = PredictedBy(record.run_digest, weights)
    folder.write_predictions(table.assign(probability=table["probability"] * 0.999), made_by)
    change_values(out / "run.json", lambda values: values | {"weights_digest": weights})
    change_history(out, lambda epochs: [replace(m, train_loss=m.train_loss + 1e-3) for m in epochs])
    return out


def record_of(run: Path) -> RunRecord:
    record = RunFolder(str(run)).read_record()
    assert record is not None
    return record


def evaluate(run: Path) -> None:
    """What ``radiotrain evaluate`` does before it opens the test set."""
    (model,) = open_models([str(run)])
    store = Store.open(model.config.store)
    model.validation(store, load_split(model.config.split, store))


def export(run: Path) -> None:
    """What ``radiotrain export`` does before it writes anything."""
    Exporter(str(run), "safetensors", f"{run}-exported")


def predict(run: Path) -> None:
    """What ``radiotrain predict`` does before it reads images."""
    load_run_models([str(run)], "cpu")


def promote_sweep(sweep: Path) -> None:
    """What ``radiotrain promote`` does before it writes anything."""
    plan_promotions(str(sweep), out=f"{sweep}-models")


def show_status(sweep: Path) -> None:
    read_progress(str(sweep))


def readers(results: Results) -> dict[str, tuple[Path, Callable[[], Any]]]:
    """Return each file that decides, and how it is read."""
    run, record = RunFolder(str(results.run)), record_of(results.run)
    sweep, report = SweepFolder(str(results.sweep)), results.reports[0]
    return {
        "run.json": (results.run / "run.json", run.read_record),
        "config.yaml": (results.run / "config.yaml", run.read_config),
        "metrics.jsonl": (results.run / "metrics.jsonl", lambda: run.read_history(record)),
        "inputs.json": (results.run / "inputs.json", lambda: read_inputs(run.url, record)),
        "predictions.parquet": (
            results.run / "predictions.parquet",
            lambda: run.read_predictions(PredictedBy.of(record)).to_dict(),
        ),
        "best.pt": (
            Path(run.best_weights),
            lambda: check_best(read_best(run), run.best_weights, record)["epoch"],
        ),
        "splits.json": (results.split, lambda: load_split(str(results.split))),
        "promoted.json": (
            results.promoted / "promoted.json",
            lambda: read_promoted(str(results.promoted)),
        ),
        "promoted predictions": (
            results.promoted / "predictions.parquet",
            lambda: open_model(str(results.promoted)).kept_predictions().to_dict(),
        ),
        "sweep.yaml": (results.sweep / "sweep.yaml", sweep.read_sweep),
        "suggested.json": (results.sweep / "suggested.json", sweep.read_suggestions),
        "timeline.json": (results.sweep / "timeline.json", sweep.read_timeline),
        "model.json": (
            results.export / "model.json",
            lambda: load_export(str(results.export)).description,
        ),
        "safetensors": (
            results.export / "network-0.safetensors",
            lambda: load_export(str(results.export)).description,
        ),
        "metrics.json": (report / "metrics.json", lambda: read_report(str(report)).provenance),
        "report predictions": (
            report / "predictions.parquet",
            lambda: read_report(str(report)).table.to_dict(),
        ),
        "comparison.json": (
            results.comparison / "comparison.json",
            lambda: read_json(str(results.comparison / "comparison.json"), 2, "compare again"),
        ),
    }


KINDS = (
    "run.json", "config.yaml", "metrics.jsonl", "inputs.json", "predictions.parquet", "best.pt",
    "splits.json", "promoted.json", "promoted predictions", "sweep.yaml", "suggested.json",
    "timeline.json", "model.json", "safetensors", "metrics.json", "report predictions",
    "comparison.json",
)  # fmt: skip
