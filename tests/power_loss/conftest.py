"""Recorded once, for all tests of a program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.power_loss.disk import Loss, losses, memory_folder, read_tree, replayed
from tests.power_loss.recording import record, why_not


@dataclass(frozen=True)
class Recorded:
    """A program's work on a folder, and all that a loss of power may leave of it."""

    folder: Path
    losses: tuple[Loss, ...]


Recorder = Callable[..., Recorded]


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def recorded(memory: Path) -> Recorder:
    """Record a program of `programs`, once."""
    reason = why_not()
    found: dict[str, Recorded] = {}

    def work(name: str, *words: object) -> Recorded:
        if reason is not None:
            pytest.skip(reason)
        if name not in found:
            folder = memory / "recorded" / name
            folder.mkdir(parents=True)
            done = record(folder, memory, "-m", "tests.power_loss.programs", name, folder, *words)
            # Nothing that the program did was left out.
            assert replayed(folder, done) == read_tree(folder)
            found[name] = Recorded(folder, tuple(losses(folder, done)))
            print(f"{name}: {len(done)} operations, {len(found[name].losses)} trees")
        return found[name]

    return work


@pytest.fixture
def disk(memory: Path) -> Iterator[Path]:
    """A place for one tree at a time."""
    with memory_folder() as folder:
        yield folder / "disk"
