"""Run as a program in a network of its own: `ray up` on a stand-in for AWS, up to the head's launch.

Prints as JSON what was asked for. Words: the cluster file, and a folder to be the home.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import yaml
from moto.server import ThreadedMotoServer

_URL = "http://127.0.0.1:5555"
_TIMEOUT_S = 50
_MY_ADDRESS = "203.0.113.7/32"
_HERE = {
    "AWS_ENDPOINT_URL": _URL,
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def main(file: Path, home: Path) -> None:
    """Prepare the account as the guide says, run `ray up` there, and print what came of it."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.environ.update(_HERE, HOME=str(home))
    server = ThreadedMotoServer("127.0.0.1", 5555, verbose=False)
    server.start()
    ec2: Any = boto3.client("ec2")
    _prepare(ec2)
    copy = home / "cluster.yaml"
    copy.write_text(_with_image(file.read_text(), ec2.describe_images()["Images"][0]["ImageId"]))
    ray = subprocess.Popen(
        # Ray keeps what it found of an account in /tmp, for other runs with the same file.
        [str(Path(sys.executable).parent / "ray"), "up", "-y", "--no-config-cache", str(copy)],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        instance = _wait_for_instance(ec2, ray)
    finally:
        # It would now try to reach the head by ssh.
        ray.kill()
        ray.wait()
    groups = ec2.describe_security_groups(
        GroupIds=[g["GroupId"] for g in instance["SecurityGroups"]]
    )
    roles = [role["RoleName"] for role in boto3.client("iam").list_roles()["Roles"]]
    found = {"instance": instance, "groups": groups["SecurityGroups"], "roles": roles}
    print(json.dumps(found, default=str))
    server.stop()


def _prepare(ec2: Any) -> None:
    """Make the profiles and the security group of docs/operations.md."""
    iam: Any = boto3.client("iam")
    for name in ("radiotrain-head", "radiotrain-worker"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    made = ec2.create_security_group(GroupName="radiotrain", Description="radiotrain", VpcId=vpc)
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": _MY_ADDRESS}]}
    itself = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": made["GroupId"]}]}
    ec2.authorize_security_group_ingress(GroupId=made["GroupId"], IpPermissions=[ssh, itself])


def _with_image(text: str, image: str) -> str:
    """Name an image that the stand-in has: it looks no name up."""
    config = yaml.safe_load(text)
    for kind in config["available_node_types"].values():
        kind["node_config"]["ImageId"] = image
    # Not the whole project: it is hashed, and nobody is there to take it.
    config["file_mounts"].pop("~/radiotrain")
    return yaml.safe_dump(config, sort_keys=False)


def _wait_for_instance(ec2: Any, ray: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + _TIMEOUT_S
    before: dict[str, Any] | None = None
    while time.monotonic() < deadline and ray.poll() is None:
        for reservation in ec2.describe_instances()["Reservations"]:
            instance: dict[str, Any] = reservation["Instances"][0]
            # The stand-in shows an instance while it still adds what was asked for.
            if instance == before:
                return instance
            before = instance
        time.sleep(1)
    ray.kill()
    assert ray.stdout is not None
    raise SystemExit(ray.stdout.read().decode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
