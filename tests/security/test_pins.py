"""Everything that is installed is one known version: nobody's newest upload gets in unseen."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
INSTALLED_EXTRAS = ("dev", "aws", "docs", "export")
# Python's own venv brings it.
COMES_WITH_VENV = {"setuptools"}


def pins() -> dict[str, str]:
    """Return the version of each package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    stated = [line.split("#")[0].strip() for line in lines]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([\w.+!]+)", line) for line in stated if line]
    assert None not in found
    return {canonicalize_name(m[1]): m[2] for m in found if m}


def wanted() -> Iterator[tuple[str, str]]:
    """Yield name and installed version of all that the project needs, and that needs in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    waiting = [Requirement(r) for r in project["dependencies"]]
    waiting += [Requirement(r) for name in INSTALLED_EXTRAS for r in extras[name]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                package = distribution(name)
            except PackageNotFoundError:
                # torch's own libraries for GPUs, where its build has none.
                assert name.startswith(("nvidia-", "triton", "cuda-")), name
                continue
            yield name, package.version
            for line in package.requires or ():
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)


def test_everything_that_is_installed_for_the_project_is_pinned() -> None:
    pinned = pins()
    found = dict(wanted())
    assert len(found) > 50
    assert {name for name in found if name not in pinned} <= COMES_WITH_VENV


def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = pins()
    different = {
        name: (version, pinned[name])
        for name, version in wanted()
        # A build for one kind of machine, as 2.13.0+cpu.
        if version.partition("+")[0] != pinned.get(name, version)
    }
    assert different == {}


@pytest.mark.parametrize("line", ["requests>=2", "requests", "requests==2.*", "git+https://x.y/z"])
def test_other_than_pins_are_refused(line: str) -> None:
    assert re.fullmatch(r"([A-Za-z0-9._-]+)==([\w.+!]+)", line) is None
