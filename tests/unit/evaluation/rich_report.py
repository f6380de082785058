"""A report with every section in it, and with names and places that no page may give away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.leak_checks import LeakCheck
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.characteristics import describe_partitions
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.saliency.saliency_results import (
    Mean,
    PatientSaliency,
    Picture,
    RunSaliency,
    Saliency,
    judge_saliency,
)
from radiotrain.evaluation.shortcuts.shortcut_results import (
    AcquisitionResult,
    Fall,
    FallResult,
    LeftOut,
    ProbeResult,
    ScannerResult,
    Shortcuts,
    judge_shortcut,
)
from radiotrain.evaluation.stability.replicates import add_ensembles
from radiotrain.evaluation.subgroups.covariates import Facts
from radiotrain.evaluation.subgroups.subgroup_tests import find_subgroups
from radiotrain.split.access_log import AccessRecord
from radiotrain.split.test_set_access import TestPart
from radiotrain.statistics.stratified_auc import Area
from tests.unit.evaluation.full_context import make_context, make_model

NUM_TEST, NUM_VALIDATION = 90, 60
HOME = "/home/ada/studies 2/duke"
RUNS = ("net seed 0", "net seed 1", "other")
BASELINES = ("baseline clinical (logistic)", "baseline size (boosting)")

CHANCE, CLEAR = Area(0.5, (0.45, 0.55), 60, 30), Area(0.8, (0.7, 0.9), 60, 30)
WIDE, NONE = Area(0.5, (0.3, 0.7), 60, 30), Area(None, None, 0, 0, "nothing is known")
STAYS, FALLS = Fall(0.7, 0.69, 0.01, (-0.01, 0.02), 60), Fall(0.7, 0.6, 0.1, (0.05, 0.15), 60)


def patient_ids(split: str) -> list[str]:
    num = NUM_TEST if split == "test" else NUM_VALIDATION
    return [f"ZQ-{split[:2].upper()}-{k:04d}" for k in range(num)]


def make_table(*runs: str, targets: tuple[str, ...] = ("ER",)) -> pd.DataFrame:
    tables = []
    for number, run in enumerate(runs):
        for target in targets:
            rng = np.random.default_rng(17 * number + len(target))
            for split in ("validation", "test"):
                ids = patient_ids(split)
                labels = np.arange(len(ids)) % 3 == 0
                noise = rng.normal(0, 1.2, len(ids))
                shown = {
                    "run": run,
                    "patient_id": ids,
                    "target": target,
                    "split": split,
                    "fold": pd.array([pd.NA if split == "test" else 0] * len(ids), dtype="Int64"),
                    "label": labels.astype(int),
                    "probability": (1 / (1 + np.exp(-(noise + labels - 0.5)))).round(5),
                }
                tables.append(pd.DataFrame(shown))
    return pd.concat(tables, ignore_index=True)


def full_table() -> pd.DataFrame:
    """Two trainings of one configuration with their ensemble, another network, two baselines."""
    table = make_table(*RUNS, *BASELINES)
    known = {RUNS[0]: ("net", 0), RUNS[1]: ("net", 1)}
    table["configuration"] = [known.get(run, ("", None))[0] for run in table["run"]]
    seeds = [known.get(run, ("", None))[1] for run in table["run"]]
    return add_ensembles(validate_predictions(table.assign(seed=pd.array(seeds, dtype="Int64"))))


def facts() -> Facts:
    ids = [*patient_ids("validation"), *patient_ids("test")]
    covariates = {
        patient: {
            "age_years": 30.0 + k % 45,
            "manufacturer": "GE" if k % 2 else "Siemens",
            # Two patients of the test set: their counts are withheld, and so is a count beside them.
            "menopause": "pre" if patient in patient_ids("test")[:2] else "post",
        }
        for k, patient in enumerate(ids)
    }
    labels = {i: int(k % 3 == 0) for part in ("validation", "test")
              for k, i in enumerate(patient_ids(part))}  # fmt: skip
    return Facts(covariates, {"ER": labels}, f"store {HOME}/store.zarr")


def make_shortcuts(run: str = "other") -> Shortcuts:
    """All verdicts that the gate has, of targets named after them."""
    left_out = LeftOut(run, "ER", "GE", CHANCE, CLEAR)
    cases = {
        "A": (CHANCE, CHANCE, CLEAR, STAYS),
        "B": (WIDE, CHANCE, CHANCE, STAYS),
        "C": (CLEAR, CHANCE, CLEAR, STAYS),
        "D": (CLEAR, CHANCE, None, None),
        "E": (CHANCE, CLEAR, None, STAYS),
        "F": (NONE, CHANCE, None, None),
        "G": (CHANCE, CHANCE, None, None),
        "H": (CHANCE, CHANCE, CLEAR, FALLS),
        "ER": (CLEAR, CHANCE, CLEAR, FALLS),
    }
    verdicts = tuple(
        judge_shortcut(run, target, *case, left_out if target == "ER" else None)
        for target, case in cases.items()
    )
    return Shortcuts(
        scanner="manufacturer",
        acquisition=(AcquisitionResult("ER", "manufacturer", CLEAR),),
        probes=(ProbeResult(run, "manufacturer", "GE or not", CLEAR),),
        by_scanner=(ScannerResult(run, "ER", "GE", CHANCE), ScannerResult(run, "ER", "B", NONE)),
        falls=(FallResult(run, "ER", FALLS),),
        left_out=(left_out,),
        verdicts=verdicts,
    )


def make_saliency() -> Saliency:
    """A map of each kind."""
    patient = PatientSaliency(
        patient_ids("test")[0], 1, 0.98765, True, 0.4, 0.1, True, 0.3, 0.5, 0.1, 0.2, 0.1, 0.01
    )
    high, low, zero = Mean(2.0, (1.5, 2.5)), Mean(0.5, (0.2, 0.8)), Mean(0.0, (-0.1, 0.1))
    alike, none = Mean(0.9, (0.8, 1.0)), Mean(None, None)
    runs = []
    for ratio, deletion, occlusion, picture, boxes in (
        (high, high, low, zero, zero),
        (zero, Mean(0.1, (-0.1, 0.3)), zero, alike, zero),
        (low, zero, zero, alike, alike),
        (none, none, none, none, none),
    ):
        kind, sentences = judge_saliency(ratio, deletion, occlusion, picture=picture, boxes=boxes)
        runs.append(
            RunSaliency("other", "ER", (patient,), ratio, deletion, (0.1,), (0.0,), occlusion, zero,
                        picture, boxes, 0.5, (0.1, 0.9), kind, sentences)
        )  # fmt: skip
    drawn = Picture("data:image/jpeg;base64,AAAA", "Three slices.", "ER-positive test patient")
    return Saliency((0.1, 0.5), tuple(runs), {("other", "ER"): (drawn,)})


def make_full_context(table: pd.DataFrame) -> ReportContext:
    """Everything, with ids and places of a machine wherever a context may hold them."""
    models = (make_model(RUNS[0]), make_model("other", initial_weights=f"{HOME}/weights.pt"))
    known = make_context(*models)
    assert known.flow is not None
    flow = replace(
        known.flow,
        excluded=(("ZQ-EX-0001", "NO_BOX", f"no box in {HOME}/boxes.csv"),),
        note=f"3 folds; made from sweep {HOME.replace(' ', '_')}/sweep, seed 3.",
    )
    leak = LeakCheck(
        "One examination under two ids", "found", "83 patients",
        ("Leak: two ids look like one examination.",), (("ZQ-TE-0001", "ZQ-VA-0002"),),
    )  # fmt: skip
    partitions = {"Validation": patient_ids("validation"), "Test": patient_ids("test")}
    ids = patient_ids("test")
    return replace(
        known,
        flow=flow,
        leak_checks=(leak, LeakCheck("Twice?", "clear", "83 patients")),
        openings=(
            AccessRecord(
                "2026-01-02T03:04:05+00:00",
                "final",
                ("other",),
                "abc",
                {"other": f"ResNet18 from {HOME.replace(' ', '_')}/w.pt"},
            ),
        ),
        log_problems=(f"an entry of '{HOME}/splits.json' is missing",),
        test_parts=(TestPart(1, tuple(ids[:50]), 2), TestPart(2, tuple(ids[50:]), 1)),
        provenance={
            "store": f"{HOME}/store.zarr",
            "run other": {"store": f"{HOME}/store.zarr", "out": f"{HOME}/runs/other", "lr": 0.1},
        },
        warnings=(f"Split '{HOME}/splits.json' was extended.", *leak.findings),
        shortcuts=make_shortcuts(),
        saliency=make_saliency(),
        subgroups=find_subgroups(table, facts()),
        characteristics=describe_partitions(partitions, facts(), ("ER",)),
        generated_at="2026-02-03T04:06+00:00",
    )


def write_full_report(out: Path) -> None:
    table = full_table()
    evaluation = evaluate_table(table, num_resamples=100)
    write_report(evaluation, table, out, context=make_full_context(table), figures=True)


def write_table_report(out: Path) -> None:
    """Of a table that says nothing of its patients, and has no validation rows."""
    table = make_table("a model", targets=("Ki67",))
    table = validate_predictions(table[table["split"] == "test"])
    write_report(evaluate_table(table, num_resamples=100), table, out)
