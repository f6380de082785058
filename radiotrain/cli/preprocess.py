"""``radiotrain preprocess``: a cohort becomes a store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

_EXAMPLE = (
    "Example: `radiotrain preprocess Duke-Breast-Cancer-MRI duke.zarr --workers 8`."
    " Run the same command again to resume an interrupted run."
)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("preprocess", epilog=_EXAMPLE)(preprocess)


def preprocess(
    cohort: Annotated[Path, typer.Argument(help="Cohort folder, or a manifest CSV.")],
    store: Annotated[
        str, typer.Argument(help="Store to make: a new folder or s3://bucket/prefix.")
    ],
    crop_shape: Annotated[
        tuple[int, int, int],
        typer.Option(metavar="R C S", help="Rows, columns, slices kept around the tumour."),
    ] = (128, 128, 68),
    phases: Annotated[
        int | None, typer.Option(min=1, help="Phases a patient must have [default: the layout's].")
    ] = None,
    bias_engine: Annotated[
        str, typer.Option(help="Who fits the N4 field: separable, simpleitk or none.")
    ] = "separable",
    shrink: Annotated[int, typer.Option(help="Voxels an axis averaged for fitting the field.")] = 4,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [default: one a processor core].")
    ] = None,
) -> None:
    """Turn a cohort into a store of N4-corrected crops: DICOM or NIfTI in, chunked Zarr out."""
    from pydantic import ValidationError

    from preprocessing.check import common_num_phases
    from preprocessing.config import PreprocessConfig
    from preprocessing.errors import InputError
    from preprocessing.progress import progress
    from preprocessing.readers import read_cohort
    from preprocessing.run import describe
    from preprocessing.run import preprocess as run

    found = read_cohort(cohort)
    values = {
        "crop_shape": crop_shape,
        "num_phases": phases or common_num_phases(found),
        "bias_engine": bias_engine,
        "shrink": shrink,
    }
    try:
        config = PreprocessConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise InputError(f"option {option} is {first['input']!r}: {first['msg']}") from error
    result = run(found, store, config, workers or os.cpu_count() or 1, progress)
    typer.echo(describe(result))
