"""EC2's notice that a spot instance is taken back, from a server that speaks as its metadata service does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.spot_watch import Interruption, MetadataService, read_interruption

NOW = datetime(2026, 11, 30, 18, 0, 0, tzinfo=UTC)


@dataclass
class Metadata:
    """What the service says, and what it was asked."""

    url: str = ""
    notice: str | None = None
    after: int = 0
    token: str = "a-token"
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    """A service that wants version 2's token and knows of no notice until it has been asked `after` times."""
    said = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            is_token = self.path == "/latest/api/token"
            has_ttl = "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
            self._answer(200 if is_token and has_ttl else 400, said.token)

        def do_GET(self) -> None:
            said.asked.append(self.path)
            if self.headers.get("X-aws-ec2-metadata-token") != said.token:
                self._answer(401, "")
            elif said.notice is None or len(said.asked) <= said.after:
                self._answer(404, "")
            else:
                self._answer(200, said.notice)

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    said.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield said
    server.shutdown()
    thread.join()
    server.server_close()


def in_seconds(seconds: float) -> str:
    when = datetime.now(UTC) + timedelta(seconds=seconds)
    return json.dumps({"action": "terminate", "time": when.strftime("%Y-%m-%dT%H:%M:%SZ")})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"action": "terminate", "time": "2026-11-30T18:02:00Z"}', Interruption("terminate", 120)),
        ('{"action": "stop", "time": "2026-11-30T18:00:30Z"}', Interruption("stop", 30)),
        ('{"action": "hibernate", "time": "2026-11-30T17:59:00Z"}', Interruption("hibernate", 0)),
        ('{"action": "terminate", "time": "soon"}', Interruption("terminate", 120)),
        ('{"action": "terminate", "time": "2026-11-30T18:02:00"}', Interruption("terminate", 120)),
        ("{}", Interruption("terminate", 120)),
        ("[]", Interruption("terminate", 120)),
        ("", Interruption("terminate", 120)),
    ],
)
def test_a_notice_is_read_and_a_strange_one_is_one_too(text: str, expected: Interruption) -> None:
    assert read_interruption(text, NOW) == expected


def test_there_is_none_until_there_is_one(metadata: Metadata) -> None:
    service = MetadataService(metadata.url)
    assert service.interruption() is None
    metadata.notice = in_seconds(100)
    # Its token has run out meanwhile.
    metadata.token = "another"
    with pytest.raises(OSError, match="401"):
        service.interruption()
    found = service.interruption()
    assert found is not None
    assert found.action == "terminate"
    assert 90 <= found.seconds_left <= 100


def test_a_service_that_does_not_answer_is_an_oserror() -> None:
    with pytest.raises(OSError, match="refused"):
        MetadataService("http://127.0.0.1:9").interruption()


def test_the_program_drains_the_node_and_ends(metadata: Metadata, tmp_path: Path) -> None:
    """With a command that writes down what it was given in the place of Ray's."""
    ray = tmp_path / "ray"
    ray.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/given\n')
    ray.chmod(0o755)
    metadata.notice = in_seconds(120)
    done = subprocess.run(
        [sys.executable, "-m", "cluster.spot_watch"],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
            # Never asked.
            "http_proxy": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    command, reason, message, deadline = (tmp_path / "given").read_text().splitlines()
    assert (command, reason) == ("drain-node", "--reason=DRAIN_NODE_REASON_PREEMPTION")
    assert message.endswith("takes the spot instance back (terminate)")
    assert 90 <= int(deadline.removeprefix("--deadline-remaining-seconds=")) <= 110
