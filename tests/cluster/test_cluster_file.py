"""What `ray up` would be asked for, and what it asks of AWS."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
FILE = ROOT / "ray_cluster.yaml"


@pytest.fixture
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def workers(config: dict[str, Any]) -> dict[str, Any]:
    kinds: dict[str, Any] = config["available_node_types"]
    return {name: kind for name, kind in kinds.items() if name != config["head_node_type"]}


def test_ray_takes_the_cluster_file(config: dict[str, Any]) -> None:
    validate_config(prepare_config(config))


def test_ray_would_refuse_a_misspelt_field(config: dict[str, Any]) -> None:
    config["idle_timeout_mins"] = 5
    with pytest.raises(Exception, match="idle_timeout_mins"):
        validate_config(prepare_config(config))


def test_nothing_trains_on_the_head_and_the_dashboard_stays_local(config: dict[str, Any]) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"]["CPU"] == 0
    assert "--dashboard-host=127.0.0.1" in " ".join(config["head_start_ray_commands"])


def test_every_worker_comes_from_zero_and_reaches_s3_without_keys(config: dict[str, Any]) -> None:
    for kind in workers(config).values():
        assert kind["min_workers"] == 0
        assert kind["node_config"]["IamInstanceProfile"] == {"Name": "radiotrain-worker"}
        assert kind["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_on_demand_is_what_spot_is_otherwise(config: dict[str, Any]) -> None:
    spot, on_demand = (workers(config)[name] for name in ("gpu_spot", "gpu_on_demand"))
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot == on_demand
    start = config["head_start_ray_commands"][-1]
    assert "RAY_enable_autoscaler_v2=0" in start
    assert "RAY_AUTOSCALER_UTILIZATION_SCORER=cluster.node_choice.score" in start


def test_no_key_is_in_the_file() -> None:
    text = FILE.read_text().lower()
    assert not any(word in text for word in ("aws_secret", "access_key", "password"))


def test_commands_are_bash_and_the_environment_can_be_written_twice(
    config: dict[str, Any], tmp_path: Path
) -> None:
    for part in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[part]:
            subprocess.run(["bash", "-n", "-c", command], check=True)
    target = tmp_path / "radiotrain.sh"
    write = config["setup_commands"][0].replace("/etc/profile.d/radiotrain.sh", str(target))
    for _ in range(2):
        subprocess.run(["bash", "-c", write.replace("sudo ", "")], check=True)
    shown = subprocess.run(
        ["bash", "-c", f". {target}; env"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert {"RAY_AUTH_MODE=token", "NCCL_SOCKET_IFNAME=^docker,lo"} <= set(shown)
    assert any(line.startswith(f"PATH={Path.home()}/venv/bin:") for line in shown)
    assert len(target.read_text().splitlines()) == 6


def own_network() -> str | None:
    """Say why there can be no network of one's own, or nothing."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare (util-linux) and ip (iproute2) are needed"
    words = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    tried = subprocess.run(words, capture_output=True, check=False)
    return None if tried.returncode == 0 else "making a network needs root"


@pytest.mark.slow
def test_ray_up_asks_aws_for_no_more_than_a_closed_head(tmp_path: Path) -> None:
    why = own_network()
    if why is not None:
        pytest.skip(why)
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    program = ROOT / "tests/cluster/aws_account.py"
    words = ["unshare", "--net", sys.executable, str(program), str(FILE), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    head = found["instance"]
    assert head["InstanceType"] == "m6i.xlarge"
    assert head["IamInstanceProfile"]["Arn"].endswith("instance-profile/radiotrain-head")
    # Ray's own role, which may do everything in EC2, was not made.
    assert set(found["roles"]) == {"radiotrain-head", "radiotrain-worker"}
    tags = {tag["Key"]: tag["Value"] for tag in head["Tags"]}
    assert tags["ray-cluster-name"] == "radiotrain"
    assert tags["ray-node-type"] == tags["ray-user-node-type"] == "head"
    (group,) = found["groups"]
    ssh, itself = sorted(group["IpPermissions"], key=lambda r: r["IpProtocol"], reverse=True)
    assert (ssh["FromPort"], ssh["ToPort"]) == (22, 22)
    assert [r["CidrIp"] for r in ssh["IpRanges"]] == ["203.0.113.7/32"]
    assert [g["GroupId"] for g in itself["UserIdGroupPairs"]] == [group["GroupId"]]
    assert itself["IpRanges"] == []
