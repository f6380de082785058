"""Made once for all tests of training."""

from __future__ import annotations

import pytest
import torch

from preprocessing.store import Store
from radiotrain.split.split import Split, make_split, save_split
from tests.unit.training.synthetic import write_store


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small are slower on several threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(str(tmp_path_factory.mktemp("training") / "store"))


@pytest.fixture(scope="session")
def split_url(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("split") / "splits.json")
    save_split(make_split(store, seed=3, num_folds=4), url)
    return url


@pytest.fixture(scope="session")
def split(store: Store) -> Split:
    return make_split(store, seed=3, num_folds=4)
