"""The file of hashes has the versions that are tested."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def versions(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    pinned = (re.match(r"([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", line.lower()) for line in lines)
    return {m[1].replace("_", "-"): m[2] for m in pinned if m}


def test_locked_versions_are_the_pinned_ones() -> None:
    locked, pinned = versions("requirements.lock"), versions("constraints.txt")
    assert len(locked) > 100
    both = locked.keys() & pinned.keys()
    assert {n: locked[n] for n in both} == {n: pinned[n] for n in both}


def test_every_locked_package_has_a_hash_and_no_registry_is_named() -> None:
    text = (ROOT / "requirements.lock").read_text("utf-8")
    packages = [p for p in re.split(r"\n(?=[a-z0-9])", text) if not p.startswith("#")]
    assert all("--hash=sha256:" in p for p in packages)
    assert "://" not in text
