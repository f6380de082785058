"""Whatever ends a preprocessing run, its store is finished later as if nothing had happened.

The proof is always the same: every file of the store, byte for byte, is that of a run that
nobody disturbed, and there is no other file.
"""

from __future__ import annotations

import pytest

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from tests.commands import end_all
from tests.integration.nothing_lost.common import NUM_PATIENTS
from tests.stores import CROP, preprocess_here


@pytest.fixture(autouse=True)
def _nothing_runs_on():
    yield
    end_all()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nothing-lost")


@pytest.fixture(scope="session")
def cohort(folder):
    """The patients of `five_patients` and three more."""
    settings = PhantomSettings(patients=NUM_PATIENTS, matrix=64, slices=24)
    write_phantom(folder / "cohort", settings)
    return folder / "cohort"


@pytest.fixture(scope="session")
def undisturbed(folder, cohort):
    """The store that a run makes when nobody disturbs it."""
    preprocess_here(cohort, folder / "undisturbed", *CROP)
    return folder / "undisturbed"
