"""``radiotrain board``: TensorBoard on a sweep."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, redirect_stderr
from pathlib import Path
from typing import Annotated, Any

import typer

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_INTERRUPTED = 130
# TensorBoard itself looks for news every 5 s; an object store is not to be asked as often.
_SECONDS_BETWEEN_COPIES = 30.0


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(board)


def board(
    sweep: Annotated[str, typer.Argument(help="Folder of the sweep, or s3://bucket/prefix.")],
    port: Annotated[
        int, typer.Option(help="Port of the web page; 0: any free one.", min=0, max=65535)
    ] = 6006,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "localhost",
) -> None:
    """Open TensorBoard on all trials of a sweep: curves, inputs, and the HPARAMS table.

    Runs until Ctrl-C; new trials and epochs appear by themselves.

    Example: `radiotrain board sweep`

    Example: `radiotrain board s3://bucket/sweep --port 6007`
    """
    from cluster.sweep.progress import open_sweep
    from preprocessing.common.errors import InputError
    from preprocessing.storage import files

    url = files.absolute(sweep)
    if not open_sweep(url).logging.tensorboard:
        raise InputError(
            f"sweep {url} writes no TensorBoard events, its configuration says"
            " logging.tensorboard: false; use 'radiotrain status'"
        )
    with ExitStack() as stack:
        place, is_copy = url, not files.is_local(url)
        if is_copy:
            # TensorBoard's own way to an object store keeps the listings it once got: it would
            # never see a new epoch.
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="radiotrain-board-"))
            copy_events(url, Path(place))
        address = _launch(place, host, port)
        typer.echo(f"TensorBoard on {url}: {address} (Ctrl-C ends it)")
        try:
            while True:
                time.sleep(_SECONDS_BETWEEN_COPIES)
                if is_copy:
                    copy_events(url, Path(place))
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


def copy_events(url: str, folder: Path) -> None:
    """Make a folder hold what there is of TensorBoard's events below a URL.

    Files only grow, and a reader keeps them open: what is new is appended.
    """
    from preprocessing.storage import files

    fs, root = files.filesystem(url)
    for path, info in fs.find(root, detail=True).items():
        relative = path[len(root) :].lstrip("/")
        if "/tensorboard/" not in relative:
            continue
        copy = folder / relative
        there = copy.stat().st_size if copy.exists() else 0
        if info["size"] > there:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("ab") as file:
                file.write(fs.cat_file(path, start=there))


def _launch(folder: str, host: str, port: int) -> str:
    """Start TensorBoard in this process; return its address."""
    from tensorboard import program

    from preprocessing.common.errors import InputError

    def server(app: WsgiApp, flags: object) -> program.TensorBoardServer:
        return program.create_port_scanning_werkzeug_server(_own_hosts_only(app, host), flags)

    tensorboard = program.TensorBoard(server_class=server)
    tensorboard.configure(logdir=folder, host=host, port=port)
    try:
        # It says there that it reads quickly.
        with redirect_stderr(io.StringIO()):
            return str(tensorboard.launch())
    except program.TensorBoardServerException as error:
        raise InputError(
            f"TensorBoard cannot answer at {host}:{port} ({' '.join(error.msg.split())}): name"
            " another --port or --host"
        ) from error


def _own_hosts_only(app: WsgiApp, host: str) -> WsgiApp:
    """Answer requests whose Host header is of another machine with 403: TensorBoard itself looks at none."""
    from preprocessing.processes.machine import is_own_host

    def checked(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if is_own_host(environ.get("HTTP_HOST"), host):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"Host is not a name of this machine\n"]

    return checked
