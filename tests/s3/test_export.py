"""A run in a bucket is exported into a bucket, and read from there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.data.storage import read_voxels
from radiotrain.export.load import load_export
from radiotrain.export.write import Exporter
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from tests.unit.training.synthetic import run_config, write_store


@pytest.mark.slow
def test_a_bucket_gets_the_whole_folder(bucket, url, tmp_path) -> None:
    write_store(str(tmp_path / "store"))
    bucket.put(f"{tmp_path}/store/", f"{url.removeprefix('s3://')}/store/", recursive=True)
    store = Store.open(f"{url}/store")
    save_split(make_split(store, seed=3, num_folds=4), f"{url}/splits.json")
    settings = {"epochs": 1, "batch_size": 12, "warmup_epochs": 0}
    train(
        run_config(store, f"{url}/splits.json", f"{url}/run", train=settings),
        reporter=lambda _: None,
    )
    description = Exporter(f"{url}/run", "safetensors", f"{url}/er").write(lambda: None)
    assert files.list_names(f"{url}/er") == sorted([*description.files, "model.json"])

    table = RunFolder(f"{url}/run").read_predictions()
    patients = [read_voxels(store, store.index_of(i), "robust") for i in table["patient_id"]]
    images = np.stack([np.float32(p.voxels * p.gain + p.offset) for p in patients])
    with torch.inference_mode():
        found = torch.sigmoid(load_export(f"{url}/er").network(torch.from_numpy(images)))
    np.testing.assert_allclose(found[:, 0], table["probability"], rtol=0, atol=1e-5)

    with pytest.raises(InputError, match="is not empty"):
        Exporter(f"{url}/run", "safetensors", f"{url}/er")
    # As an upload leaves it that is killed before its last file.
    files.remove(f"{url}/er/model.json")
    files.write_text(f"{url}/er/model-card.md", "half")
    again = Exporter(f"{url}/run", "safetensors", f"{url}/er").write(lambda: None)
    assert again == description
    assert files.list_names(f"{url}/er") == sorted([*description.files, "model.json"])
