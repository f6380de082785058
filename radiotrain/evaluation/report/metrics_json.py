"""All numbers of an evaluation as strictly valid JSON: null for what is undefined, never NaN."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import radiotrain
from radiotrain.evaluation.report.published import PUBLISHED
from radiotrain.evaluation.results import Evaluation, TargetResult

SCHEMA_VERSION = 2


def metrics_json(evaluation: Evaluation, extra: dict[str, Any] | None = None) -> str:
    """Return the text of ``metrics.json``; docs/metrics-json.md explains every key.

    Parameters
    ----------
    evaluation
        From `evaluate.evaluate_table`.
    extra
        More JSON values to keep beside the numbers (flow, openings, provenance).
    """
    runs: dict[str, dict[str, Any]] = {}
    for result in evaluation.results:
        runs.setdefault(result.run, {})[result.target] = _values(result)
    document = {
        "schema_version": SCHEMA_VERSION,
        "generated_by": f"radiotrain {radiotrain.__version__}",
        "runs": runs,
        "comparisons": [asdict(comparison) for comparison in evaluation.comparisons],
        "warnings": list(evaluation.warnings),
        "bootstrap": {"seed": evaluation.seed, "num_resamples": evaluation.num_resamples},
        "confidence": evaluation.confidence,
        "published": [asdict(row) for row in PUBLISHED],
        **(extra or {}),
    }
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _values(result: TargetResult) -> dict[str, Any]:
    values = asdict(result)
    del values["run"], values["target"]
    return values
