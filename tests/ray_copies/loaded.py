"""The process whose copies Ray's workers are.

Two steps: this one loads what has nothing to do with Ray. Of Ray's compiled part, whose settings are those
of the environment in which it was loaded, each driver of each Ray needs another, so a copy of this process
loads that for all workers of one driver, and copies of the copy are the workers.
"""

from __future__ import annotations

import argparse
import array
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

WITHOUT_RAY = (
    "torch._dynamo",
    "torch.distributed.elastic.agent.server",
    "monai.networks.nets",
    "distributed",
    "preprocessing.pipeline.run",
    "radiotrain.runs.predict_run",
    "radiotrain.training.loop",
    "torch.utils.tensorboard",
    # What Ray's worker loads as it goes.
    "IPython",
    "email.policy",
    "pyarrow.json",
    "pydantic.v1",
)
WITH_RAY = (
    "ray",
    "ray.autoscaler.sdk",
    "ray.dag",
    "ray.data._internal.issue_detection",
    "ray.train.torch",
    "ray.train.v2._internal.execution.controller.controller",
    "ray.tune",
    "cluster.dask_on_ray",
    "cluster.sweep.trial",
    "cluster.train",
)
_SECONDS_BETWEEN_LOOKS = 2.0
# Words, environment, folder.
Request = tuple[list[str], dict[str, str], str]


def main() -> None:
    """Serve requests until the standard input ends."""
    _load(WITHOUT_RAY)
    # The kernel takes the dead away.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    server.listen(64)
    drivers: dict[str, socket.socket] = {}
    while True:
        ready, _, _ = select.select([server, 0], [], [])
        if 0 in ready:
            return
        asking, _ = server.accept()
        try:
            request, files = _receive(asking)
        except (EOFError, ConnectionError):
            # Ray has ended it before it had asked.
            asking.close()
            continue
        driver = _driver(request)
        passed = [*files, asking.fileno()]
        try:
            _send(drivers[driver], request, passed)
        except (KeyError, BrokenPipeError):
            # The first of this driver, or its Ray seemed to be over.
            ours, theirs = socket.socketpair()
            if not os.fork():
                for other in (server, ours, asking, *drivers.values()):
                    other.close()
                _close(files)
                _serve_driver(theirs, request)
            theirs.close()
            drivers[driver] = ours
            _send(ours, request, passed)
        asking.close()
        _close(files)


def _serve_driver(link: socket.socket, first: Request) -> None:
    """Load Ray as this driver's workers have it; serve until its Ray has ended. Does not return."""
    raylet = int(first[1]["RAY_RAYLET_PID"])
    os.environ.clear()
    os.environ.update(first[1])
    import ray.actor

    # Of Ray's own random numbers none may be drawn before there are copies: all would go on alike.
    own = ray.actor.ActorClassID
    ray.actor.ActorClassID = _RandomOfTheSystem
    _load(WITH_RAY)
    ray.actor.ActorClassID = own
    while Path(f"/proc/{raylet}").exists():
        if not select.select([link], [], [], _SECONDS_BETWEEN_LOOKS)[0]:
            continue
        try:
            request, files = _receive(link)
        except EOFError:
            break
        if not os.fork():
            link.close()
            _become_worker(request, files)
        _close(files)
    os._exit(0)


class _RandomOfTheSystem:
    @staticmethod
    def from_random() -> Any:
        from ray._raylet import ActorClassID

        return ActorClassID(os.urandom(ActorClassID.size()))


def _become_worker(request: Request, files: list[int]) -> None:
    """Run Ray's worker as Ray's own `setup_worker.py` does, to the end of this process."""
    words, environment, folder = request
    # The last one is the asking process' connection, which ends with this process.
    for number, file in enumerate(files[:3]):
        os.dup2(file, number)
        os.close(file)
    # A group of its own, as Ray gives each worker: it kills that group in the end.
    os.setpgrp()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    parser = argparse.ArgumentParser()
    parser.add_argument("--serialized-runtime-env-context", default="{}")
    parser.add_argument("--language")
    settings, words = parser.parse_known_args(words)
    asked = json.loads(settings.serialized_runtime_env_context).get("env_vars") or {}
    os.environ.clear()
    os.environ.update(environment | asked)
    os.chdir(folder)
    sys.argv = words
    sys.path[0] = str(Path(words[0]).parent)
    runpy.run_path(words[0], run_name="__main__")
    raise SystemExit


def _driver(request: Request) -> str:
    """Tell apart what Ray's compiled part reads when it is loaded."""
    known = {k: v for k, v in request[1].items() if k.startswith("RAY_")}
    return json.dumps(known, sort_keys=True)


def _load(names: tuple[str, ...]) -> None:
    for name in names:
        importlib.import_module(name)
    gc.collect()
    # A copy's first collection would write to, and so copy, all of the memory.
    gc.freeze()


def _send(to: socket.socket, request: Request, files: list[int]) -> None:
    data = json.dumps(request).encode()
    to.sendmsg(
        [len(data).to_bytes(8, "big")],
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))],
    )
    to.sendall(data)


def _receive(source: socket.socket) -> tuple[Request, list[int]]:
    number = array.array("i")
    length, extra, _, _ = source.recvmsg(8, socket.CMSG_SPACE(4 * number.itemsize))
    if not length:
        raise EOFError
    for _, _, found in extra:
        number.frombytes(found)
    size = int.from_bytes(length, "big")
    data = source.recv(size, socket.MSG_WAITALL)
    if len(data) < size:
        raise EOFError
    words, environment, folder = json.loads(data)
    return (words, environment, folder), list(number)


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


if __name__ == "__main__":
    main()
