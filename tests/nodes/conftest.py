"""A real Ray cluster on several hosts, begun by `ray up`, with an S3 server that all of them reach."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.nodes.hosts import Hosts, missing

BUCKET = "radiotrain"
_ROOT = Path(__file__).parents[2]
_KEY, _SECRET = "tests", "tests-of-radiotrain"
_ADDRESSES = {"laptop": 2, "s3": 5, "head": 10, "w1": 11, "w2": 12}
_PORT = 8333
START = "--num-cpus=1 --object-store-memory=120000000"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = missing()
    for item in items:
        if why is not None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"hosts on one machine: {why}"))


class Cluster:
    """The cluster as somebody at a laptop has it.

    Parameters
    ----------
    hosts
        The laptop, the S3 server, and the nodes head, w1 and w2.
    file
        What `ray up` was given.
    """

    def __init__(self, hosts: Hosts, file: Path) -> None:
        self.hosts = hosts
        self.file = file

    def exec(self, command: str, *, timeout_s: float = 300, status: int = 0) -> str:
        """Run a command on the head, from the laptop, as `ray exec` does."""
        words = f"ray exec {self.file} {shlex.quote(command)}"
        return self.hosts.run("laptop", words, timeout_s=timeout_s, status=status)

    def submit(self, job: str, *words: object, timeout_s: float = 300, status: int = 0) -> str:
        """Submit one of the job scripts, as the README says, and wait for its end."""
        return self.hosts.run(
            "laptop", self._submission(job, *words), timeout_s=timeout_s, status=status
        )

    def begin(self, job: str, *words: object) -> subprocess.Popen[str]:
        """Submit a job and go on."""
        return self.hosts.popen("laptop", self._submission(job, *words))

    def fetch(self, url: str) -> Path:
        """Copy a file or folder from S3 to where the test can read it."""
        here = self.hosts.folder / "fetched" / f"{time.monotonic_ns()}"
        get = f"import s3fs; s3fs.S3FileSystem().get({url!r}, {str(here)!r}, recursive=True)"
        self.hosts.run("laptop", f"python -c {shlex.quote(get)}")
        return here

    def read(self, url: str) -> str:
        """Return a file's text; empty where there is none, or S3 does not answer."""
        cat = f"import s3fs; print(s3fs.S3FileSystem().cat({url!r}).decode(), end='')"
        process = self.hosts.popen("laptop", f"timeout 10 python -c {shlex.quote(cat)} 2>/dev/null")
        text, _ = process.communicate()
        return text if process.returncode == 0 else ""

    def nodes(self) -> set[str]:
        """Return the names of the nodes that Ray counts as alive."""
        found = self.hosts.run("head", f"python -c {shlex.quote(_ALIVE)}")
        # Ray may say something of its own after it, of a node that has just been lost for instance.
        (line,) = [line for line in found.splitlines() if line.startswith(_MARK)]
        alive = set(json.loads(line.removeprefix(_MARK)))
        return {name for name in self.hosts.addresses if self.hosts.ip(name) in alive}

    def wait_for_nodes(self, wanted: set[str], timeout_s: float = 120) -> None:
        """Wait until these nodes and no others are alive."""
        deadline = time.monotonic() + timeout_s
        while (found := self.nodes()) != wanted:
            assert time.monotonic() < deadline, f"{found} after {timeout_s} s, expected {wanted}"
            time.sleep(1)

    def _submission(self, job: str, *words: object) -> str:
        script = _ROOT / "cluster" / "jobs" / f"{job}.py"
        return f"ray submit {self.file} {script} {shlex.join(map(str, words))}"


_MARK = "alive: "
_ALIVE = f"""
import json, logging, ray
ray.init(address="auto", logging_level=logging.ERROR, log_to_driver=False)
print({_MARK!r} + json.dumps([n["NodeManagerAddress"] for n in ray.nodes() if n["Alive"]]))
"""


