"""What a process may use: against trees as kernels write them, and against this machine's kernel."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.processes import machine
from preprocessing.processes.machine import Memory, cpus, memory, num_cpus

GB = 10**9
CGROUP = "/sys/fs/cgroup"
V2 = f"30 24 0:27 / {CGROUP} rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw\n"
OWN = float(len(os.sched_getaffinity(0)))
UNLIMITED_V1 = 9223372036854771712


def v1(root: str = "/") -> str:
    """As a host with the first version mounts its controllers."""
    return "".join(
        f"{number} 31 0:{number} {root} {CGROUP}/{name} rw shared:9 - cgroup cgroup rw,{name}\n"
        for number, name in ((33, "cpu,cpuacct"), (34, "memory"), (35, "name=systemd"))
    )


def tree(
    root: Path, groups: str, mounts: str, values: Mapping[str, object], free: int = 60 * GB
) -> Path:
    """Write what a kernel shows of a host of 64 GB: ``proc`` and ``sys`` below a folder."""
    # Numbers of Linux are in KiB.
    kib = {"MemTotal": 64 * GB // 1000, "MemFree": 5, "MemAvailable": free // 1000}
    lines = "".join(f"{name}:{n * 1000 // 1024:>16} kB\n" for name, n in kib.items())
    files = {
        "proc/meminfo": lines + "HugePages_Total:       0\n",
        "proc/self/cgroup": groups,
        "proc/self/mountinfo": f"24 1 8:1 / / rw - ext4 /dev/root rw\n{mounts}",
        **{f"sys/fs/cgroup/{path}": f"{value}\n" for path, value in values.items()},
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_it_is_the_hosts(tmp_path: Path) -> None:
    values = {
        "memory.stat": "inactive_file 5",
        "a/memory.max": "max",
        "a/memory.high": "max",
        "a/cpu.max": "max 100000",
    }
    root = tree(tmp_path, "0::/a\n", V2, values)
    assert memory(root).total == pytest.approx(64 * GB, rel=1e-6)
    assert memory(root).available == pytest.approx(60 * GB, rel=1e-6)
    assert cpus(root) == OWN


def test_a_container_of_the_second_version(tmp_path: Path) -> None:
    values = {
        "memory.max": GB,
        "memory.high": "max",
        "memory.current": 700_000_000,
        "memory.stat": "anon 300000000\ninactive_file 250000000\nactive_file 150000000",
        "cpu.max": "50000 100000",
    }
    root = tree(tmp_path, "0::/\n", V2, values)
    # What was read from files is given back before anything is refused.
    assert memory(root) == Memory(GB, 700_000_000)
    assert cpus(root) == min(OWN, 0.5)
    assert num_cpus(root) == 1


def test_memory_high_is_a_limit_as_a_process_above_it_is_slowed_down(tmp_path: Path) -> None:
    values = {"a/memory.max": 4 * GB, "a/memory.high": 3 * GB, "a/memory.current": GB}
    assert memory(tree(tmp_path, "0::/a\n", V2, values)) == Memory(3 * GB, 2 * GB)


@pytest.mark.parametrize("name", ["memory.max", "cpu.max"])
@pytest.mark.parametrize("level", ["", "slurm/", "slurm/job_7/", "slurm/job_7/step_0/"])
def test_the_limit_may_be_that_of_any_group_above(tmp_path: Path, name: str, level: str) -> None:
    value = {"memory.max": 2 * GB, "cpu.max": "25000 100000"}[name]
    root = tree(tmp_path, "0::/slurm/job_7/step_0\n", V2, {level + name: value})
    limited = memory(root).total == 2 * GB if name == "memory.max" else cpus(root) == 0.25
    assert limited


def test_use_by_others_in_the_same_job_counts(tmp_path: Path) -> None:
    values = {
        "job/memory.max": 8 * GB,
        "job/memory.current": 7 * GB,
        "job/step/memory.max": 4 * GB,
        "job/step/memory.current": GB,
    }
    assert memory(tree(tmp_path, "0::/job/step\n", V2, values)) == Memory(4 * GB, GB)


def test_a_group_beside_it_is_none_of_ours(tmp_path: Path) -> None:
    values = {"other/memory.max": GB, "job_7/memory.max": GB, "other/cpu.max": "1000 100000"}
    root = tree(tmp_path, "0::/job\n", V2, values)
    assert memory(root).total > 60 * GB
    assert cpus(root) == OWN


def test_the_first_version(tmp_path: Path) -> None:
    groups = "5:memory:/slurm/uid_1/job_7\n4:cpu,cpuacct:/slurm\n1:name=systemd:/x\n"
    values = {
        "memory/memory.limit_in_bytes": UNLIMITED_V1,
        "memory/slurm/uid_1/job_7/memory.limit_in_bytes": 3 * GB,
        "memory/slurm/uid_1/job_7/memory.usage_in_bytes": 2 * GB,
        "memory/slurm/uid_1/job_7/memory.stat": "inactive_file 1\ntotal_inactive_file 500000000",
        "cpu,cpuacct/cpu.cfs_quota_us": -1,
        "cpu,cpuacct/cpu.cfs_period_us": 100000,
        "cpu,cpuacct/slurm/cpu.cfs_quota_us": 75000,
        "cpu,cpuacct/slurm/cpu.cfs_period_us": 100000,
    }
    root = tree(tmp_path, groups, v1(), values)
    assert memory(root) == Memory(3 * GB, 1_500_000_000)
    assert cpus(root) == 0.75


def test_a_container_of_the_first_version_sees_its_own_group_as_the_uppermost(
    tmp_path: Path,
) -> None:
    """The path in ``proc`` is that of the host; in the container there is no such folder."""
    groups = "5:memory:/docker/77ab\n4:cpu,cpuacct:/docker/77ab\n"
    values = {
        "memory/memory.limit_in_bytes": UNLIMITED_V1,
        # Of the groups above it this is all that is seen.
        "memory/memory.stat": f"hierarchical_memory_limit {GB}\ntotal_active_file 0",
        "memory/memory.usage_in_bytes": 400_000_000,
        "cpu,cpuacct/cpu.cfs_quota_us": 20000,
        "cpu,cpuacct/cpu.cfs_period_us": 100000,
    }
    root = tree(tmp_path, groups, v1("/docker/77ab"), values)
    assert memory(root) == Memory(GB, 600_000_000)
    assert cpus(root) == 0.2


def test_both_versions_at_once(tmp_path: Path) -> None:
    groups = "5:memory:/a\n4:cpu,cpuacct:/\n0::/b\n"
    mounts = v1() + V2.replace(f"{CGROUP} ", f"{CGROUP}/unified ")
    values = {"memory/a/memory.limit_in_bytes": 2 * GB, "unified/b/cpu.max": "30000 100000"}
    root = tree(tmp_path, groups, mounts, values)
    assert memory(root).total == 2 * GB
    assert cpus(root) == pytest.approx(0.3)


def test_a_group_outside_of_what_is_mounted(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/../../elsewhere\n", V2, {"memory.max": GB, "memory.current": 0})
    assert memory(root) == Memory(GB, GB)


def test_groups_mounted_at_a_place_with_a_space(tmp_path: Path) -> None:
    mounts = V2.replace(CGROUP, r"/sys/fs/cgroup/my\040groups")
    root = tree(tmp_path, "0::/a\n", mounts, {"my groups/a/memory.max": GB})
    assert memory(root).total == GB


@pytest.mark.parametrize(
    "text", ["", "max", "-1", "lots", "12 13 14", "\0", "0 100000", "100000 0", "max 100000"]
)
def test_what_is_no_limit_limits_nothing(tmp_path: Path, text: str) -> None:
    names = ("memory.max", "memory.high", "memory.stat", "memory.current", "cpu.max")
    root = tree(tmp_path, "0::/\n", V2, dict.fromkeys(names, text))
    assert memory(root).total > 60 * GB
    assert cpus(root) == OWN


def test_more_in_use_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/\n", V2, {"memory.max": GB, "memory.current": 2 * GB})
    assert memory(root) == Memory(GB, 0)


@pytest.mark.parametrize("missing", ["proc/self/cgroup", "proc/self/mountinfo", "proc/meminfo"])
def test_a_system_that_shows_less(tmp_path: Path, missing: str) -> None:
    root = tree(tmp_path, "0::/\n", V2, {})
    (root / missing).unlink()
    assert memory(root).total > 0
    assert memory(root).available > 0
    assert num_cpus(root) >= 1


@given(st.lists(st.tuples(st.integers(0, 2**63), st.integers(-(2**63), 2**63)), max_size=6))
def test_the_tightest_limit_counts_in_any_order(pairs: list[tuple[int, int]]) -> None:
    host = Memory(64 * GB, 60 * GB)
    limits = [Memory(total, free) for total, free in pairs]
    found = host.within(limits)
    assert found == host.within(limits[::-1])
    assert all(found.total <= limit.total for limit in (host, *limits))
    assert all(found.available <= max(0, limit.available) for limit in (host, *limits))
    assert found.available >= 0
    assert found.total in {m.total for m in (host, *limits)}


@given(
    st.lists(st.sampled_from(["max", GB, 3 * GB, 10 * GB, 100 * GB]), min_size=1, max_size=5),
    st.sampled_from(["memory.max", "memory.limit_in_bytes"]),
)
def test_a_chain_of_groups(
    tmp_path_factory: pytest.TempPathFactory, limits: list[int | str], name: str
) -> None:
    below = ["/".join(f"g{i}" for i in range(depth)) for depth in range(len(limits))]
    second = name == "memory.max"
    base = "" if second else "memory/"
    values = {f"{base}{folder}/{name}": limit for folder, limit in zip(below, limits, strict=True)}
    groups = f"0::/{below[-1]}\n" if second else f"5:memory:/{below[-1]}\n"
    root = tree(tmp_path_factory.mktemp("tree"), groups, V2 if second else v1(), values)
    numbers = [limit for limit in limits if isinstance(limit, int)]
    expected = min([64 * GB, *numbers])
    assert memory(root).total == pytest.approx(expected, rel=1e-6)


# Against the kernel that runs here.


def test_this_machine() -> None:
    found = memory()
    assert 0 < found.available <= found.total <= psutil.virtual_memory().total
    assert 1 <= num_cpus() <= OWN


def _in_process(code: str, prefix: tuple[str, ...] = ()) -> str:
    return subprocess.run(
        [*prefix, sys.executable, "-c", f"from preprocessing.processes import machine; {code}"],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(machine.__file__).parents[1],
    ).stdout.strip()


def test_processors_that_it_is_bound_to() -> None:
    one = str(min(os.sched_getaffinity(0)))
    assert _in_process("print(machine.num_cpus())", ("taskset", "-c", one)) == "1"


@pytest.mark.parametrize("kind", ["AS", "DATA"])
def test_a_shells_limit(kind: str) -> None:
    code = (
        f"import resource as r; r.setrlimit(r.RLIMIT_{kind}, ({GB}, r.RLIM_INFINITY));"
        " print(*vars(machine.memory()).values())"
    )
    total, available = map(int, _in_process(code).split())
    assert total == GB
    assert 0 < available < GB


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A control group below this process's own, with half a processor; nothing is in it."""
    place, own = Path(CGROUP), "/"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            place, own = Path(CGROUP) / controllers, path
    folder = place / own.lstrip("/") / f"radiotrain-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield folder
    finally:
        folder.rmdir()


def test_a_real_control_group(real_group: Path) -> None:
    quota = real_group / "cpu.cfs_quota_us"
    try:
        if quota.exists():
            quota.write_text("50000")
        else:
            (real_group / "cpu.max").write_text("50000 100000")
    except OSError as error:
        pytest.skip(f"no processor's time can be limited here: {error}")
    join = ("sh", "-c", f'echo $$ > {real_group}/cgroup.procs && exec "$@"', "sh")
    assert _in_process("print(machine.cpus())", join) == "0.5"


def test_no_limit_of_the_shell_here() -> None:
    """Otherwise the trees above would be measured against it."""
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_a_user_whom_the_system_does_not_know() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    code = (
        "import os, getpass, pathlib; [os.environ.pop(n, None) for n in"
        " ('HOME', 'LOGNAME', 'USER', 'LNAME', 'USERNAME')]; os.setuid(54321);"
        " machine.name_user(); print(getpass.getuser(), pathlib.Path.home())"
    )
    assert _in_process(code) == "54321 /"


def test_a_user_whom_it_knows_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    machine.name_user()
    assert dict(os.environ) == before
