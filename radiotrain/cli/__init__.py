"""The command line. Each command imports what it needs when it is called, so that help is quick."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.main import get_command

from preprocessing.common.errors import RadiotrainError, place_trouble, storage_trouble
from preprocessing.common.redaction import without_credentials
from preprocessing.processes.machine import name_user
from preprocessing.processes.stop_notice import Stopped, listening
from radiotrain.cli import (
    board,
    cluster,
    cohort,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    init,
    models,
    phantom,
    predict,
    preprocess,
    promote,
    qc,
    reproduce,
    split,
    status,
    store,
    train,
    tune,
    verify,
)
from radiotrain.cli.renamed_options import Command
from radiotrain.version import __version__

# What Typer exits with after Ctrl-C.
_INTERRUPTED = 130
# These only look: nothing of them is to be resumed.
_ONLY_LOOK = {"status", "board", "doctor", "verify"}

app = typer.Typer(
    name="radiotrain",
    help="Predict ER, PR and HER2 from breast MRI: from a DICOM download to a tested network.",
    epilog="Example: `radiotrain demo --out demo-output` runs the whole pipeline on a small phantom.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"radiotrain {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


# In the order of work, as the help lists them.
_COMMANDS = (
    doctor,
    phantom,
    demo,
    cohort,
    preprocess,
    qc,
    split,
    init,
    models,
    train,
    tune,
    status,
    board,
    promote,
    evaluate,
    compare,
    export,
    predict,
    reproduce,
    verify,
    store,
    cluster,
)
for module in _COMMANDS:
    module.register(app)
for command in app.registered_commands:
    command.cls = Command


def main() -> None:
    """Run the command line.

    Exit status 0: done; 1: the program's fault or nothing usable; 2: the input's; 130: Ctrl-C; 128 and
    a signal's number: that notice to stop.
    """
    name_user()
    try:
        with listening():
            command_line()()
    except RadiotrainError as error:
        print(f"error: {without_credentials(str(error))}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        place = place_trouble(error)
        if place is not None:
            print(f"error: {place}", file=sys.stderr)
            sys.exit(2)
        trouble = storage_trouble(error)
        if trouble is None:
            raise
        print(
            f"error: the object store did not answer as it should: {without_credentials(trouble)}:"
            " check the address, the credentials and the network, then run the same command again"
            " to resume",
            file=sys.stderr,
        )
        sys.exit(2)
    except Stopped as stop:
        if not _only_looks():
            _print_if_heard(str(stop))
        sys.exit(stop.exit_status)
    except KeyboardInterrupt:  # before Typer runs, or after
        _tell_of_interrupt()
        sys.exit(_INTERRUPTED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            _tell_of_interrupt()
        raise


def _only_looks() -> bool:
    return bool(_ONLY_LOOK & set(sys.argv[1:2]))


def _tell_of_interrupt() -> None:
    if not _only_looks():
        _print_if_heard(
            "interrupted: nothing finished is lost, run the same command again to resume"
        )


def _print_if_heard(line: str) -> None:
    with suppress(OSError):  # the terminal may be what was closed
        print(line, file=sys.stderr, flush=True)


@cache
def command_line() -> TyperGroup:
    """Return the command line, built once for all calls of `main`."""
    built = get_command(app)
    assert isinstance(built, TyperGroup)
    # Typer would list the groups last.
    order = [module.__name__.rpartition(".")[2] for module in _COMMANDS]
    built.commands = {name: built.commands[name] for name in (*order, *built.commands)}
    return built
