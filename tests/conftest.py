"""For all tests."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

# CI draws the same examples each time, so that it fails for what changed; elsewhere new ones are
# drawn in every run.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_configure(config: pytest.Config) -> None:
    """Give the Rays of this process a place of their own.

    Where a Ray writes its address, commands find it: those of tests would join a Ray that other tests
    beside them, or the developer, have begun.
    """
    # Sockets' names may have 107 bytes.
    place = os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="rt-", dir="/tmp")
    config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))
    config.add_cleanup(lambda: _end_rays_at(place))
    config.add_cleanup(_end_what_was_started)


def _end_what_was_started() -> None:
    """End commands in sessions of their own, which Ctrl-C does not reach."""
    commands = sys.modules.get("tests.commands")
    if commands is not None:
        commands.end_all()


def _end_rays_at(place: str) -> None:
    """End what is left of Ray's nodes where Ctrl-C came before their test had ended them."""
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"{place}/".encode() in line.read_bytes():
                os.kill(int(line.parent.name), signal.SIGKILL)


class LoadSharedScheduling(LoadFileScheduling):
    """A file's tests go to one process, and so do those that share what takes long to make.

    That is the Ray of `ray_here`, and the server, cohort or model that the folders below make.
    """

    folders = (
        "tests/security/",
        "tests/s3/",
        "tests/integration/predict/",
        "tests/unit/export/",
        "tests/unit/phantom/quirks/",
    )

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        for folder in self.folders:
            if file.startswith(folder):
                return folder
        return "ray_here" if _names_the_ray(file) else file


@cache
def _names_the_ray(file: str) -> bool:
    return "ray_here" in (Path(__file__).parents[1] / file).read_text("utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadSharedScheduling | None:
    """Deal tests out to processes, where ``--dist loadfile`` asks for it."""
    if config.getvalue("dist") == "loadfile":
        return LoadSharedScheduling(config, log)
    return None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real Duke files, for those who have downloaded some; see CONTRIBUTING.md."""
    beside = Path(__file__).parents[2] / "shared" / "real"
    folder = Path(os.environ.get("RADIOTRAIN_REAL_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real Duke files here: set RADIOTRAIN_REAL_DATA to a folder of them")
    return folder


@pytest.fixture(scope="session")
def copied_workers() -> Iterator[None]:
    """Rays that tests start have workers that are loaded already; see `tests.ray_copies`."""
    from tests.ray_copies import copied_workers

    with copied_workers():
        yield
