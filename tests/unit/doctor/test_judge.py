"""The doctor's judgement of a machine, on planted troubles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from radiotrain.doctor.facts import (
    ClockFacts,
    DriverFacts,
    FolderFacts,
    GpuFacts,
    MachineFacts,
    PackageFacts,
    PortFacts,
    PythonFacts,
    RayFacts,
    S3Facts,
    TokenFacts,
    TorchFacts,
    is_broken,
)
from radiotrain.doctor.judge import judge

NUMPY = PackageFacts("numpy", "2.4.6", ">=2.4.6,<3", True, "2.4.6")
TORCH = PackageFacts("torch", "2.13.0+cu130", "==2.13.0", True, "2.13.0")
H100 = GpuFacts("NVIDIA H100", 79.6, True)
BUILD = TorchFacts("2.13.0+cu130", "13.0", (H100,))
DRIVER = DriverFacts("580.65", ("NVIDIA H100",))
FOLDER = FolderFacts("/data", 500.0, 400.0, 900.0)
WELL = MachineFacts(
    python=PythonFacts("3.11.7", ">=3.11,<3.13", True),
    packages=(NUMPY, TORCH),
    torch=BUILD,
    driver=DRIVER,
    cores=16.0,
    memory_gb=128.0,
    shared_memory_gb=64.0,
    temporary=FolderFacts("/tmp", 100.0),
    folder=FOLDER,
    open_files=65536,
    clock=ClockFacts(0.0, True),
    ports=PortFacts(None, ()),
    s3=S3Facts("https://s3.example", None, 0.4, None),
    ray=RayFacts(5.2),
    token=TokenFacts("/home/.ray/auth_token", 0o600),
)


def test_a_machine_that_is_well() -> None:
    findings = judge(WELL)
    assert {finding.grade for finding in findings} == {"ok"}
    assert not is_broken(findings)
    told = {finding.check: finding.what for finding in findings}
    assert told["GPU"].endswith("built for CUDA 13.0; NVIDIA H100 80 GB, bfloat16")
    assert told["packages"] == "2 as tested"
    assert told["storage"] == "/data is written at 400 MB/s, read at 900 MB/s"
    assert told["room"] == "free: /data 500.0 GB, /tmp 100.0 GB, /dev/shm 64.0 GB"
    assert told["Ray"].startswith("starts in 5 s")


def test_one_folder_is_told_once() -> None:
    one = replace(
        WELL, temporary=FolderFacts("/tmp", 2.0), folder=replace(FOLDER, url="/tmp", free_gb=2.0)
    )
    (room,) = [finding for finding in judge(one) if finding.check == "room"]
    assert room.what.startswith("/tmp has 2.0 GB free")


@pytest.mark.parametrize(
    ("changes", "check", "grade", "words"),
    [
        (
            {"python": PythonFacts("3.13.1", ">=3.11,<3.13", False)},
            "Python",
            "broken",
            "3.13.1, expected >=3.11,<3.13",
        ),
        ({"packages": ()}, "packages", "look", "make setup"),
        (
            {"packages": (NUMPY, replace(TORCH, found=None, fits=False))},
            "packages",
            "broken",
            "torch is not installed, expected ==2.13.0",
        ),
        (
            {"packages": (replace(NUMPY, found="1.26.0", fits=False), TORCH)},
            "packages",
            "broken",
            "numpy is 1.26.0, expected >=2.4.6,<3",
        ),
        (
            {"packages": (replace(NUMPY, found="2.5.0"), TORCH)},
            "packages",
            "look",
            "numpy is 2.5.0, tested is 2.4.6",
        ),
        (
            {"torch": TorchFacts("2.13.0+cpu", None, ())},
            "GPU",
            "broken",
            "built without CUDA, finds none, but driver 580.65 sees NVIDIA H100: install",
        ),
        (
            {"torch": replace(BUILD, gpus=()), "driver": replace(DRIVER, version="470.1")},
            "GPU",
            "broken",
            "driver 470.1 sees NVIDIA H100: a newer driver",
        ),
        (
            {"torch": TorchFacts("unknown", None, (), "ImportError: libcudart.so")},
            "GPU",
            "broken",
            "does not start (ImportError: libcudart.so)",
        ),
        (
            {"torch": replace(BUILD, gpus=(GpuFacts("Tesla V100", 16.0, False),))},
            "GPU",
            "look",
            "Tesla V100 has no bfloat16",
        ),
        (
            {"torch": replace(BUILD, gpus=(GpuFacts("A2", 4.0, True),))},
            "GPU",
            "look",
            "A2 has 4.0 GB: set train.micro_batch_size",
        ),
        ({"token": TokenFacts("/t", 0o644)}, "token", "look", "mode 644), who can then run"),
        ({"token": TokenFacts("/t", 0o620)}, "token", "look", "chmod 600 /t"),
        ({"token": TokenFacts("/t", 0o600, False)}, "token", "look", "belongs to another user"),
        ({"memory_gb": 2.0}, "memory", "look", "2.0 GB may be used: the demonstration"),
        ({"shared_memory_gb": 0.06}, "room", "look", "/dev/shm has 0.1 GB free"),
        ({"shared_memory_gb": None}, "room", "look", "no /dev/shm"),
        ({"folder": replace(FOLDER, free_gb=4.0)}, "room", "look", "/data has 4.0 GB free"),
        ({"temporary": FolderFacts("/tmp", 0.2)}, "room", "broken", "/tmp has 0.2 GB free"),
        (
            {"folder": FolderFacts("/data", 500.0, error="[Errno 13] Permission denied")},
            "storage",
            "broken",
            "/data cannot be used ([Errno 13] Permission denied)",
        ),
        (
            {"folder": replace(FOLDER, write_mb_per_s=3.0)},
            "storage",
            "look",
            "/data is written at 3 MB/s",
        ),
        ({"open_files": 256}, "files", "look", "256 open"),
        ({"clock": ClockFacts(30 * 86400.0, None)}, "clock", "broken", "30 days before"),
        ({"s3": replace(WELL.s3, skew_s=120.0)}, "clock", "look", "120 s behind the object"),
        ({"s3": replace(WELL.s3, skew_s=-1000.0)}, "clock", "broken", "1000 s ahead of"),
        ({"ports": PortFacts("timed out", ())}, "ports", "broken", "(timed out)"),
        ({"ports": PortFacts(None, ((6006, "radiotrain board"),))}, "ports", "look", "6006 is"),
        (
            {"s3": S3Facts("http://host:9000", "Connection refused")},
            "S3",
            "broken",
            "nobody answers at http://host:9000 (Connection refused)",
        ),
        (
            {"s3": replace(WELL.s3, refused="InvalidAccessKeyId")},
            "S3",
            "broken",
            "not with these credentials (InvalidAccessKeyId)",
        ),
        ({"ray": RayFacts(None, "no answer in 120 s")}, "Ray", "broken", "(no answer in 120 s)"),
        ({"ray": None}, "Ray", "look", "--no-ray"),
    ],
)
def test_each_trouble_is_named_with_what_to_do(
    changes: dict[str, object], check: str, grade: str, words: str
) -> None:
    findings = judge(replace(WELL, **changes))  # type: ignore[arg-type]
    (named,) = [finding for finding in findings if finding.grade != "ok"]
    assert (named.check, named.grade) == (check, grade)
    assert words in named.what
    assert is_broken(findings) is (grade == "broken")


@pytest.mark.parametrize(
    "changes",
    [
        # A build for GPUs on a machine that has none is what pip gives.
        {"torch": replace(BUILD, gpus=()), "driver": None},
        {"s3": None},
        {"s3": replace(WELL.s3, refused="AccessDenied")},
        {"s3": None, "clock": ClockFacts(0.0, False)},
        {"clock": ClockFacts(3600.0, None)},
        {"folder": FolderFacts("s3://bucket/runs", None, 50.0, 80.0)},
    ],
)
def test_what_is_no_trouble(changes: dict[str, object]) -> None:
    assert {f.grade for f in judge(replace(WELL, **changes))} == {"ok"}  # type: ignore[arg-type]
