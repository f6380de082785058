"""One local Ray for all tests, since starting one takes longer than most of them."""

import warnings

import pytest
import ray

from cluster.session import start_local
from radiotrain.split import make_split, save_split
from tests.unit.training.synthetic import write_store


@pytest.fixture(scope="package")
def ray_here():
    """Ends with the tests of this folder: the others run faster without it."""
    # What Ray does while it starts and ends is not this project's to mend.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not a session: it would join a cluster that somebody has begun on this machine.
        start_local(num_cpus=4)
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return write_store(str(tmp_path_factory.mktemp("cluster") / "store"))


@pytest.fixture(scope="session")
def split_url(store, tmp_path_factory):
    url = str(tmp_path_factory.mktemp("cluster-split") / "splits.json")
    save_split(make_split(store, seed=3, num_folds=4), url)
    return url
