"""Both cohorts, written once for all tests of quirks in a process."""

import pytest

from preprocessing.phantom.quirks import QUIRKS, parse_quirks
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from tests.unit.phantom.quirks.twins import SMALL, Cohort


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    write_phantom(folder, PhantomSettings(patients=len(QUIRKS), **SMALL))
    return Cohort(folder)


@pytest.fixture(scope="session")
def spoilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spoilt")
    settings = PhantomSettings(patients=len(QUIRKS), quirks=parse_quirks(["all"]), **SMALL)
    write_phantom(folder, settings)
    return Cohort(folder)


@pytest.fixture
def both(spoilt, clean):
    """Return a function: name of a quirk to the patient who has it, and the clean twin."""
    return lambda name: (spoilt.patient(name), clean.patient(name))
