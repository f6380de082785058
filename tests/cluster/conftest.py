"""One small store for all tests of this folder."""

import pytest

from radiotrain.split.split import make_split, save_split
from tests.local_ray import ray_here  # noqa: F401
from tests.unit.training.synthetic import write_store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return write_store(str(tmp_path_factory.mktemp("cluster") / "store"))


@pytest.fixture(scope="session")
def split_url(store, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("cluster-split") / "splits.json")
    save_split(make_split(store, seed=3, num_folds=4), url)
    return url
