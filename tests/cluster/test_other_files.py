"""Ray on machines of one's own, in Kubernetes and under Slurm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from ray.autoscaler._private.util import prepare_config, validate_config

CLUSTER = Path(__file__).parents[2] / "cluster"
SLURM = CLUSTER / "slurm.sh"


def test_ray_takes_the_file_of_own_machines() -> None:
    config = yaml.safe_load((CLUSTER / "onprem.yaml").read_text())
    prepared = prepare_config(config)
    validate_config(prepared)
    assert config["min_workers"] == config["max_workers"] == len(config["provider"]["worker_ips"])
    for part in ("head_start_ray_commands", "worker_start_ray_commands", "setup_commands"):
        for command in config[part]:
            subprocess.run(["bash", "-n", "-c", command], check=True)
    for part in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[part][-1]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Slurm's own commands, which say what they were given."""
    for name, said in {
        "scontrol": "echo node1; echo node2",
        "getent": "echo 10.0.0.1 STREAM node1",
        "srun": 'env | grep ^RAY_AUTH; printf "%s|" "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{said}\n")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_slurm_runs_one_command_on_all_nodes_with_a_token(tools: Path) -> None:
    job = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}
    job |= {"SLURM_CPUS_PER_TASK": "8", "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(SLURM), "tune", "--config", "a b.yaml"],
        env={**os.environ, **job}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "|--address|10.0.0.1:20007|--min-nodes|2|" in done.stdout
    assert done.stdout.endswith("|--|radiotrain|tune|--config|a b.yaml|")
    (token,) = [x for x in done.stdout.splitlines() if x.startswith("RAY_AUTH_TOKEN=")]
    assert len(token.removeprefix("RAY_AUTH_TOKEN=")) == 64
    assert "RAY_AUTH_MODE=token" in done.stdout


def test_kubernetes_gets_a_job_with_a_token_shared_memory_and_no_keys() -> None:
    job = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    # One that the image could not have would be refused.
    assert f"ray=={spec['rayVersion']}" in (CLUSTER.parent / "constraints.txt").read_text().split()
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == "radiotrain"
        (volume,) = pod["volumes"]
        assert volume["emptyDir"]["medium"] == "Memory"
        (container,) = pod["containers"]
        assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/dev/shm"}]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert not any("KEY" in variable["name"] for variable in container["env"])
    (gpu,) = spec["workerGroupSpecs"]
    assert gpu["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_kubernetes_own_definition_takes_the_job() -> None:
    """KubeRay's schema is 1.4 MB and not ours to ship: run by hand, see CONTRIBUTING.md."""
    place = os.environ.get("RADIOTRAIN_KUBERAY_CRD")
    if place is None:
        pytest.skip("no RADIOTRAIN_KUBERAY_CRD: KubeRay's file crd/bases/ray.io_rayjobs.yaml")
    definition = yaml.safe_load(Path(place).read_text())
    (version,) = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
    schema = _refusing_unknown_keys(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {}  # Kubernetes' own, not described here
    job = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
    errors = [f"{list(e.path)}: {e.message}" for e in Draft202012Validator(schema).iter_errors(job)]
    assert errors == []
    job["spec"]["rayClusterSpec"]["headGroupSpecs"] = {}
    assert not Draft202012Validator(schema).is_valid(job)


def _refusing_unknown_keys(node: Any) -> Any:
    """Return a schema as Kubernetes reads it: what it does not name is refused."""
    if isinstance(node, list):
        return [_refusing_unknown_keys(part) for part in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _refusing_unknown_keys(part) for key, part in node.items()}
    if closed.pop("x-kubernetes-int-or-string", False):
        return {}
    if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed
