"""``radiotrain init``: a configuration or a manifest to start from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import options

if TYPE_CHECKING:
    from pydantic import BaseModel

    from preprocessing.store import Store
    from radiotrain.training.defaults import Suggestion

_HOW = (
    "Paths are relative to the folder where the command is called. A setting behind a # with no"
    " blank is at its default: take the # away to change it."
)
_StoreArgument = Annotated[str, typer.Argument(help="Store: folder or s3://…")]
_SplitOption = Annotated[str, typer.Option(help="The store's split, existing or not.")]


def register(app: typer.Typer) -> None:
    """Add the command group to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Write a configuration or a manifest to start from.",
        epilog="Example: `radiotrain init run duke.zarr`",
    )
    group.command("run")(run)
    group.command("sweep")(sweep)
    group.command("manifest")(manifest)
    app.add_typer(group, name="init")


def run(
    store: _StoreArgument,
    out: Annotated[str, typer.Option(help="File to write; an existing file is kept.")] = (
        "run.yaml"
    ),
    split: _SplitOption = "splits.json",
    target: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=options.targets_of_store,
            help="Target of the store; several share one network.",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            autocompletion=options.networks,
            help="A name from 'radiotrain models' [default: the paper's].",
        ),
    ] = None,
) -> None:
    """Write a run's configuration for a store: every setting with its meaning and default.

    Example: `radiotrain init run duke.zarr --target HER2 --network ResNet34`
    """
    opened = _begin(out, store)
    # Takes seconds: mistakes are reported before.
    from radiotrain.config.run_config import RunConfig
    from radiotrain.training.defaults import suggest_run

    suggestion = suggest_run(opened, split, targets=target or (), network=network)
    _write(out, RunConfig, suggestion, store, "run")
    _say_next(out, store, split, f"radiotrain train --config {out} --dry-run")


def sweep(
    store: _StoreArgument,
    out: Annotated[str, typer.Option(help="File to write; an existing file is kept.")] = (
        "sweep.yaml"
    ),
    split: _SplitOption = "splits.json",
    target: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=options.targets_of_store,
            help="Target of the store; may be repeated [default: all].",
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=options.networks,
            help="From 'radiotrain models'; may be repeated [default: the paper's].",
        ),
    ] = None,
) -> None:
    """Write a sweep's configuration for a store: every setting with its meaning and default.

    Example: `radiotrain init sweep duke.zarr --network SEResNet50 --network DenseNet121`
    """
    opened = _begin(out, store)
    # Takes seconds: mistakes are reported before.
    from cluster.sweep.config import SweepConfig
    from radiotrain.training.defaults import suggest_sweep

    suggestion = suggest_sweep(opened, split, targets=target or (), networks=network or ())
    _write(out, SweepConfig, suggestion, store, "sweep")
    _say_next(out, store, split, f"radiotrain tune --config {out} --dry-run")


def manifest(
    folder: Annotated[
        Path, typer.Argument(help="Folder tree of NIfTI, NRRD or DICOM, one patient a folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV to write, in FOLDER or above it; an existing file is kept [default:"
            " FOLDER/manifest.csv].",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draft a manifest from a folder tree: patients, phases and masks; labels are yours to fill in.

    Names tell phases (pre, post1, _0000) and masks (mask, seg); DICOM headers tell series. What nothing
    tells stays empty, and the column note says so.

    Example: `radiotrain init manifest my-cohort`
    """
    from preprocessing.cohort.read_cohort import check_no_tables
    from preprocessing.pipeline.draft_manifest import draft_manifest

    place, target = _places(folder, out)
    check_no_tables(place)
    typer.echo("looking at files", err=True)
    draft = draft_manifest(place, target.parent)
    if not draft.rows:
        from preprocessing.common.errors import InputError

        raise InputError(
            f"{place} holds no images that a manifest can name: expected NIfTI, NRRD or DICOM files, one"
            " patient a folder or files called ID_0000.nii.gz"
        )
    _write_new(str(target), draft.csv())
    num_phases = Counter(len(row.phases) for row in draft.rows)
    shown = ", ".join(f"{n} of {c} phases" for c, n in sorted(num_phases.items()))
    typer.echo(f"{target} written: {len(draft.rows)} patients ({shown})")
    for count, what in (
        (sum(not row.mask for row in draft.rows), "have no mask: give one, or fill in the box"),
        (
            sum(bool(row.notes) for row in draft.rows),
            "have something left to do: see the column note",
        ),
    ):
        if count:
            typer.echo(f"note: {count} patients {what}")
    if draft.left_out:
        typer.echo(f"note: {len(draft.left_out)} image files are in no row")
    typer.echo("next: fill in ER, PR, HER2 (0, 1 or empty), add columns of your own")
    typer.echo(f"then: radiotrain cohort check {target}")


def _places(folder: Path, out: Path | None) -> tuple[Path, Path]:
    """Return the folder to look at and the file to write, where both can be."""
    from preprocessing.common.errors import InputError, MissingPathError

    place = folder.expanduser().resolve()
    if not place.is_dir():
        raise MissingPathError(f"no folder at {place}: name one that exists, on this machine")
    target = (out.expanduser() if out is not None else place / "manifest.csv").resolve()
    if target.suffix.lower() != ".csv":
        raise InputError(f"--out is {target.name}, expected a name that ends in .csv")
    if target.exists():
        raise InputError(f"{target} is there already: name another file with --out, or remove it")
    if not place.is_relative_to(target.parent):
        raise InputError(
            f"--out is in {target.parent}, expected {place} or a folder above it: paths in a manifest may"
            " not lead out of its folder"
        )
    return place, target


def _begin(out: str, store: str) -> Store:
    """Return the store, if nothing is in the file's place; say why it takes a while from here."""
    from preprocessing.common.errors import InputError
    from preprocessing.storage import files
    from preprocessing.store import Store

    if files.exists(files.absolute(out)):
        raise InputError(f"{out} is there already: name another file with --out, or remove it")
    opened = Store.open(store)
    typer.echo("estimating the memory per batch", err=True)
    return opened


def _write(
    out: str,
    model: type[BaseModel],
    suggestion: Suggestion,
    store: str,
    what: str,
) -> None:
    from radiotrain.config.config_template import commented_yaml

    header = (f"A {what} on {store}, made by `radiotrain init {what}`.", _HOW)
    # As the user said it: a file with relative paths may move along with what they name.
    values = dict(suggestion.values) | {"store": store}
    text = commented_yaml(model, values, header=header, notes=suggestion.notes)
    _write_new(out, text)


def _write_new(out: str, text: str) -> None:
    """Write a file, unless another process has written one meanwhile."""
    from preprocessing.common.errors import InputError
    from preprocessing.storage import files

    url = files.absolute(out)
    try:
        files.write_new(url, text)
    except FileExistsError:
        # On an object store it may be ours: an answer may have been lost.
        if files.read_text(url) != text:
            raise InputError(
                f"{out} is there already: name another file with --out, or remove it"
            ) from None


def _say_next(out: str, store: str, split: str, command: str) -> None:
    from preprocessing.storage import files

    typer.echo(f"{out} written")
    if files.exists(files.absolute(split)):
        typer.echo(f"next: {command}")
    else:
        typer.echo(f"next: radiotrain split {store} --out {split}")
        typer.echo(f"then: {command}")
