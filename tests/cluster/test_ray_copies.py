"""Workers that are copies of one process (`tests.ray_copies`) differ from Ray's own in nothing that shows."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

# Ray's own worker processes warn; none of it is ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@ray.remote(num_cpus=1)
class Witness:
    def tell(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "group": os.getpgrp(),
            "parent": Path(f"/proc/{os.getppid()}/cmdline").read_text(),
            "loaded": {"torch", "monai", "ray.train", "cluster.train"} <= set(sys.modules),
            "asked": os.environ.get("ASKED"),
            "raylet": Path(f"/proc/{os.environ['RAY_RAYLET_PID']}/comm").read_text().strip(),
            "random": [ray.NodeID.from_random().hex() for _ in range(3)],
            "children": signal.getsignal(signal.SIGCHLD),
        }


@pytest.fixture(scope="module")
def told(ray_here: str) -> list[dict[str, Any]]:
    """What three workers say, one of which was asked for with a variable."""
    asked = Witness.options(runtime_env={"env_vars": {"ASKED": "yes"}})  # type: ignore[attr-defined]
    witnesses = [Witness.remote(), Witness.remote(), asked.remote()]  # type: ignore[attr-defined]
    found = ray.get([witness.tell.remote() for witness in witnesses])
    for witness in witnesses:
        ray.kill(witness)
    return found


def test_they_are_copies_and_each_is_a_process_with_its_group(told: list[dict[str, Any]]) -> None:
    assert all("tests.ray_copies.loaded" in worker["parent"] for worker in told)
    assert all(worker["loaded"] for worker in told)
    assert len({worker["pid"] for worker in told}) == 3
    assert all(worker["group"] == worker["pid"] for worker in told)


def test_they_know_their_raylet_and_what_was_asked_for(told: list[dict[str, Any]]) -> None:
    assert [worker["asked"] for worker in told] == [None, None, "yes"]
    assert {worker["raylet"] for worker in told} == {"raylet"}
    assert {worker["children"] for worker in told} == {signal.SIG_DFL}


def test_no_two_draw_the_same_random_numbers(told: list[dict[str, Any]]) -> None:
    drawn = [number for worker in told for number in worker["random"]]
    assert len(set(drawn)) == len(drawn) == 9


def test_one_that_is_killed_is_missed(ray_here: str) -> None:
    witness = Witness.remote()  # type: ignore[attr-defined]
    os.kill(ray.get(witness.tell.remote())["pid"], signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(witness.tell.remote(), timeout=30)


@pytest.mark.parametrize("said", [b"", (100).to_bytes(8, "big") + b"[[]"], ids=["nothing", "half"])
def test_one_that_ends_before_it_has_asked_harms_nobody(ray_here: str, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(os.environ["RAY_COPIES_SOCKET"])
        asking.sendall(said)
    witness = Witness.remote()  # type: ignore[attr-defined]
    assert ray.get(witness.tell.remote(), timeout=30)["loaded"]
    ray.kill(witness)
