"""Nothing that is run here asks another machine for anything, or tells it anything.

Each command runs in a network that leads nowhere and writes down all that would have left this machine.
"""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import every_command, name_of
from tests.security.closed_network import ADDRESSES, ClosedNetwork, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_ROOT = Path(__file__).parents[2]
# Ray asks in which cloud it runs, although its usage report is turned off; see SECURITY.md.
_OF_RAY = {"name metadata.google.internal", "tcp 169.254.169.254:80"}
# Asked of the hospital's own name server: what the machine's address is called.
_OWN = {f"name {ipaddress.ip_interface(a).ip.reverse_pointer}" for a in ADDRESSES}
# Made of the others: its steps are commands. And one that needs a cluster that a person has begun.
_LEFT_OUT = {("demo",), ("cluster", "doctor")}
# These keep quiet where they think to be tested.
_HUSH = ("CI", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[ClosedNetwork]:
    why = missing()
    if why is not None:
        pytest.skip(f"a network of its own: {why}")
    network = ClosedNetwork(tmp_path)
    yield network
    network.close()


def run(network: ClosedNetwork, home: Path, *words: object) -> None:
    home.mkdir(exist_ok=True)
    environment = {
        k: v for k, v in os.environ.items() if k not in _HUSH and not k.startswith("RAY_")
    }
    environment |= {"HOME": str(home), "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        network.words(sys.executable, *words),
        env=environment,
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def left(home: Path) -> set[str]:
    """Return what programs keep below a home folder, by the first two names of it."""
    return {"/".join(p.relative_to(home).parts[:2]) for p in home.rglob("*") if p.is_file()}


ASKING = """
import socket
for address in (("192.0.2.77", 443), ("2001:db8::77", 443)):
    try:
        socket.create_connection(address, timeout=5)
    except ConnectionRefusedError:
        pass
try:
    socket.getaddrinfo("telemetry.example", 443)
except socket.gaierror:
    pass
socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.77", 53))
socket.create_server(("127.0.0.1", 0))
"""


def test_what_leaves_is_seen(network: ClosedNetwork, tmp_path: Path) -> None:
    run(network, tmp_path / "home", "-c", ASKING)
    assert {*network.asked()} == {
        "tcp 192.0.2.77:443", "tcp 2001:db8::77:443", "name telemetry.example", "udp 192.0.2.77:53",
    }  # fmt: skip


def test_no_command_asks_another_machine(network: ClosedNetwork, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    home = tmp_path / "home"
    program = ("-m", "tests.security.every_command")
    run(network, home, *program, tmp_path / "work", network.record)
    asked = network.asked()
    commands = {name_of(line.split()[1:]) for line in asked if line.startswith("#")}
    wanted = {path for path, found in every_command().items() if not hasattr(found, "commands")}
    assert commands == wanted - _LEFT_OUT
    # In the order of what was asked: the names of commands tell after which.
    others = [x for x in asked if not x.startswith("#") and x not in _OF_RAY | _OWN]
    assert others == [], asked
    assert left(home) <= {".cache/matplotlib", ".config/matplotlib", ".ray/auth_token"}
