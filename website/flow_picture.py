"""From the cohort to the report, as a picture: each arrow a value, each box the function that makes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

_COLOURS = {"radiotrain": "#00897b", "preprocessing": "#ef6c00"}
_WIDTH, _BOX, _STEP, _LEFT, _TOP = 760, 52, 92, 40, 50
_BOX_WIDTH = 440
_STYLE = "font-family:system-ui,sans-serif;font-size:13px"


@dataclass(frozen=True)
class Stage:
    """One function on the way.

    Parameters
    ----------
    module, function
        Where it is; a method with its class.
    takes, gives
        Names of types among its parameters, and in what it returns.
    says
        What it does.
    value
        What it gives, in words.
    """

    module: str
    function: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    says: str
    value: str


FLOW = (
    Stage(
        "preprocessing.cohort.read_cohort", "read_cohort", (), ("Cohort",),
        "Duke as TCIA ships it, MAMA-MIA, a manifest CSV",
        "Cohort: patients, phases, boxes, labels, findings",
    ),
    Stage(
        "preprocessing.images.load_patient", "open_patient", ("Patient",), ("OpenedPatient", "Finding"),
        "phases ordered, geometry known, no voxel read",
        "OpenedPatient, or findings that say why not",
    ),
    Stage(
        "preprocessing.pipeline.process_patient", "process_patient", ("Patient", "PreprocessConfig"),
        ("PatientRecord", "PatientTensor"),
        "bias field, crop, motion; one patient a Dask task",
        "PatientTensor (P, R, C, S) and PatientRecord",
    ),
    Stage(
        "preprocessing.store.writer", "StoreWriter.finish", (), ("Store",),
        "voxels first, then the record, the index last",
        "Store: int16, one chunk a patient",
    ),
    Stage(
        "radiotrain.split.split", "make_split", ("Store",), ("Split",),
        "patient-wise, jointly stratified, test set sealed",
        "Split: folds and test ids, fingerprinted",
    ),
    Stage(
        "radiotrain.data.patients", "load_patients", ("Store", "Split"), ("Patients",),
        "on the device, shared on the host, or streamed",
        "Patients: one part of the split",
    ),
    Stage(
        "radiotrain.training.loop", "train", ("RunConfig",), ("RunResult",),
        "alone, by DDP (cluster.train), or as a trial (cluster.sweep)",
        "run folder: weights, metrics, predictions",
    ),
    Stage(
        "radiotrain.evaluation.from_runs", "predict_runs", (), ("DataFrame", "ReportContext"),
        "the only one that opens the test set, on record",
        "predictions table",
    ),
    Stage(
        "radiotrain.evaluation.evaluate", "evaluate_table", ("DataFrame",), ("Evaluation",),
        "statistics, from this table alone",
        "Evaluation: every number with its interval",
    ),
    Stage(
        "radiotrain.evaluation.report.write", "write_report", ("Evaluation", "DataFrame"), ("str",),
        "page, checklists, model card",
        "report.html, metrics.json",
    ),
)  # fmt: skip


def draw_flow() -> str:
    """Return the picture as SVG."""
    height = _TOP + _STEP * len(FLOW) + 20
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" style="{_STYLE}">',
        "<title>From the cohort to the report</title>",
        (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
            ' orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#555555"/></marker></defs>'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT + 20}" y="24" fill="#222222">a folder, a CSV, or s3://bucket/prefix</text>',
        _arrow(_LEFT + 10, 12, _TOP),
    ]
    for i, stage in enumerate(FLOW):
        lines += _stage(stage, _TOP + _STEP * i)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _stage(stage: Stage, top: float) -> Iterator[str]:
    colour = _COLOURS[stage.module.split(".")[0]]
    yield (
        f'<rect x="{_LEFT}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX}" rx="6" fill="{colour}"'
        f' fill-opacity="0.12" stroke="{colour}"/>'
    )
    yield (
        f'<text x="{_LEFT + 12}" y="{top + 21}" fill="{colour}"><tspan>{escape(stage.module)}.</tspan>'
        f'<tspan font-weight="bold">{escape(stage.function)}</tspan></text>'
    )
    yield f'<text x="{_LEFT + 12}" y="{top + 41}" fill="#222222">{escape(stage.says)}</text>'
    yield _arrow(_LEFT + 10, top + _BOX, top + _STEP)
    yield f'<text x="{_LEFT + 24}" y="{top + _BOX + 25}" fill="#222222">{escape(stage.value)}</text>'


def _arrow(x: float, begin: float, end: float) -> str:
    return (
        f'<line x1="{x}" y1="{begin}" x2="{x}" y2="{end}" stroke="#555555" marker-end="url(#tip)"/>'
    )
