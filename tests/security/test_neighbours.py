"""What other users of a machine can do to commands that run there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from tests.commands import kill_session, start
from tests.processes import descendants
from tests.security.conftest import Chain
from tests.security.listening import Listening, listening

NOBODY = 65534
pytestmark = pytest.mark.slow

# All that it needs is loaded first: another user may not be able to read this installation. Schedulers,
# workers and nannies alike say who they are, and then run what they are sent.
INTRUDER = """
import asyncio, json, os, sys
import distributed.nanny, encodings.idna
from distributed import Security
from distributed.comm import connect
from distributed.core import send_recv
own = Security.temporary().get_connection_args("client")
if os.getuid() == 0:
    os.setgroups([]); os.setgid({user}); os.setuid({user})
async def enter(place, **arguments):
    comm = await connect(place, timeout=2, **arguments)
    try:
        return await send_recv(comm, op="identity", reply=True)
    finally:
        comm.abort()
came_in = []
for kind, port in json.loads(sys.argv[1]):
    for place, arguments in ((f"tcp://127.0.0.1:{{port}}", {{}}), (f"tls://127.0.0.1:{{port}}", own)):
        try:
            # What speaks HTTP does not answer to this at all.
            found = asyncio.run(asyncio.wait_for(enter(place, **arguments), 5))
            came_in.append([kind, found["type"]])
        except (OSError, TypeError, ValueError, RuntimeError, asyncio.TimeoutError):
            pass
print(json.dumps(came_in))
"""


def _intrude(sockets: list[Listening]) -> list[list[str]]:
    words = json.dumps([[s.program[:80], s.port] for s in sockets])
    done = subprocess.run(
        [sys.executable, "-c", INTRUDER.format(user=NOBODY), words],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


# Dask's workers load it: with this, the work on a patient does not end.
ENDLESS = """
import pathlib, time
from preprocessing.pipeline import run
def dask_setup(worker):
    def wait(*arguments):
        pathlib.Path({begun!r}).touch()
        time.sleep(600)
    run.process_patient = wait
"""


@pytest.fixture(scope="module")
def preprocessing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A `preprocess` that runs for as long as it is needed."""
    folder = tmp_path_factory.mktemp("preprocessing")
    write_phantom(folder / "cohort", PhantomSettings(patients=2, matrix=48, slices=16))
    begun = folder / "begun"
    (folder / "endless.py").write_text(ENDLESS.format(begun=str(begun)))
    words = ("preprocess", folder / "cohort", folder / "store", "--crop-shape", 16, 16, 8)
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str([str(folder / "endless.py")])}
    process = start(*words, "--workers", 2, environment=preload)
    deadline = time.monotonic() + 90
    while not begun.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield process
    kill_session(process)


def test_an_intruder_gets_into_a_scheduler_that_anybody_may_talk_to() -> None:
    """The attempt itself: otherwise the next test would pass for any reason."""
    code = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2])
    try:
        came_in = _intrude([Listening(process.pid, "open", "127.0.0.1", port)])
        assert came_in == [["open", "Scheduler"]]
    finally:
        process.communicate()


def test_no_other_user_gets_into_a_running_preprocess(
    preprocessing: subprocess.Popen[str],
) -> None:
    sockets = listening(preprocessing.pid)
    # A scheduler, two workers, two nannies; pages of the scheduler and of the workers.
    assert len({s.port for s in sockets}) >= 5
    assert _intrude(sockets) == []
    assert preprocessing.poll() is None


def test_unix_sockets_of_preprocessing_are_its_owners(
    preprocessing: subprocess.Popen[str],
) -> None:
    """Those without a file (Linux's abstract names) have no owner: every user may connect."""
    paths = _unix_sockets(preprocessing.pid)
    assert paths
    for path in paths:
        assert path.startswith("/")
        found = Path(path).stat()
        folder = Path(path).parent.stat()
        assert found.st_mode & 0o077 == 0
        assert folder.st_mode & 0o077 == 0


def _unix_sockets(root: int) -> list[str]:
    """Return the names of sockets on which a process and those below it listen."""
    listens = {}
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        # __SO_ACCEPTCON
        if int(words[3], 16) & 0x10000:
            listens[words[6]] = words[7] if len(words) > 7 else "no name"
    found = set()
    for pid in (root, *descendants(root)):
        with suppress(OSError):
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    number = re.fullmatch(r"socket:\[(\d+)\]", str(handle.readlink()))
                    if number and number[1] in listens:
                        found.add(listens[number[1]])
    return sorted(found)


def test_what_is_known_of_patients_is_its_owners(swept: Chain) -> None:
    """With a umask that lets others read."""
    kinds = {"run": swept.run, "report": swept.out / "report", "sweep": swept.out / "sweep"}
    modes = {kind: oct(path.stat().st_mode & 0o777) for kind, path in kinds.items()}
    assert modes == dict.fromkeys(kinds, "0o700")
    assert swept.store.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before
