"""``radiotrain phantom``: a digital reference cohort, written as a TCIA download."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from radiotrain.cli import options


def _print_quirks(wanted: bool) -> None:
    if not wanted:
        return
    from preprocessing.phantom.quirks import QUIRKS

    for quirk in QUIRKS:
        becomes = f"{quirk.outcome}, noted as {quirk.finding}" if quirk.finding else quirk.outcome
        typer.echo(f"{quirk.name} ({becomes})\n    {quirk.description}")
    raise typer.Exit


class FolderNames(StrEnum):
    """How patients' folders are named."""

    mixed = "mixed"
    classic = "classic"
    descriptive = "descriptive"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(phantom)


def phantom(
    out: Annotated[Path, typer.Argument(help="New or empty folder, or one to resume.")],
    patients: Annotated[int, typer.Option(help="Patients, 1 to 9999.")] = 64,
    seed: Annotated[int, typer.Option(help="Same seed and settings, same bytes.")] = 0,
    matrix: Annotated[int, typer.Option(help="Rows and columns of an image; Duke's are 512.")] = 96,
    slices: Annotated[int, typer.Option(help="Slices of a series; Duke's are about 160.")] = 32,
    effect: Annotated[
        str,
        typer.Option(
            help="How far apart positive and negative tumours look, in standard deviations:"
            " '3' for all targets, or 'ER=4,PR=0' (0: chance)."
        ),
    ] = "1.5",
    noise: Annotated[
        float, typer.Option(help="Noise, as a fraction of the glandular signal.")
    ] = 0.02,
    motion: Annotated[float, typer.Option(help="Motion between phases, in voxels.")] = 0.25,
    field_sd: Annotated[float, typer.Option(help="Spread of the log coil field.")] = 0.2,
    layout: Annotated[
        FolderNames, typer.Option(help="TCIA's folder names; mixed: every other patient.")
    ] = FolderNames.mixed,
    shortcut: Annotated[
        str,
        typer.Option(
            help="Plants a shortcut: the share of patients whose scanner, which shows in the"
            " images, agrees with a label, such as 'ER=0.8'."
        ),
    ] = "",
    quirk: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=options.quirks,
            help="Defect of real downloads to reproduce, or 'all': patient k gets the k-th.",
        ),
    ] = None,
    list_quirks: Annotated[
        bool,
        typer.Option(
            "--list-quirks", is_eager=True, callback=_print_quirks, help="Print quirks and exit."
        ),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [default: one a processor core].")
    ] = None,
) -> None:
    """Write a digital reference cohort with known truth, exactly as TCIA ships Duke.

    The truth (labels, coil field, kinetics, best reachable AUC) goes to OUT/truth.json.

    Example: `radiotrain phantom cohort --patients 64 --effect ER=3,PR=1.5,HER2=0`

    Example: `radiotrain phantom cohort --quirk two-studies --quirk truncated-file`
    """
    from preprocessing.phantom.quirks import parse_quirks
    from preprocessing.phantom.settings import PhantomSettings, parse_effects, parse_shortcut
    from preprocessing.phantom.write import write_phantom
    from preprocessing.processes.machine import num_cpus

    settings = PhantomSettings(
        patients=patients,
        seed=seed,
        matrix=matrix,
        slices=slices,
        effects=parse_effects(effect),
        noise=noise,
        motion=motion,
        field_sd=field_sd,
        layout=layout.value,
        shortcut=parse_shortcut(shortcut),
        quirks=parse_quirks(quirk or ()),
    )
    write_phantom(out, settings, workers or num_cpus())
    typer.echo(f"{patients} patients written: {out}")
