"""Model card of an export, and how to run each format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from preprocessing.store import Store
from radiotrain.evaluation.baselines.covariates import FEWEST_OF_A_CATEGORY
from radiotrain.evaluation.model import Model
from radiotrain.evaluation.predicting import describe_flow, describe_runs
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.model_card import Line, Section, card_markdown, make_card
from radiotrain.evaluation.results import Evaluation
from radiotrain.export.description import ModelDescription
from radiotrain.split.split import Split

_NOTHING_TESTED = Evaluation(results=(), seed=0, num_resamples=0)


def export_card(
    model: Model, store: Store, split: Split, description: ModelDescription, how_to_run: str
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    how_to_run
        Markdown about the format, below a heading of its own.
    """
    facts = describe_runs(store, split, [model])
    origin = description.origin
    shown = replace(
        facts.models[0],
        # Without the places of the author's machine.
        initial_weights=origin.configuration["network"]["weights"],
        about=origin.made,
    )
    # As in model.json, what few patients have is not told.
    acquisition = tuple(a for a in facts.data.acquisition if a[2] >= FEWEST_OF_A_CATEGORY)
    context = ReportContext(
        flow=describe_flow(store, split, [model]),
        facts=replace(facts, models=(shown,), data=replace(facts.data, acquisition=acquisition)),
    )
    card = make_card(_NOTHING_TESTED, context)
    meaning = Section("What its probabilities mean", tuple(_meaning(description)))
    text = card_markdown((*card, meaning), _NOTHING_TESTED, context)
    return f"{text}\n## How to run it\n\n{how_to_run.strip()}\n"


def _meaning(description: ModelDescription) -> Iterator[Line]:
    for target in description.targets:
        found = description.calibration[target]
        if found.platt is not None:
            text = (
                f"sigmoid({found.platt.slope:.4g} × logit {found.platt.intercept:+.4g}) of the mean"
                f" probability's logit (from {found.source})."
            )
        else:
            text = f"none: {found.reasons['platt']}."
        yield Line(f"{target}, calibration", text)
        for point in description.operating_points[target]:
            name = f"{target}, threshold by {point.rule}"
            if point.threshold is None:
                yield Line(name, f"none: {point.reason}.")
                continue
            yield Line(
                name,
                f"{point.threshold:.4f} on the probability as predicted; sensitivity"
                f" {point.sensitivity:.2f} and specificity {point.specificity:.2f} on the patients that"
                f" it was chosen on, so too good ({point.source}).",
            )


_ROOT = Path(__file__).parent

_CROPS = """\
`voxels` is the crop of one patient, `model.json` has its phases, shape, orientation and preprocessing; NaN
where it lies outside the image. {unit} will do.
"""

_LINEAR = "Any linear unit"
_PROPORTIONAL = "Any unit in which no signal is 0"

_PLAIN = """\
import numpy as np

pre = voxels[0]
images = np.nan_to_num((voxels - np.nanmean(pre)) / np.nanstd(pre), nan=0.0).astype(np.float32)
"""


def _crops(description: ModelDescription) -> str:
    is_robust = description.input.normalisation.kind == "robust"
    return _CROPS.format(unit=_PROPORTIONAL if is_robust else _LINEAR)


def _normalise(description: ModelDescription) -> str:
    """Return the code that makes ``images`` of ``voxels``."""
    if description.input.normalisation.kind == "plain":
        return _PLAIN
    code = (_ROOT / "robust_intensities.py").read_text("utf-8")
    code = code.partition('"""\n\n')[2]
    return f"{code}\n\nimages = normalise(voxels)\n"


def how_to_run(description: ModelDescription) -> str:
    """Return what to do with an export."""
    return {"safetensors": _safetensors, "onnx": _onnx, "bundle": _bundle}[description.format](
        description
    )


