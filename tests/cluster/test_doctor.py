"""The doctor: its judgement on planted troubles, and its measurements on a real Ray of two nodes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from cluster.doctor.examine import examine
from cluster.doctor.facts import Examination, NodeFacts, PairFacts, StorageFacts
from cluster.doctor.judge import judge
from radiotrain.doctor.facts import is_broken
from tests.commands import call, the_sentence

VERSIONS = {"python": "3.12.3", "ray": "2.60.0", "torch": "2.13.0"}
ROOM = {"Ray's logs": 80.0, "home": 80.0, "/dev/shm": 16.0}
HEAD = NodeFacts("10.0.0.1", True, VERSIONS, 0, 0, (), None, ROOM, 0.0, 0.001, True)
WORKER = NodeFacts(
    "10.0.0.2", False, VERSIONS, 8, 1, ("NVIDIA A10G",), "580.1", ROOM, 0.01, 0.001, True
)
OTHER = replace(WORKER, name="10.0.0.3")
ALL = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
WELL = Examination(
    nodes=(HEAD, WORKER, OTHER),
    silent=(),
    storage_url="s3://bucket/runs",
    storage=tuple(StorageFacts(name, None, ALL, 100.0, 200.0) for name in ALL),
    pairs=(
        PairFacts(ALL[0], ALL[1], "gloo", 1.1, 0.1),
        PairFacts(ALL[0], ALL[2], "gloo", 1.2, 0.1),
        PairFacts(ALL[1], ALL[2], "nccl", 2.9, 0.05),
    ),
    all_pairs=True,
)


def grades(examination: Examination) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in judge(examination):
        found.setdefault(finding.check, set()).add(finding.grade)
    return found


def test_a_cluster_that_is_well() -> None:
    findings = judge(WELL)
    assert {finding.grade for finding in findings} == {"ok"}
    assert not is_broken(findings)
    told = {finding.check: finding.what for finding in findings}
    assert told["exchange"] == "all pairs by gloo and nccl: 1.10 to 2.90 GB/s"
    assert "2 × NVIDIA A10G" in told["GPUs"]
    assert "the slowest writes 100 and reads 200 MB/s" in told["storage"]


def with_worker(**changes: object) -> Examination:
    return replace(WELL, nodes=(HEAD, replace(WORKER, **changes), OTHER))  # type: ignore[arg-type]


def with_storage(facts: StorageFacts) -> Examination:
    others = tuple(s for s in WELL.storage if s.node != facts.node)
    return replace(WELL, storage=(facts, *others))


@pytest.mark.parametrize(
    ("examination", "check", "grade", "words"),
    [
        (replace(WELL, silent=("10.0.0.9",)), "nodes", "broken", "10.0.0.9 is counted"),
        (with_worker(asks_for_token=False), "token", "look", "10.0.0.2: whoever reaches"),
        (
            with_worker(versions=VERSIONS | {"torch": "2.12.0"}),
            "versions",
            "broken",
            "torch 2.12.0 on 10.0.0.2; 2.13.0 on 10.0.0.1, 10.0.0.3",
        ),
        (
            with_worker(versions={"python": "3.12.3", "ray": "2.60.0"}),
            "versions",
            "broken",
            "torch 2.13.0 on 10.0.0.1, 10.0.0.3; none on 10.0.0.2",
        ),
        (with_worker(torch_gpus=()), "GPUs", "broken", "hands out 1, PyTorch finds 0"),
        (with_worker(ray_gpus=0), "GPUs", "look", "--num-gpus"),
        (with_worker(skew_s=-75.0), "clocks", "look", "10.0.0.2 is 75.0 s behind"),
        (with_worker(skew_s=1.5, skew_error_s=0.1), "clocks", "look", "1.5 s ahead of"),
        (with_worker(free_gb=ROOM | {"home": 4.0}), "room", "look", "4.0 GB free in home"),
        (with_worker(free_gb=ROOM | {"home": 0.2}), "room", "broken", "0.2 GB free in home"),
        (with_worker(free_gb=ROOM | {"/dev/shm": 2.0}), "room", "look", "Duke's shared copy"),
        (
            with_storage(StorageFacts("10.0.0.2", "PermissionError: Access Denied")),
            "storage",
            "broken",
            "10.0.0.2 cannot use s3://bucket/runs (PermissionError: Access Denied)",
        ),
        (
            with_storage(StorageFacts("10.0.0.2", None, ("10.0.0.2",), 9.0, 9.0)),
            "storage",
            "broken",
            "does not see in s3://bucket/runs what 10.0.0.1, 10.0.0.3 wrote",
        ),
        (replace(WELL, storage_url=None, storage=()), "storage", "look", "--storage"),
        (
            replace(WELL, pairs=(PairFacts(ALL[0], ALL[1], "gloo", error="timed out"),)),
            "exchange",
            "broken",
            "10.0.0.1 and 10.0.0.2 cannot add up gradients by gloo (timed out)",
        ),
        (
            replace(WELL, pairs=(PairFacts(ALL[0], ALL[1], "gloo", 0.05, 1.0),)),
            "exchange",
            "look",
            "exchange 50 MB/s",
        ),
    ],
)
def test_each_trouble_is_named_with_what_to_do(
    examination: Examination, check: str, grade: str, words: str
) -> None:
    findings = judge(examination)
    (named,) = [f for f in findings if f.grade == grade]
    assert named.check == check
    assert words in named.what
    assert is_broken(findings) is (grade == "broken")
    others = grades(examination)
    others.pop(check)
    assert set().union(*others.values()) == {"ok"}


@pytest.mark.parametrize(
    "node",
    [
        replace(WORKER, skew_s=1.5, skew_error_s=0.6),
        replace(HEAD, free_gb=ROOM | {"/dev/shm": 0.5}),
    ],
)
def test_what_is_no_trouble(node: NodeFacts) -> None:
    """A clock that may be right for all that is known; shared memory where nothing trains."""
    alone = Examination((node,), (), "s3://b", (), (), all_pairs=True)
    found = {f.check: f.grade for f in judge(alone) if f.check in ("clocks", "room")}
    assert set(found.values()) == {"ok"}


@pytest.mark.filterwarnings("ignore")
def test_one_node_is_looked_at_where_it_is(ray_here: str, tmp_path: Path) -> None:
    said: list[str] = []
    found = examine(str(tmp_path / "runs"), said.append)
    assert said[0] == "looking at 1 nodes"
    (node,), (storage,) = found.nodes, found.storage
    assert node.is_head
    assert (node.cpus, node.versions["ray"]) == (4, ray.__version__)
    # The same clock.
    assert abs(node.skew_s) <= node.skew_error_s + 0.01
    assert storage.sees == (node.name,)
    assert storage.error is None
    assert min(storage.write_mb_per_s, storage.read_mb_per_s) > 0
    assert (found.silent, found.pairs) == ((), ())
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.filterwarnings("ignore")
def test_storage_that_a_node_cannot_write_is_broken(ray_here: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = examine(str(tmp_path / "file" / "runs"), lambda line: None)
    assert found.storage[0].error
    assert grades(found)["storage"] == {"broken"}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """A cluster beside the Ray of the other tests, for programs of their own."""
    arguments = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    hosts = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        hosts.add_node(num_cpus=1, object_store_memory=80_000_000)
        yield hosts
    finally:
        hosts.shutdown()


def drive(hosts: Cluster, *words: object, status: int = 0) -> tuple[str, str]:
    """Run Python on the cluster; return its output and errors."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "RAY_ADDRESS": hosts.address},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


