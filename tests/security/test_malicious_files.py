"""Files that would run a program when they are read: each is refused in one sentence, and not run."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from preprocessing.common.errors import InputError
from preprocessing.storage.digests import digest_of, dump_with_digest
from preprocessing.store import Store
from radiotrain.config.run_config import dump_config
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from tests.checked_files import seal_weights
from tests.commands import call, the_sentence
from tests.unit.training.synthetic import run_config, write_store


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, a split, a finished run, and the same half-way."""
    folder = tmp_path_factory.mktemp("malicious")
    store = write_store(str(folder / "store"), num_patients=24)
    save_split(make_split(store, seed=3, num_folds=4), str(folder / "splits.json"))
    values = {"epochs": 2, "batch_size": 8, "warmup_epochs": 1}
    config = run_config(
        store, str(folder / "splits.json"), folder / "run", targets=["ER"], train=values
    )
    (folder / "run.yaml").write_text(dump_config(config))
    train(config, until_epoch=1, reporter=lambda _: None)
    shutil.copytree(folder / "run", folder / "paused")
    train(config, reporter=lambda _: None)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A run that may be spoilt."""
    shutil.copytree(trained / "run", tmp_path / "run")
    config = RunFolder(str(trained / "run")).read_config()
    assert config is not None
    config = config.model_copy(update={"out": str(tmp_path / "run")})
    (tmp_path / "run.yaml").write_text(dump_config(config))
    RunFolder(config.out).write_config(config)
    return tmp_path


FORMATS: dict[str, Callable[[Path, object], None]] = {
    "torch.save": lambda path, value: torch.save(value, path),
    "torch.save of old": lambda path, value: torch.save(
        value, path, _use_new_zipfile_serialization=False
    ),
    "pickle": lambda path, value: path.write_bytes(pickle.dumps(value, 2)) and None,
}


def test_the_bomb_works(tmp_path: Path, trace: Path) -> None:
    torch.save({"weights": Bomb(trace)}, tmp_path / "bomb.pt")
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("inside", [True, False])
def test_weights_of_a_run(
    folder: Path, trace: Path, write: Callable[[Path, object], None], inside: bool
) -> None:
    bomb = Bomb(trace)
    best = folder / "run" / "checkpoints" / "best.pt"
    write(best, {"weights": bomb} if inside else bomb)
    if zipfile.is_zipfile(best):
        # The checksum passes: a program that can write a file can make one.
        seal_weights(best)
    out = str(folder / "report")
    _, error = call("evaluate", folder / "run", "--out", out, "--purpose", "test", status=2)
    assert "best.pt" in the_sentence(error)
    assert ("run code when read" if zipfile.is_zipfile(best) else "has no checksum") in error
    assert not trace.exists()


def test_a_checkpoint_to_go_on_from(trained: Path, folder: Path, trace: Path) -> None:
    shutil.rmtree(folder / "run")
    shutil.copytree(trained / "paused", folder / "run")
    checkpoints = folder / "run" / "checkpoints"
    for path in checkpoints.glob("epoch-*.pt"):
        path.unlink()
    torch.save({"network": Bomb(trace)}, checkpoints / "new.pt")
    content = (checkpoints / "new.pt").read_bytes()
    # The name's check passes: whoever can write a file can name it.
    (checkpoints / "new.pt").rename(
        checkpoints / f"epoch-0001-step-00000-{zlib.crc32(content):08x}.pt"
    )
    _, error = call("train", "--config", folder / "run.yaml", status=2)
    assert "would run code when read" in the_sentence(error)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["resnet_10_23dataset.pth", "weights.pt", "weights.bin"])
def test_published_weights(folder: Path, trace: Path, name: str) -> None:
    torch.save({"state_dict": {"conv1.weight": Bomb(trace)}}, folder / name)
    words = ("--set", f"network.pretrained={folder / name}", "--set", f"out={folder}/other")
    _, error = call("train", "--config", folder / "run.yaml", *words, status=2)
    assert "would run code when read" in the_sentence(error)
    assert not trace.exists()


def test_a_saved_bad_batch_is_read_by_nothing(folder: Path, trace: Path) -> None:
    torch.save(Bomb(trace), folder / "run" / "bad-batch-epoch-0000-step-00000.pt")
    call("train", "--config", folder / "run.yaml")
    words = ("--out", folder / "report", "--purpose", "test")
    call("evaluate", folder / "run", *words)
    assert not trace.exists()


@pytest.mark.parametrize(
    "saved", [{}, {"crop_shape": 3}, [1, 2], {"weights": {}, "targets": ["ER"]}]
)
def test_weights_without_what_is_needed(folder: Path, saved: object) -> None:
    torch.save(saved, folder / "run" / "checkpoints" / "best.pt")
    seal_weights(folder / "run" / "checkpoints" / "best.pt")
    words = ("--out", folder / "report", "--purpose", "test")
    _, error = call("evaluate", folder / "run", *words, status=2)
    assert re.search("is not what radiotrain wrote|weights of another run", the_sentence(error))


@pytest.mark.parametrize("place", ["config.yaml", "run.yaml"])
def test_yaml_that_makes_objects(folder: Path, trace: Path, place: str) -> None:
    text = f"!!python/object/apply:os.mkdir ['{trace}']\n"
    path = folder / place if place == "run.yaml" else folder / "run" / place
    path.write_text(text)
    call("train", "--config", folder / "run.yaml", status=2)
    assert not trace.exists()


@pytest.mark.parametrize(
    "codecs",
    [
        [{"name": "numcodecs.pickle"}],
        [{"name": "pickle", "configuration": {"protocol": 4}}],
        [{"name": "bytes"}, {"name": "numcodecs.pickle"}],
    ],
)
def test_a_store_that_asks_for_a_codec_of_objects(
    folder: Path, trained: Path, trace: Path, codecs: list[object]
) -> None:
    store = folder / "store"
    shutil.copytree(trained / "store", store)
    metadata = json.loads((store / "images" / "zarr.json").read_text())
    (store / "images" / "zarr.json").write_text(json.dumps(metadata | {"codecs": codecs}))
    with pytest.raises(InputError, match=r"images/zarr\.json is damaged"):
        Store.open(str(store)).read_images(0)
    _sign_metadata(store)
    for chunk in (store / "images" / "c").rglob("0"):
        if chunk.is_file():
            chunk.write_bytes(pickle.dumps(Bomb(trace)))
    _, error = call("qc", store, "--out", folder / "qc", "--workers", 1, status=1)
    assert "damaged voxels, patients: 24" in error
    with pytest.raises(InputError, match="images of P000 cannot be read"):
        Store.open(str(store)).read_images(0)
    assert not trace.exists()


def _sign_metadata(store: Path) -> None:
    """Give a store the checksums of the metadata that it has now."""
    document = json.loads((store / "images" / "zarr.json").read_text())
    document["shape"][0] = "any"
    root = json.loads((store / "zarr.json").read_text())
    attributes = root["attributes"]
    del attributes["sha256"]
    attributes["arrays"]["images"] = digest_of(document)
    text = dump_with_digest(attributes)
    (store / "attributes.json").write_text(text)
    (store / "zarr.json").write_text(json.dumps(root | {"attributes": json.loads(text)}))
    index = json.loads((store / "patients.json").read_text())
    del index["sha256"]
    index["attributes"] = digest_of(attributes)
    (store / "patients.json").write_text(dump_with_digest(index))


def test_a_store_of_zarrs_older_format_is_not_opened(folder: Path, trace: Path) -> None:
    store = folder / "old"
    (store / "images").mkdir(parents=True)
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    (store / ".zattrs").write_text('{"schema_version": 2, "spec": {}}')
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None,
             "order": "C", "compressor": None, "filters": [{"id": "pickle", "protocol": 4}]}  # fmt: skip
    (store / "images" / ".zarray").write_text(json.dumps(array))
    (store / "images" / "0").write_bytes(pickle.dumps(Bomb(trace)))
    _, error = call("split", store, status=2)
    assert "no store at" in the_sentence(error)
    assert not trace.exists()


def test_the_untouched_files_are_fine(trained: Path) -> None:
    assert len(Store.open(str(trained / "store")).patient_ids) == 24
