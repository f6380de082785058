"""Findings about a machine, from its measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from radiotrain.doctor.facts import (
    Finding,
    FolderFacts,
    GpuFacts,
    MachineFacts,
    little_disk,
    little_shared_memory,
)

_INSTALL = "install all from the same list, 'make setup' or pip install -c constraints.txt -e ."
# The demonstration takes as much.
_LITTLE_MEMORY_GB = 3.0
# A large network with batches of 16 crops does not go into less, even in halves.
_LITTLE_GPU_MEMORY_GB = 8.0
# A checkpoint of 0.4 GB then takes 20 s.
_SLOW_MB_PER_S = 20.0
# Ray, Dask and their workers have some hundred each.
_FEW_FILES = 1024
# S3 refuses requests that are a quarter of an hour off.
_MOST_SKEW_S, _SOME_SKEW_S = 900.0, 60.0
# Of the installation: archives keep the time zone of where they were made.
_BEHIND_S = 86400.0
# Refusals that say nothing against the credentials: the key is known, and may not list buckets.
_MAY_NOT_LIST = {"AccessDenied", "AllAccessDisabled"}


def judge(machine: MachineFacts) -> tuple[Finding, ...]:
    """Return at least one finding for each check that was made."""
    checks: tuple[Callable[[MachineFacts], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _gpus,
        _cores,
        _memory,
        _room,
        _folder,
        _files,
        _clock,
        _ports,
        _s3,
        _ray,
        _token,
    )
    return tuple(finding for check in checks for finding in check(machine))


def _python(machine: MachineFacts) -> Iterator[Finding]:
    python = machine.python
    if python.fits:
        yield Finding("ok", "Python", python.found)
    else:
        what = f"{python.found}, expected {python.wanted}: make an environment with such a Python"
        yield Finding("broken", "Python", what)


def _packages(machine: MachineFacts) -> Iterator[Finding]:
    if not machine.packages:
        what = "radiotrain runs from its folder and is not installed: run 'make setup'"
        yield Finding("look", "packages", what)
        return
    wrong = False
    for package in machine.packages:
        if not package.fits:
            wrong = True
            found = package.found or "not installed"
            what = (
                f"{package.name} is {found}, expected {package.wanted or 'any version'}: {_INSTALL}"
            )
            yield Finding("broken", "packages", what)
        elif package.pinned is not None and not _is_pinned(package.found, package.pinned):
            wrong = True
            what = f"{package.name} is {package.found}, tested is {package.pinned}: {_INSTALL}"
            yield Finding("look", "packages", what)
    if not wrong:
        yield Finding("ok", "packages", f"{len(machine.packages)} as tested")


def _is_pinned(found: str | None, pinned: str) -> bool:
    # A build for one kind of machine has a suffix, as 2.13.0+cpu.
    return found is not None and found.partition("+")[0] == pinned


def _gpus(machine: MachineFacts) -> Iterator[Finding]:
    torch, driver = machine.torch, machine.driver
    build = f"PyTorch {torch.version}, built {f'for CUDA {torch.cuda}' if torch.cuda else 'without CUDA'}"
    if torch.error is not None:
        yield Finding("broken", "GPU", f"PyTorch does not start ({torch.error}): {_INSTALL}")
    elif torch.gpus:
        yield Finding("ok", "GPU", f"{build}; {', '.join(map(_in_words, torch.gpus))}")
        yield from _weak(torch.gpus)
    elif driver is None:
        yield Finding("ok", "GPU", f"{build}; none, trainings use the CPU")
    else:
        fix = (
            "a newer driver, or a PyTorch built for an older CUDA; look at CUDA_VISIBLE_DEVICES, too"
            if torch.cuda
            else "install a PyTorch built for CUDA"
        )
        seen = ", ".join(driver.gpus)
        what = f"{build}, finds none, but driver {driver.version} sees {seen}: {fix}"
        yield Finding("broken", "GPU", what)


def _weak(gpus: tuple[GpuFacts, ...]) -> Iterator[Finding]:
    for name in sorted({gpu.name for gpu in gpus if not gpu.has_bfloat16}):
        what = f"{name} has no bfloat16: float32 is used, at twice the memory"
        yield Finding("look", "GPU", what)
    for gpu in gpus:
        if gpu.memory_gb < _LITTLE_GPU_MEMORY_GB:
            what = f"{gpu.name} has {gpu.memory_gb:.1f} GB: set train.micro_batch_size, or --auto-batch"
            yield Finding("look", "GPU", what)


def _in_words(gpu: GpuFacts) -> str:
    return f"{gpu.name} {gpu.memory_gb:.0f} GB{', bfloat16' if gpu.has_bfloat16 else ''}"


def _cores(machine: MachineFacts) -> Iterator[Finding]:
    yield Finding("ok", "cores", f"{machine.cores:g} of the processor may be used")


def _memory(machine: MachineFacts) -> Iterator[Finding]:
    what = f"{machine.memory_gb:.1f} GB may be used"
    if machine.memory_gb < _LITTLE_MEMORY_GB:
        yield Finding(
            "look",
            "memory",
            f"{what}: the demonstration takes 3, give the machine or container more",
        )
    else:
        yield Finding("ok", "memory", what)


def _room(machine: MachineFacts) -> Iterator[Finding]:
    little = [finding for finding in _little_room(machine) if finding is not None]
    yield from little
    if not little:
        free = [f"{folder.url} {folder.free_gb:.1f} GB" for folder in _local(machine)]
        free += [f"/dev/shm {machine.shared_memory_gb:.1f} GB"] if machine.shared_memory_gb else []
        yield Finding("ok", "room", f"free: {', '.join(free)}")


def _little_room(machine: MachineFacts) -> Iterator[Finding | None]:
    for folder in _local(machine):
        assert folder.free_gb is not None
        yield little_disk(f"{folder.url} has {folder.free_gb:.1f} GB free", folder.free_gb)
    gb = machine.shared_memory_gb
    if gb is None:
        what = "no /dev/shm: processes cannot share patients, and Ray is slower"
        yield Finding("look", "room", f"{what}; mount a tmpfs there")
    else:
        yield little_shared_memory(f"/dev/shm has {gb:.1f} GB free", gb)


def _local(machine: MachineFacts) -> list[FolderFacts]:
    # By its address: the two may be one folder.
    folders = {folder.url: folder for folder in (machine.temporary, machine.folder)}
    return [f for f in reversed(folders.values()) if f.free_gb is not None]


def _folder(machine: MachineFacts) -> Iterator[Finding]:
    folder = machine.folder
    if folder.error is not None or folder.write_mb_per_s is None:
        what = f"{folder.url} cannot be used ({folder.error}): take another with --storage"
        yield Finding("broken", "storage", f"{what}, or mend its owner and rights")
        return
    what = f"{folder.url} is written at {folder.write_mb_per_s:.0f} MB/s"
    if folder.write_mb_per_s < _SLOW_MB_PER_S:
        yield Finding(
            "look", "storage", f"{what}: a checkpoint may take minutes, take a local disk"
        )
    else:
        yield Finding("ok", "storage", f"{what}, read at {folder.read_mb_per_s:.0f} MB/s")


def _files(machine: MachineFacts) -> Iterator[Finding]:
    what = f"a process may have {machine.open_files} open"
    if machine.open_files < _FEW_FILES:
        yield Finding(
            "look", "files", f"{what}: Ray and Dask want more, ulimit -n 65536 before the command"
        )
    else:
        yield Finding("ok", "files", what)


def _clock(machine: MachineFacts) -> Iterator[Finding]:
    clock = machine.clock
    if clock.behind_install_s > _BEHIND_S:
        days = clock.behind_install_s / 86400
        yield Finding(
            "broken",
            "clock",
            f"{days:.0f} days before the day when packages were installed: set it, and run chrony or"
            " ntpd",
        )
        return
    skew = machine.s3.skew_s if machine.s3 is not None else None
    if skew is not None and abs(skew) > _SOME_SKEW_S:
        way = "behind" if skew > 0 else "ahead of"
        what = f"{abs(skew):.0f} s {way} the object store's"
        fix = "S3 refuses requests that are a quarter of an hour off; run chrony or ntpd"
        yield Finding("broken" if abs(skew) > _MOST_SKEW_S else "look", "clock", f"{what}: {fix}")
    elif skew is not None:
        yield Finding("ok", "clock", f"within {max(1.0, abs(skew)):.0f} s of the object store's")
    elif clock.is_kept is False:
        yield Finding("ok", "clock", "after the installation; no NTP is known to keep it right")
    else:
        kept = ", kept right by NTP" if clock.is_kept else ""
        yield Finding("ok", "clock", f"after the installation{kept}")


def _ports(machine: MachineFacts) -> Iterator[Finding]:
    ports = machine.ports
    if ports.loopback_error is not None:
        yield Finding(
            "broken",
            "ports",
            f"processes of this machine cannot connect to each other ({ports.loopback_error}): look at"
            " its firewall, and bring the interface lo up",
        )
    for port, what in ports.taken:
        yield Finding(
            "look",
            "ports",
            f"{port} is in use, which {what} would like: fine if that is what runs there",
        )
    if ports.loopback_error is None and not ports.taken:
        yield Finding("ok", "ports", "those of Ray and TensorBoard are free")


def _s3(machine: MachineFacts) -> Iterator[Finding]:
    s3 = machine.s3
    if s3 is None:
        yield Finding("ok", "S3", "not named in the environment, nor wanted")
    elif s3.unreachable is not None:
        yield Finding(
            "broken",
            "S3",
            f"nobody answers at {s3.endpoint} ({s3.unreachable}): check AWS_ENDPOINT_URL and the network",
        )
    elif s3.refused in _MAY_NOT_LIST:
        what = (
            "answers and knows the key, which may not list buckets: try yours with --storage s3://…"
        )
        yield Finding("ok", "S3", f"{s3.endpoint} {what}")
    elif s3.refused is not None:
        yield Finding(
            "broken",
            "S3",
            f"{s3.endpoint} answers, but not with these credentials ({s3.refused}): check"
            " AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile",
        )
    else:
        yield Finding("ok", "S3", f"{s3.endpoint} answers and takes the credentials")


def _ray(machine: MachineFacts) -> Iterator[Finding]:
    ray = machine.ray
    if ray is None:
        yield Finding("look", "Ray", "not tried: leave out --no-ray")
    elif ray.error is not None or ray.seconds is None:
        yield Finding(
            "broken",
            "Ray",
            f"does not start ({ray.error}): sweeps and --backend ray need it, the rest works; look at memory,"
            " /dev/shm and the length of TMPDIR",
        )
    else:
        what = f"starts in {ray.seconds:.0f} s and answers only those who have its token"
        yield Finding("ok", "Ray", what)


def _token(machine: MachineFacts) -> Iterator[Finding]:
    token = machine.token
    if token is None:
        return
    if token.mode & 0o077:
        what = (
            f"{token.path} may be read or written by other users (mode {token.mode:03o}), who can then run"
            f" anything on your Ray clusters: chmod 600 {token.path}, and make a new token (ray"
            " get-auth-token --generate) if others work on this machine"
        )
        yield Finding("look", "token", what)
    elif not token.is_own:
        yield Finding(
            "look", "token", f"{token.path} belongs to another user: make one of your own"
        )
    else:
        yield Finding("ok", "token", f"{token.path} is for this user alone")
