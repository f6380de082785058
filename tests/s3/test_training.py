"""A training from a bucket into a bucket ends as one between folders."""

from __future__ import annotations

import pytest
import torch

from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.runs.checkpoint import load_newest_checkpoint
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from tests.s3.proxy import FAIR, Weather
from tests.unit.training.synthetic import run_config, write_store

pytestmark = pytest.mark.slow

BAD = Weather(delay_s=(0.0, 0.02), lost=0.03, slow_down=0.03)
TRAIN = {"epochs": 2, "batch_size": 12, "warmup_epochs": 1}


def config(store: Store, split_url: str, out: str):
    speed = {"placement": "stream", "checkpoint_minutes": 1e-9}
    logging = {"tensorboard": True}
    return run_config(store, split_url, out, train=TRAIN, speed=speed, logging=logging)


@pytest.fixture(scope="module")
def on_folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    store = write_store(str(folder / "store"))
    save_split(make_split(store, seed=3, num_folds=4), str(folder / "splits.json"))
    train(config(store, str(folder / "splits.json"), str(folder / "run")), reporter=lambda _: None)
    return folder


@pytest.fixture
def in_bucket(on_folders, bucket, url):
    bucket.put(f"{on_folders}/store/", f"{url.removeprefix('s3://')}/store/", recursive=True)
    bucket.put(f"{on_folders}/splits.json", f"{url.removeprefix('s3://')}/splits.json")
    return config(Store.open(f"{url}/store"), f"{url}/splits.json", f"{url}/run")


def weights(url: str) -> dict[str, torch.Tensor]:
    return load_newest_checkpoint(RunFolder(url).checkpoints)["network"]


@pytest.mark.parametrize("weather", [FAIR, BAD], ids=["fair", "bad"])
def test_streamed_and_interrupted_it_ends_in_the_same_bits(on_folders, in_bucket, proxy, weather):
    proxy.set(weather)

    class PowerCutError(Exception):
        pass

    def interrupt(metrics: object) -> None:
        raise PowerCutError

    with pytest.raises(PowerCutError):
        train(in_bucket, on_epoch=interrupt, reporter=lambda _: None)
    lines: list[str] = []
    train(in_bucket, reporter=lines.append)
    assert any("streamed from the store" in line for line in lines)
    assert any(line.startswith("resuming after epoch 1") for line in lines)
    expected = weights(str(on_folders / "run"))
    found = weights(in_bucket.out)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    here, there = RunFolder(str(on_folders / "run")), RunFolder(in_bucket.out)
    assert here.read_predictions()["probability"].equals(there.read_predictions()["probability"])
    assert [m.train_loss for m in there.read_metrics()] == [
        m.train_loss for m in here.read_metrics()
    ]
    kept = [name for name in files.list_names(there.checkpoints) if name.startswith("epoch-")]
    assert len(kept) == 2
