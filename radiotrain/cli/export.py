"""``radiotrain export``: trained models as folders that travel."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from radiotrain.cli.options import SplitOption, StoreOption


class Format(StrEnum):
    """What others read."""

    bundle = "bundle"
    safetensors = "safetensors"
    onnx = "onnx"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(export)


def export(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Folders of runs or promoted models."),
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="safetensors: weights and JSON for `radiotrain predict` and MONAI. onnx: one graph for"
            " onnxruntime. bundle: a MONAI bundle.",
        ),
    ],
    out: Annotated[str, typer.Option(help="Folder to make; of several runs, one subfolder each.")],
    store: StoreOption = None,
    split: SplitOption = None,
) -> None:
    """Export a trained model: a folder with everything needed for inference, without pickle.

    Beside the weights: model.json (input, normalisation, calibration, thresholds, the training
    patients in numbers; docs/export.md lists its keys) and a model card. No test patient is read.
    It needs `pip install 'radiotrain[export]'`.

    Example: `radiotrain export sweep/promoted/ER --format onnx --out er-onnx`

    Example: `radiotrain export runs/ER_SEResNet50 --format bundle --out er-bundle`
    """
    from preprocessing.common.errors import InputError
    from preprocessing.common.progress import progress
    from preprocessing.storage import files
    from radiotrain.export.describe import VoxelMeasures
    from radiotrain.export.write import Exporter
    from radiotrain.runs.run_folder import RunFolder

    names = [RunFolder(run).name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two runs are both named {name!r}: export them one by one")
    outs = [out] if len(runs) == 1 else [files.join(out, name) for name in names]
    # All that could be refused is refused before anything is written.
    measures = VoxelMeasures()
    exporters = [
        Exporter(run, form.value, place, store, measures, split)
        for run, place in zip(runs, outs, strict=True)
    ]
    for note in dict.fromkeys(note for exporter in exporters for note in exporter.notes):
        typer.echo(f"note: {note}", err=True)
    for exporter in exporters:
        with progress(f"export {exporter.model.name}", exporter.num_steps) as advance:
            description = exporter.write(advance)
        num = len(description.members)
        typer.echo(
            f"{exporter.out}: {description.network.name} for {', '.join(description.targets)}"
            f"{f', mean of {num} networks' if num > 1 else ''}, {len(description.files) + 1} files"
        )