def _safetensors(description: ModelDescription) -> str:
    return f"""\
From an examination (DICOM, NIfTI or NRRD) to a page, JSON and DICOM SR:
`radiotrain predict THIS_FOLDER PATIENT --box R0 R1 C0 C1 S0 S1 --out DIR`. From a crop, in Python:

{_crops(description)}
```python
import torch

from radiotrain.export.load import load_export

{_normalise(description)}
model = load_export("THIS_FOLDER")
with torch.inference_mode():
    logits = model.network(torch.from_numpy(images)[None]{_covariates(description)})
print(model.description.targets, torch.sigmoid(logits))
```

Without radiotrain: `network.monai` of `model.json` is the call of `monai.networks.nets` that builds a network,
and each `network-N.safetensors` is its state dict{_late(description)}. The probability is the mean of the
networks' sigmoids{_scaled(description)}.
"""


def _onnx(description: ModelDescription) -> str:
    num = sum(_num_columns(member.covariates) for member in description.members)
    beside = f', "covariates": covariates  # float32 (1, {num})' if num else ""
    closing = "\n" if num else ""
    return f"""\
{_crops(description)}
```python
import os

{_environment()}  # before the import, see below
import onnxruntime

{_normalise(description)}
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
inputs = {{"images": images[None]{beside}{closing}}}
probability, logits, member_logits = session.run(None, inputs)
```

The batch may have any size.{_encoded(description)}

**onnxruntime talks to its maker.** From version 1.29 on it sends the path of the program, the model's structure, the
processor's name and a number of the device to `mobile.events.data.microsoft.com`, and keeps that number below `~/.cache`, unless
`ORT_DISABLE_TELEMETRY=1` is in the environment before it is loaded, in whatever language; its function
`disable_telemetry_events()` comes too late. Version 1.28 has no telemetry on Linux. radiotrain sets the variable where it
runs onnxruntime itself, and the graph is plain ONNX that other runtimes read too.
"""


def _environment() -> str:
    """Return the line that keeps onnxruntime to itself."""
    from radiotrain.export.to_onnx import NO_TELEMETRY

    return "\n".join(f'os.environ["{name}"] = "{value}"' for name, value in NO_TELEMETRY.items())


def _bundle(description: ModelDescription) -> str:
    is_robust = description.input.normalisation.kind == "robust"
    unit = _PROPORTIONAL if is_robust else _LINEAR
    return f"""\
Crops are files `crops/NAME.npy`: float32 (phase, row, column, slice) as `model.json` has them, NaN where they lie
outside the image, in {unit[0].lower()}{unit[1:]}. From this folder:

```
pip install monai[fire] safetensors
python -m monai.bundle run --config_file configs/inference.json
```

`eval/predictions.csv` then has a line a crop, with the probability of each target.
`--dataset_dir` and `--output_dir` name other folders, `--bundle_root` this one from elsewhere.

In Python, `monai.bundle.ConfigWorkflow("configs/inference.json", workflow_type="inference",
bundle_root="THIS_FOLDER")`, `initialize()`, `network_def`: weights are loaded by `initialize`.

There is no `models/model.pt`, which would be a pickle. For programs that want one, `monai.bundle.load` among them:
`python -m monai.bundle run write_model_pt --config_file configs/inference.json`.

A bundle's configuration is code that MONAI runs: use bundles of people you trust.
"""


def _covariates(description: ModelDescription) -> str:
    reads = any(member.covariates for member in description.members)
    return ", torch.from_numpy(model.encode(records))" if reads else ""


def _late(description: ModelDescription) -> str:
    if not any(member.covariates for member in description.members):
        return ""
    return (
        " under the prefix `network.`; `linear.weight` times the encoded covariates is added to its"
        " logits"
    )


def _scaled(description: ModelDescription) -> str:
    if all(member.scales is None for member in description.members):
        return ""
    return (
        ", each network's logit (no farther from 0 than 13.8) first times `slope` plus `intercept` of its"
        "\n`scales` in `model.json`"
    )


def _encoded(description: ModelDescription) -> str:
    if not any(member.covariates for member in description.members):
        return ""
    return (
        " `covariates` are the clinical columns as numbers, those of each member one after the other:"
        " `members` of `model.json` says how (`docs/export.md`)."
    )


def _num_columns(encoder: dict[str, object] | None) -> int:
    if encoder is None:
        return 0
    from radiotrain.data.covariates import CovariateEncoder

    return CovariateEncoder.from_json(encoder).num_columns