_MAKE_BUCKET = f"""
import time, s3fs
for _ in range(60):
    try:
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir({BUCKET!r})
        break
    except Exception as error:
        last = error
        time.sleep(1)
else:
    raise last
"""


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    # Sockets' names are short, and pytest's folders are not.
    with tempfile.TemporaryDirectory(
        prefix="hosts-", dir="/tmp", ignore_cleanup_errors=True
    ) as name:
        made = Hosts(
            Path(name),
            _ADDRESSES,
            {
                "AWS_ENDPOINT_URL": f"http://10.77.0.{_ADDRESSES['s3']}:{_PORT}",
                "AWS_ACCESS_KEY_ID": _KEY,
                "AWS_SECRET_ACCESS_KEY": _SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                # What these tests lie beside, wherever another copy of the project is installed.
                "PYTHONPATH": str(_ROOT),
                "RAY_AUTH_MODE": "token",
                # The newer one counts the head as a worker with the provider local.
                "RAY_UP_enable_autoscaler_v2": "0",
                "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
            },
        )
        made.up()
        try:
            yield made
        finally:
            made.down()


@pytest.fixture(scope="session")
def s3(hosts: Hosts) -> Iterator[str]:
    """The URL of a bucket on a server of its own host."""
    folder = hosts.folder / "s3" / "data"
    folder.mkdir()
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    weed = Path(sys.executable).parent / "weed"
    options = {
        "ip": hosts.ip("s3"), "ip.bind": hosts.ip("s3"), "dir": folder,
        "s3.config": folder / "identities.json", "s3.port": _PORT,
        "s3.port.iceberg": 0, "s3.port.lance": 0, "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64, "volume.max": 100,
    }  # fmt: skip
    words = [str(weed), "server", "-s3", *(f"-{k}={v}" for k, v in options.items())]
    with (hosts.folder / "s3" / "log" / "weed").open("wb") as log:
        process = subprocess.Popen(hosts.in_network("s3", words), stdout=log, stderr=log)
    try:
        hosts.run("laptop", f"python -c {shlex.quote(_MAKE_BUCKET)}", timeout_s=90)
        yield f"s3://{BUCKET}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def cluster(hosts: Hosts, s3: str) -> Iterator[Cluster]:
    """Begun once for all tests by `ray up`; each leaves it with all nodes."""
    token = hosts.folder / "auth_token"
    token.write_text("a" * 64)
    head = (
        f"ray start --head --port=6379 {START} --dashboard-host=127.0.0.1"
        " --autoscaling-config=~/ray_bootstrap_config.yaml"
    )
    values = {
        "cluster_name": "nodes",
        "provider": {
            "type": "local",
            "head_ip": hosts.ip("head"),
            "worker_ips": [hosts.ip("w1"), hosts.ip("w2")],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": str(hosts.key)},
        "min_workers": 2,
        "max_workers": 2,
        "idle_timeout_minutes": 60,
        "file_mounts": {"~/.ray/auth_token": str(token)},
        "head_start_ray_commands": ["ray stop", head],
        "worker_start_ray_commands": ["ray stop", f"ray start --address=$RAY_HEAD_IP:6379 {START}"],
    }
    file = hosts.folder / "cluster.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    hosts.run("laptop", f"mkdir -p ~/.ray && cp {token} ~/.ray/auth_token")
    hosts.run("laptop", f"ray up -y {file}", timeout_s=180)
    made = Cluster(hosts, file)
    made.wait_for_nodes({"head", "w1", "w2"})
    return made


QUICK = (
    "--quick",
    *("--set", "sweep.networks=[ResNet10-narrow]"),
    *("--set", "sweep.targets=[ER]"),
    *("--set", "sweep.train.epochs=4"),
    *("--set", "sweep.halving.grace_epochs=2"),
)


@dataclass(frozen=True)
class Road:
    """What `ray submit` of the whole road printed, and where it left everything."""

    printed: str
    out: str


@pytest.fixture(scope="session")
def road(cluster: Cluster, s3: str) -> Road:
    """From a cohort on S3 to a report on S3, by one submitted job."""
    cluster.hosts.run("laptop", "radiotrain phantom cohort --patients 40 --matrix 64 --slices 24")
    put = f"import s3fs; s3fs.S3FileSystem().put('cohort', '{s3}/cohort', recursive=True)"
    cluster.hosts.run("laptop", f"python -c {shlex.quote(put)}")
    words = (f"{s3}/cohort", "--out", f"{s3}/out", *QUICK)
    printed = cluster.submit("reproduce", *words, timeout_s=500)
    return Road(printed, f"{s3}/out")
