"""Who can connect to what this project starts.

Everything but Ray listens for this machine alone. Ray listens on all of the machine's addresses:
there nothing is done for those who do not have the token.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import pytest
import ray
from distributed import Client

from cluster.dask_on_ray import ray_client
from tests.commands import kill_session, start
from tests.security.conftest import Chain
from tests.security.listening import Listening, listening

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# These answer with numbers to everybody, see SECURITY.md, and with nothing else.
EXPORTERS = ("ray::DashboardAgent", "autoscaler/_private/monitor.py", "dashboard/dashboard.py")


def test_sockets_are_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as here, socket.create_server(("", 0)) as anywhere:
        found = {s.port: s for s in listening()}
        assert found[here.getsockname()[1]].is_local
        assert not found[anywhere.getsockname()[1]].is_local


@pytest.mark.parametrize(
    ("address", "is_local"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("::", False),
     ("0.0.0.0", False), ("::ffff:10.0.0.1", False), ("192.168.1.2", False)],
)  # fmt: skip
def test_which_addresses_are_this_machines_own(address: str, is_local: bool) -> None:
    assert Listening(1, "x", address, 80).is_local is is_local


# A process of its own: this one may have a Ray below it.
PREPROCESSING = """
import json
from preprocessing.processes.dask_client import local_client
from tests.security.listening import listening
if __name__ == "__main__":
    with local_client(2)(2) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        print(json.dumps(listening()))
"""


def test_preprocessing_listens_for_this_machine_alone(tmp_path: Path) -> None:
    (tmp_path / "listens.py").write_text(PREPROCESSING)
    out = subprocess.run(
        [sys.executable, tmp_path / "listens.py"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout
    found = [Listening(*values) for values in json.loads(out.splitlines()[-1])]
    assert len(found) >= 4
    assert [s for s in found if not s.is_local] == []


def test_the_board_listens_for_this_machine_alone(swept: Chain) -> None:
    process = start("board", swept.out / "sweep", "--port", 0)
    try:
        said = re.search(r"TensorBoard on .*:(\d+)/", process.stdout.readline())
        assert said, process.stderr.read()
        found = listening(process.pid)
        assert int(said[1]) in {s.port for s in found}
        assert [s for s in found if not s.is_local] == []
    finally:
        kill_session(process)


def test_training_listens_to_nobody(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("listening")
    words = ("--set", f"out={folder}/run", "--set", "train.epochs=40")
    process = start("train", "--config", chain.out / "run.yaml", *words)
    found = []
    while process.poll() is None and not (folder / "run" / "metrics.jsonl").exists():
        found += listening(process.pid)
        time.sleep(0.2)
    found += listening(process.pid)
    kill_session(process)
    assert found == []


def test_what_ray_opens_to_others_is_known(ray_here: str) -> None:
    ray.get(ray.remote(lambda: 1).remote())
    others = [s for s in listening() if not s.is_local]
    assert others
    known = ("gcs_server", "raylet", "ray::", "python", "pytest")
    assert [s for s in others if not s.program.startswith(known)] == []


def _connecting(address: str, **environment: str) -> subprocess.Popen[str]:
    code = f"import ray; ray.init({address!r}, log_to_driver=False); print('inside', ray.nodes())"
    kept = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, **environment},
    )


def test_ray_takes_those_who_have_the_token(ray_here: str) -> None:
    # A local Ray has one of its own, which lies in no file.
    token = os.environ["RAY_AUTH_TOKEN"]
    out, error = _connecting(ray_here, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token).communicate(
        timeout=100
    )
    assert "inside" in out, error[-2000:]


def test_ray_refuses_those_who_have_not(ray_here: str) -> None:
    attempts = [
        _connecting(ray_here, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="another-token-1234567890"),
        _connecting(ray_here, RAY_AUTH_MODE="disabled"),
    ]
    for attempt in attempts:
        out, error = attempt.communicate(timeout=100)
        assert attempt.returncode != 0
        assert "inside" not in out
        assert "Unauthenticated" in error or "token" in error.lower()


def test_rays_pages_answer_only_those_who_have_the_token(ray_here: str) -> None:
    """All of Ray's ports that speak HTTP, but those that export numbers for Prometheus."""
    answers: dict[str, set[int]] = {}
    for found in listening():
        for path in ("/", "/api/version", "/api/jobs/", "/get_or_create_runtime_env"):
            status, content = _get(found, path)
            if status is not None:
                answers.setdefault(found.program, set()).add(status)
                exported = b"# HELP" in content and any(e in found.program for e in EXPORTERS)
                assert status in (401, 403, 404) or exported, (found, path, status)
    assert any(401 in found for found in answers.values())


def _host(found: Listening) -> str:
    return "127.0.0.1" if found.address in ("0.0.0.0", "::") else found.address


def _get(found: Listening, path: str) -> tuple[int | None, bytes]:
    """Return what HTTP without a token gets; no status where something else is spoken."""
    try:
        url = f"http://{_host(found)}:{found.port}{path}"
        with urllib.request.urlopen(url, timeout=3) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""
    except (OSError, HTTPException):
        return None, b""


def test_dask_on_ray_takes_only_those_with_its_certificate(ray_here: str) -> None:
    before = {s.port for s in listening()}
    with ray_client(1)(1) as client:
        assert client.submit(sum, [1, 2]).result() == 3
        addresses = _addresses(client)
        assert addresses
        assert all(address.startswith("tls://") for address in addresses)
        opened = [s for s in listening() if s.port not in before and not s.is_local]
        of_dask = [s for s in opened if any(a.endswith(f":{s.port}") for a in addresses)]
        assert {s.port for s in of_dask} == {int(a.rpartition(":")[2]) for a in addresses}
        # The others are actors, which ask for Ray's token as all of Ray does.
        assert all(s.program.startswith("ray::") for s in opened if s not in of_dask)
        assert [s for s in of_dask if _talks_to_a_stranger(s)] == []
        for address in addresses:
            with pytest.raises((OSError, TypeError)):
                Client(address.replace("tls://", "tcp://"), timeout=3)


def _addresses(client: Client) -> set[str]:
    """Return where the scheduler, the workers and their nannies are to be found."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    nannies = {worker["nanny"] for worker in workers.values()}
    assert workers
    assert None not in nannies
    return {client.scheduler.address, *workers, *nannies}


def _talks_to_a_stranger(found: Listening) -> bool:
    """Tell whether anything is said after a TLS handshake without a certificate of ours."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        plain = socket.create_connection((_host(found), found.port), timeout=10)
        with plain, context.wrap_socket(plain) as secure:
            return secure.recv(64) != b""
    except OSError:
        return False
