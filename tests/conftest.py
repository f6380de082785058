"""For all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real Duke files, for those who have downloaded some; see CONTRIBUTING.md."""
    beside = Path(__file__).parents[2] / "shared" / "real"
    folder = Path(os.environ.get("RADIOTRAIN_REAL_DATA", beside))
    if not folder.is_dir():
        pytest.skip("no real Duke files here: set RADIOTRAIN_REAL_DATA to a folder of them")
    return folder
