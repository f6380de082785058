"""For the tests of whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom


@pytest.fixture(scope="session")
def five_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom cohort as small as can be preprocessed; nobody may change it."""
    folder = tmp_path_factory.mktemp("five") / "cohort"
    write_phantom(folder, PhantomSettings(patients=5, matrix=64, slices=24))
    return folder
