"""Dashboards answer no page from elsewhere that calls this machine by a name of its own (DNS rebinding)."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cluster.sweep.config import SweepConfig
from cluster.sweep.folder import SweepFolder
from preprocessing.processes.machine import is_own_host
from radiotrain.config.run_config import parse_config
from tests.commands import end_all, kill_session, start

OWN = socket.gethostname()


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:6006",
        "LOCALHOST:1",
        "127.0.0.1:8787",
        "[::1]:8787",
        "10.0.0.7",
        OWN,
        f"{OWN}:1",
    ],
)
def test_names_of_this_machine(header: str) -> None:
    assert is_own_host(header)


@pytest.mark.parametrize(
    "header",
    [None, "", "evil.example", "evil.example:6006", "localhost.evil.example", "127.0.0.1.evil.example",
     "localhost@evil.example", f"{OWN}.evil.example", "[::1", "0x7f000001", "::1 evil.example"],
)  # fmt: skip
def test_other_names(header: str | None) -> None:
    assert not is_own_host(header)


def test_a_name_that_was_given() -> None:
    assert is_own_host("Board.hospital.example:6006", "board.hospital.example")


def status_of(address: str, host: str, **headers: str) -> int:
    request = urllib.request.Request(address, headers={"Host": host, **headers})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


# A process of its own: the dashboard listens in it for as long as it lives.
DASK = """
import sys
from preprocessing.processes.dask_client import local_client
if __name__ == "__main__":
    with local_client(1)(1) as client:
        print(client.dashboard_link, flush=True)
        sys.stdin.read()
"""
_PAGES = (
    "status",
    "info/main/workers.html",
    "json/counts.json",
    "metrics",
    "health",
    "sitemap.json",
    "no-page",
)


@pytest.mark.slow
def test_dask_refuses_other_hosts(tmp_path: Path) -> None:
    (tmp_path / "dashboard.py").write_text(DASK)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "dashboard.py"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        root = process.stdout.readline().strip().removesuffix("status")
        assert status_of(f"{root}status", "localhost:8787") == 200
        for page in _PAGES:
            assert status_of(root + page, "evil.example:8787") == 403, page
        socket_words = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
        assert status_of(f"{root}status/ws", "evil.example", **socket_words) == 403
    finally:
        process.communicate("")


@pytest.mark.slow
def test_the_board_refuses_other_hosts(tmp_path: Path) -> None:
    out = str(tmp_path / "sweep")
    values = {"store": "store", "split": "splits.json", "out": out, "targets": ["ER"],
              "networks": ["ResNet10-narrow"]}  # fmt: skip
    SweepFolder(out).write_sweep(parse_config(SweepConfig, values, "test"))
    board = start("board", tmp_path / "sweep", "--port", 0)
    try:
        assert board.stdout is not None
        address = re.search(r"http://\S+", board.stdout.readline())
        assert address, board.communicate()
        for page in ("", "data/runs", "data/environment", "no-page"):
            assert status_of(address[0] + page, "evil.example:6006") == 403, page
        assert status_of(address[0], "localhost:6006") == 200
        assert status_of(f"{address[0]}data/runs", "127.0.0.1:6006") == 200
    finally:
        kill_session(board)
        end_all()