DOCTOR = ("-m", "radiotrain", "cluster", "doctor")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_on_a_real_ray(two_nodes: Cluster, tmp_path: Path) -> None:
    words = ("--storage", tmp_path / "runs", "--json", tmp_path / "found.json")
    out, error = drive(two_nodes, *DOCTOR, *words)
    assert "looking at 2 nodes" in error
    found = json.loads((tmp_path / "found.json").read_text())
    assert [node["is_head"] for node in found["nodes"]].count(True) == 1
    for node in found["nodes"]:
        assert node["versions"]["ray"] == ray.__version__
        # The same clock.
        assert abs(node["skew_s"]) <= node["skew_error_s"] + 0.01
    names = {node["name"] for node in found["nodes"]}
    assert len(names) == 2
    assert {frozenset(s["sees"]) for s in found["storage"]} == {frozenset(names)}
    (pair,) = found["pairs"]
    assert pair["error"] is None
    assert pair["gb_per_s"] > 0
    assert f"{pair['gb_per_s']:.2f}" in out
    assert "written, read and seen by all" in out
    # Nothing is left behind.
    assert not (tmp_path / "runs").exists() or list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_folder_that_cannot_be_written_is_broken(two_nodes: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = ("--storage", tmp_path / "file" / "runs")
    out, _ = drive(two_nodes, *DOCTOR, *words, status=1)
    assert "broken" in out
    assert "cannot use" in out


SWALLOWED = """
import json, sys
from cluster.doctor import examine
from cluster.session import join_cluster
examine._PAIR_TIMEOUT_S = 3.0
examine._port = lambda node: int(sys.argv[1])
with join_cluster():
    print(json.dumps(examine.examine(None, lambda line: None).to_json()["pairs"]))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_port_that_swallows_everything_is_a_finding(two_nodes: Cluster) -> None:
    """As behind a firewall that drops: nobody answers, and nothing hangs."""
    with socket.create_server(("0.0.0.0", 0)) as hole:
        out, _ = drive(two_nodes, "-c", SWALLOWED, hole.getsockname()[1])
    (pair,) = (PairFacts(**values) for values in json.loads(out.splitlines()[-1]))
    assert pair.gb_per_s is None
    assert pair.error
    assert grades(replace(WELL, pairs=(pair,)))["exchange"] == {"broken"}


def test_without_a_cluster_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("cluster.session._running_cluster", lambda: None)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    _, error = call("cluster", "doctor", status=2)
    assert "no Ray cluster runs on this machine" in the_sentence(error)
