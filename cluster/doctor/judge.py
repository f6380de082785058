"""Findings about a cluster, from its measurements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from cluster.doctor.facts import Examination, NodeFacts
from radiotrain.doctor.facts import Finding, Grade, little_disk, little_shared_memory

_MOST_SKEW_S = 1.0
# A tenth of what the slowest of today's networks between machines has.
_SLOW_GB_PER_S = 0.1


def judge(examination: Examination) -> tuple[Finding, ...]:
    """Return at least one finding for each check."""
    checks: dict[str, Callable[[Examination], Iterator[Finding]]] = {
        "nodes": _nodes,
        "token": _token,
        "versions": _versions,
        "GPUs": _gpus,
        "clocks": _clocks,
        "room": _room,
        "storage": _storage,
        "exchange": _exchange,
    }
    return tuple(finding for check in checks.values() for finding in check(examination))


def _nodes(examination: Examination) -> Iterator[Finding]:
    for name in examination.silent:
        yield Finding(
            "broken",
            "nodes",
            f"{name} is counted by Ray and does not answer: look at Ray's logs there, start it again",
        )
    nodes = examination.nodes
    cpus, gpus = sum(n.cpus for n in nodes), sum(n.ray_gpus for n in nodes)
    yield Finding("ok", "nodes", f"{len(nodes)} answer; Ray has {cpus:g} CPUs and {gpus:g} GPUs")


def _token(examination: Examination) -> Iterator[Finding]:
    open_nodes = [node.name for node in examination.nodes if not node.asks_for_token]
    if not open_nodes:
        yield Finding("ok", "token", "Ray answers only those who have the token")
    else:
        yield Finding(
            "look",
            "token",
            f"{', '.join(open_nodes)}: whoever reaches the ports may run code there; set"
            " RAY_AUTH_MODE=token on every node, the same ~/.ray/auth_token, and start Ray again",
        )


def _versions(examination: Examination) -> Iterator[Finding]:
    differ = False
    names = sorted({name for node in examination.nodes for name in node.versions})
    for name in names:
        found: dict[str, list[str]] = defaultdict(list)
        for node in examination.nodes:
            found[node.versions.get(name, "none")].append(node.name)
        if len(found) > 1:
            differ = True
            where = "; ".join(f"{v} on {', '.join(nodes)}" for v, nodes in sorted(found.items()))
            yield Finding(
                "broken", "versions", f"{name} {where}: install all from the same constraints.txt"
            )
    if examination.nodes and not differ:
        shown = ", ".join(f"{n} {v}" for n, v in examination.nodes[0].versions.items())
        yield Finding("ok", "versions", f"the same everywhere: {shown}")


def _gpus(examination: Examination) -> Iterator[Finding]:
    wrong = False
    for node in examination.nodes:
        if node.ray_gpus == len(node.torch_gpus):
            continue
        wrong = True
        driver = f"driver {node.driver}" if node.driver else "no driver that answers nvidia-smi"
        fix = (
            "start Ray with --num-gpus"
            if node.ray_gpus < len(node.torch_gpus)
            else "install the driver, or a torch that goes with it"
        )
        grade: Grade = "look" if node.ray_gpus < len(node.torch_gpus) else "broken"
        yield Finding(
            grade,
            "GPUs",
            f"{node.name}: Ray hands out {node.ray_gpus:g}, PyTorch finds {len(node.torch_gpus)}"
            f" ({driver}): {fix}",
        )
    if not wrong:
        yield Finding("ok", "GPUs", _gpus_in_words(examination))


def _gpus_in_words(examination: Examination) -> str:
    names = [name for node in examination.nodes for name in node.torch_gpus]
    if not names:
        return "none, and none is handed out: trainings use CPUs"
    kinds = ", ".join(f"{names.count(name)} × {name}" for name in sorted(set(names)))
    return f"PyTorch finds those that Ray hands out: {kinds}"


def _clocks(examination: Examination) -> Iterator[Finding]:
    for node in examination.nodes:
        if abs(node.skew_s) - node.skew_error_s > _MOST_SKEW_S:
            way = "ahead of" if node.skew_s > 0 else "behind"
            yield Finding(
                "look",
                "clocks",
                f"{node.name} is {abs(node.skew_s):.1f} s {way} this process: S3 refuses requests with"
                " clocks that are minutes off, and logs mislead; run chrony or ntpd",
            )
    most = max(examination.nodes, key=lambda node: abs(node.skew_s), default=None)
    if most is not None and abs(most.skew_s) - most.skew_error_s <= _MOST_SKEW_S:
        sure = max(node.skew_error_s for node in examination.nodes)
        yield Finding(
            "ok", "clocks", f"within {1000 * abs(most.skew_s):.0f} ms (±{1000 * sure:.0f} ms)"
        )


def _room(examination: Examination) -> Iterator[Finding]:
    little = [finding for node in examination.nodes for finding in _room_of(node)]
    yield from little
    if not little and examination.nodes:
        least = {
            folder: min(node.free_gb.get(folder, 0) for node in examination.nodes)
            for folder in examination.nodes[0].free_gb
        }
        shown = ", ".join(f"{folder} {gb:.1f} GB" for folder, gb in least.items())
        yield Finding("ok", "room", f"free on the fullest node: {shown}")


def _room_of(node: NodeFacts) -> Iterator[Finding]:
    for folder, gb in node.free_gb.items():
        what = f"{node.name} has {gb:.1f} GB free in {folder}"
        if folder != "/dev/shm":
            found = little_disk(what, gb)
        elif node.is_head and not node.cpus:
            continue
        else:
            found = little_shared_memory(what, gb)
        if found is not None:
            yield found


def _storage(examination: Examination) -> Iterator[Finding]:
    url = examination.storage_url
    if url is None:
        yield Finding("look", "storage", "not tried: name the folder of your runs with --storage")
        return
    wrong = False
    everyone = {found.node for found in examination.storage if found.error is None}
    for found in examination.storage:
        if found.error is not None:
            wrong = True
            yield Finding(
                "broken",
                "storage",
                f"{found.node} cannot use {url} ({found.error}): check address, credentials or instance"
                " profile there, and the network",
            )
        elif missing := sorted(everyone - set(found.sees)):
            wrong = True
            yield Finding(
                "broken",
                "storage",
                f"{found.node} does not see in {url} what {', '.join(missing)} wrote: it is not one folder"
                " for all, take one that all nodes share, or s3://…",
            )
    speeds = [f.write_mb_per_s for f in examination.storage if f.write_mb_per_s is not None]
    reads = [f.read_mb_per_s for f in examination.storage if f.read_mb_per_s is not None]
    if not wrong and speeds:
        yield Finding(
            "ok",
            "storage",
            f"written, read and seen by all; the slowest writes {min(speeds):.0f} and reads"
            f" {min(reads):.0f} MB/s",
        )


def _exchange(examination: Examination) -> Iterator[Finding]:
    if not examination.pairs:
        yield Finding("ok", "exchange", "one node: nothing to exchange")
        return
    wrong = False
    for pair in examination.pairs:
        names = f"{pair.first} and {pair.second}"
        if pair.error is not None:
            wrong = True
            interface = "NCCL_SOCKET_IFNAME" if pair.backend == "nccl" else "GLOO_SOCKET_IFNAME"
            yield Finding(
                "broken",
                "exchange",
                f"{names} cannot add up gradients by {pair.backend} ({pair.error}): open all ports between"
                f" nodes, or name the interface that leads there with {interface}",
            )
        elif pair.gb_per_s is not None and pair.gb_per_s < _SLOW_GB_PER_S:
            wrong = True
            yield Finding(
                "look",
                "exchange",
                f"{names} exchange {1000 * pair.gb_per_s:.0f} MB/s: one training on both would wait; run"
                " trials side by side (resources.workers: 1), or look for a slower interface in use",
            )
    speeds = [pair.gb_per_s for pair in examination.pairs if pair.gb_per_s is not None]
    if not wrong:
        which = "all pairs" if examination.all_pairs else "neighbours, of many nodes"
        backends = " and ".join(sorted({pair.backend for pair in examination.pairs}))
        slowest, quickest = f"{min(speeds):.2f}", f"{max(speeds):.2f}"
        shown = slowest if slowest == quickest else f"{slowest} to {quickest}"
        yield Finding("ok", "exchange", f"{which} by {backends}: {shown} GB/s")
