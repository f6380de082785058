"""``radiotrain preprocess``: a cohort becomes a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from radiotrain.cli import options
from radiotrain.cli.options import (
    Backend,
    ColumnOption,
    LabelOption,
    NumPhasesOption,
    PhasesOption,
    read_phases_options,
    table_options,
)

if TYPE_CHECKING:
    from preprocessing.processes.dask_client import ClientFactory

_EXAMPLE = (
    "Example: `radiotrain preprocess Duke-Breast-Cancer-MRI duke.zarr --workers 8`."
    " Run the same command again to resume an interrupted run, or after patients were added."
)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("preprocess", epilog=_EXAMPLE)(preprocess)


def preprocess(
    cohort: Annotated[
        str,
        typer.Argument(
            help="Cohort folder, or a manifest (CSV, Excel), here or on s3://bucket/prefix."
        ),
    ],
    store: Annotated[
        str, typer.Argument(help="Store to make: a new folder or s3://bucket/prefix.")
    ],
    config: Annotated[
        str | None,
        typer.Option(help="YAML file of settings; preprocessing/common/config.py documents each."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            autocompletion=options.preprocess_keys,
            help="key=value, wins over the file; may be repeated.",
        ),
    ] = None,
    crop_shape: Annotated[
        tuple[int, int, int] | None,
        typer.Option(metavar="R C S", help="Rows, columns, slices kept around the tumour."),
    ] = None,
    phases: PhasesOption = None,
    num_phases: NumPhasesOption = None,
    bias_engine: Annotated[
        str | None,
        typer.Option(
            autocompletion=options.bias_engines,
            help="Engine of the N4 bias field: separable, simpleitk or none.",
        ),
    ] = None,
    shrink: Annotated[
        int | None, typer.Option(help="Voxels an axis averaged for fitting the field.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [default: one a processor core].")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask cluster to work on, e.g. tcp://10.0.0.1:8786.")
    ] = None,
    backend: Annotated[Backend, typer.Option(help="This machine, or a Ray cluster's nodes.")] = (
        Backend.local
    ),
    column: ColumnOption = None,
    label: LabelOption = None,
) -> None:
    """Turn a cohort into a store of N4-corrected crops: DICOM or NIfTI in, chunked Zarr out."""
    from preprocessing.cohort.read_cohort import read_cohort
    from preprocessing.common.config import PreprocessConfig
    from preprocessing.common.progress import progress
    from preprocessing.images.phases.table import apply_table
    from preprocessing.images.volumes import HOW_TO_REPORT
    from preprocessing.pipeline.check_cohort import common_num_phases
    from preprocessing.pipeline.run import describe, num_internal_errors
    from preprocessing.pipeline.run import preprocess as run
    from radiotrain.config.run_config import apply_overrides, parse_config, read_yaml

    make_client = _client_factory(workers, scheduler, backend)
    table, num_phases = read_phases_options(phases, num_phases, must_exist=True)
    tables = table_options(column, label)
    options = {
        "crop_shape": crop_shape,
        "num_phases": num_phases,
        "bias_engine": bias_engine,
        "shrink": shrink,
    }
    values: dict[str, Any] = read_yaml(config) if config else {}
    values |= {k: v for k, v in options.items() if v is not None}
    values = apply_overrides(values, overrides or [], PreprocessConfig)
    # Checked before the cohort is read, which takes its time on a large one.
    resolved = parse_config(PreprocessConfig, values, "settings")
    found = read_cohort(cohort, tables)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    if table is not None:
        found = apply_table(found, table)
    if "num_phases" not in values:
        values["num_phases"] = common_num_phases(found)
        resolved = parse_config(PreprocessConfig, values, "settings")
    result = run(
        found, store, resolved, make_client, progress, lambda line: typer.echo(line, err=True)
    )
    typer.echo(describe(result))
    failed = num_internal_errors(result)
    if failed:
        typer.echo(f"{failed} patients: {HOW_TO_REPORT}", err=True)
        raise typer.Exit(1)


def _client_factory(workers: int | None, scheduler: str | None, backend: Backend) -> ClientFactory:
    from preprocessing.common.errors import InputError
    from preprocessing.processes.dask_client import local_client, scheduler_client
    from preprocessing.processes.machine import num_cpus

    if scheduler is not None:
        if backend is Backend.ray or workers is not None:
            other = "--backend ray" if backend is Backend.ray else f"--workers {workers}"
            raise InputError(
                f"got --scheduler {scheduler} and {other}, expected one of them: a Dask cluster"
                " brings its own workers"
            )
        return scheduler_client(scheduler)
    if backend is Backend.ray:
        from cluster.dask_on_ray import ray_client

        return ray_client(workers)
    return local_client(workers or num_cpus())
