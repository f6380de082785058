"""Scripts for `ray submit` are the command line's commands, with the same arguments."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import radiotrain.cli

JOBS = Path(__file__).parents[2] / "cluster" / "jobs"


@pytest.mark.parametrize(
    ("job", "command"),
    [
        ("preprocess", ["preprocess", "--backend", "ray"]),
        ("train", ["train", "--backend", "ray"]),
        ("tune", ["tune"]),
        ("evaluate", ["evaluate"]),
        ("reproduce", ["reproduce", "--backend", "ray"]),
    ],
)
def test_a_job_passes_its_arguments_on(
    job: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(radiotrain.cli, "main", lambda: seen.append(sys.argv[1:]))
    monkeypatch.setattr(sys, "argv", [f"{job}.py", "s3://a/b", "--out", "c d", "--help"])
    runpy.run_path(str(JOBS / f"{job}.py"), run_name="__main__")
    assert seen == [[*command, "s3://a/b", "--out", "c d", "--help"]]


@pytest.mark.parametrize("job", sorted(p.stem for p in JOBS.glob("*.py") if p.stem != "__init__"))
def test_the_command_takes_what_a_job_adds(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{job}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(JOBS / f"{job}.py"), run_name="__main__")
    assert ended.value.code in (0, None)
    assert job in capsys.readouterr().out
