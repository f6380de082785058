"""For all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# CI draws the same examples each time, so that it fails for what changed; elsewhere new ones are
# drawn in every run.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real Duke files, for those who have downloaded some; see CONTRIBUTING.md."""
    beside = Path(__file__).parents[2] / "shared" / "real"
    folder = Path(os.environ.get("RADIOTRAIN_REAL_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real Duke files here: set RADIOTRAIN_REAL_DATA to a folder of them")
    return folder
