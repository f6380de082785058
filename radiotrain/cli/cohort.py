"""``radiotrain cohort check``: usable patients, and why others are not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from radiotrain.cli.options import (
    ColumnOption,
    LabelOption,
    NumPhasesOption,
    PhasesOption,
    read_phases_options,
    table_options,
)

_EXAMPLE = "Example: `radiotrain cohort check Duke-Breast-Cancer-MRI --json check.json`"


def register(app: typer.Typer) -> None:
    """Add the command group to the command line."""
    group = typer.Typer(
        no_args_is_help=True, help="Look at a cohort before working on it.", epilog=_EXAMPLE
    )
    group.command("check", epilog=_EXAMPLE)(check)
    # A group of one command would otherwise lose its name.
    group.callback()(lambda: None)
    app.add_typer(group, name="cohort")


def check(
    path: Annotated[
        str,
        typer.Argument(
            help="Cohort folder, or a manifest (CSV, Excel), here or on s3://bucket/prefix."
        ),
    ],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all findings to this file.")
    ] = None,
    phases: PhasesOption = None,
    num_phases: NumPhasesOption = None,
    column: ColumnOption = None,
    label: LabelOption = None,
) -> None:
    """List usable and unusable patients with their findings; reads image headers.

    --phases FILE writes a line for each series: which phase it was taken for, and by which evidence.
    Edited, the same file decides: here, in `radiotrain preprocess` and in `radiotrain predict`.

    The exit status is 1 where no patient is usable, or where radiotrain itself failed on one.
    """
    from preprocessing.cohort.read_cohort import read_cohort
    from preprocessing.common.config import PreprocessConfig
    from preprocessing.common.progress import progress
    from preprocessing.images.phases.table import apply_table, write_table
    from preprocessing.images.volumes import HOW_TO_REPORT, any_internal
    from preprocessing.pipeline.check_cohort import check_cohort, common_num_phases, sizes_in_words
    from preprocessing.storage.files import write_text
    from preprocessing.storage.folder_lock import exclusive_beside

    table, num_phases = read_phases_options(phases, num_phases)
    cohort = read_cohort(path, table_options(column, label))
    if table is not None:
        cohort = apply_table(cohort, table)
    written = phases if table is None and phases is not None and not phases.isdigit() else None
    config = PreprocessConfig(num_phases=num_phases or common_num_phases(cohort))
    checked = []
    with progress("check", len(cohort.patients)) as advance:
        for patient in check_cohort(cohort, config, list_series=written is not None):
            checked.append(patient)
            advance()
    for patient in checked:
        status = "usable  " if patient.usable else "unusable"
        reasons = "; ".join(f"[{f.code}] {f.message}" for f in patient.findings)
        typer.echo(f"{patient.patient.patient_id}  {status}  {reasons}".rstrip())
    if written is not None:
        write_table(written, {p.patient.patient_id: p.series for p in checked})
        typer.echo(f"{written} written: correct its column 'phase', and give it by --phases")
    if json_file is not None:
        entries = {"patients": [p.to_json() for p in checked]}
        with exclusive_beside(json_file, "file"):
            write_text(str(json_file), json.dumps(entries, indent=1) + "\n")
    num_usable = sum(p.usable for p in checked)
    positives = ", ".join(
        f"{t} {sum(p.patient.labels.get(t) == 1 for p in checked)}" for t in cohort.targets
    )
    codes = Counter(f.code for p in checked for f in p.findings)
    typer.echo(
        f"{len(checked)} patients ({cohort.layout} layout), {num_usable} usable,"
        f" {len(checked) - num_usable} not; positive: {positives};"
        f" boxes: {sum(p.patient.box is not None for p in checked)}"
    )
    sizes = sizes_in_words(checked, config.crop_shape)
    if sizes is not None:
        typer.echo(sizes)
    if codes:
        typer.echo("findings: " + ", ".join(f"{n} {c}" for c, n in codes.most_common()))
    for note in cohort.notes:
        typer.echo(f"note: {note}")
    failed = sum(any_internal(p.findings) for p in checked)
    if failed:
        typer.echo(f"{failed} patients: {HOW_TO_REPORT}", err=True)
    if failed or not num_usable:
        raise typer.Exit(1)
