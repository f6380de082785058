"""Write ``metrics.json``; undefined values are null."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest
from radiotrain.evaluation.published import published_for
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.runs.checked_files import read_json
from radiotrain.version import __version__

SCHEMA_VERSION = 4
FILE_NAME, TABLE_NAME = "metrics.json", "predictions.parquet"


def metrics_json(evaluation: Evaluation, extra: dict[str, Any] | None = None) -> str:
    """Return the text of ``metrics.json``; docs/metrics-json.md explains every key.

    Parameters
    ----------
    evaluation
        From `evaluate.evaluate_table`.
    extra
        More JSON values to keep beside the numbers (flow, access log, provenance).
    """
    runs: dict[str, dict[str, Any]] = {}
    for result in evaluation.results:
        runs.setdefault(result.run, {})[result.target] = _values(result)
    document = {
        "schema_version": SCHEMA_VERSION,
        "generated_by": f"radiotrain {__version__}",
        "runs": runs,
        "comparisons": [asdict(comparison) for comparison in evaluation.comparisons],
        "warnings": list(evaluation.warnings),
        "bootstrap": {"seed": evaluation.seed, "num_resamples": evaluation.num_resamples},
        "confidence": evaluation.confidence,
        "family": asdict(evaluation.family),
        "cohort": evaluation.cohort,
        "published": [
            asdict(row)
            for target in dict.fromkeys(r.target for r in evaluation.results)
            for row in published_for(target, evaluation.cohort)
        ],
        "sampling": evaluation.sampling,
        **(extra or {}),
    }
    return dump_with_digest(document, in_order=True)


def read_metrics(folder: str) -> dict[str, Any] | None:
    """Return the numbers of a report, None where its folder has none.

    Raises
    ------
    SchemaError, DamagedFileError
        If another version wrote them, or they are not what was written.
    """
    url = files.join(files.absolute(folder), FILE_NAME)
    table = files.join(files.absolute(folder), TABLE_NAME)
    remedy = f"make it again with 'radiotrain evaluate', from its runs or --predictions {table}"
    try:
        return read_json(url, SCHEMA_VERSION, remedy)
    except (FileNotFoundError, NotADirectoryError):
        return None


def fingerprint_in(provenance: Mapping[str, Any], of: str) -> str | None:
    """Return the fingerprint of a store or split that a report names in its provenance.

    Parameters
    ----------
    of
        ``store``, ``split``, or ``split of`` an outer part.
    """
    known = provenance.get("fingerprints")
    if isinstance(known, Mapping):
        value = known.get(of)
        return value if isinstance(value, str) else None
    # Earlier reports have it in a sentence only.
    found = re.search(r"fingerprint (\w+)", str(provenance.get(of, "")))
    return found[1] if found else None


def _values(result: TargetResult) -> dict[str, Any]:
    values = asdict(result)
    del values["run"], values["target"]
    return values
