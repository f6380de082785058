"""Options of a run that change what its network is or reads, from the configuration to predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from preprocessing.common.errors import InputError
from preprocessing.store import PatientTensor, Store, StoreSpec, StoreWriter
from radiotrain.distributed import Worker
from radiotrain.networks.registry import build_network
from radiotrain.runs.predict_run import predict_run
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import load_split, make_split, save_split
from radiotrain.training.loop import train
from radiotrain.training.trainer import Training
from tests.unit.training.synthetic import run_config


@pytest.fixture(scope="module")
def clinical(store: Store, tmp_path_factory) -> tuple[Store, str]:
    """The same patients with an age that tells ER, a menopause that is now and then missing."""
    folder = tmp_path_factory.mktemp("clinical")
    spec: StoreSpec = store.spec
    writer = StoreWriter.create_or_resume(str(folder / "store"), spec, {})
    for i, record in enumerate(store.records):
        voxels = store.read_images(i)[0]
        noise = np.random.default_rng(i).normal(100, 10, voxels.shape).astype(np.float32)
        covariates = {
            "age": 40.0 + 20 * int(store.labels[i, 0]) + i % 5,
            "menopause": None if i % 4 == 0 else ("pre", "post")[i % 2],
            "tumor_subtype": "luminal",
        }
        writer.write(
            replace(record, covariates=covariates, scale=None, checksums={}),
            PatientTensor(noise, store.read_region(i)),
        )
    made = writer.finish()
    save_split(make_split(made, seed=3, num_folds=4), str(folder / "splits.json"))
    return made, str(folder / "splits.json")


def test_covariates_have_a_say_in_training_and_in_predictions(clinical, tmp_path):
    store, split_url = clinical
    config = run_config(
        store,
        split_url,
        tmp_path / "run",
        network={
            "name": "ResNet10-narrow",
            "covariates": ["age", "menopause"],
            "allow_covariates": ["age", "menopause"],
        },
        train={"epochs": 6, "batch_size": 8, "lr": 3e-2, "warmup_epochs": 1},
    )
    result = train(config, reporter=lambda _: None)
    # The images of this store are noise.
    assert result.validation_auc_per_target["ER"] > 0.9
    recorded = RunFolder(config.out).read_predictions()
    again = predict_run(config.out, store, load_split(split_url, store), "validation", device="cpu")
    assert np.allclose(recorded["probability"], again["probability"], atol=1e-6)


def test_encoder_knows_the_training_patients_only(clinical, tmp_path):
    store, split_url = clinical
    split = load_split(split_url, store)
    others = {*split.validation_ids(0), *split.test_ids}
    odd = [
        replace(r, covariates={**r.covariates, "age": 1e6}) if r.patient_id in others else r
        for r in store.records
    ]
    config = run_config(
        store,
        split_url,
        tmp_path / "run",
        network={
            "name": "ResNet10-narrow",
            "covariates": ["age"],
            "allow_covariates": ["age"],
        },
    )
    encoders = [
        Training(config, Worker.single("cpu"), s, split).encoder
        for s in (store, replace(store, records=tuple(odd)))
    ]
    assert encoders[0] == encoders[1]


def test_covariate_that_tells_the_answer_is_refused_before_anything_is_written(clinical, tmp_path):
    store, split_url = clinical
    config = run_config(
        store,
        split_url,
        tmp_path / "run",
        network={"name": "ResNet10-narrow", "covariates": ["tumor_subtype"]},
    )
    with pytest.raises(InputError, match="covariate 'tumor_subtype' is refused"):
        train(config, reporter=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_training_begins_with_published_weights(store, split_url, tmp_path):
    torch.manual_seed(5)
    published = build_network("ResNet10-narrow", 1, 2, (24, 24, 12)).state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in published.items()}}, tmp_path / "p.pth")
    config = run_config(
        store,
        split_url,
        tmp_path / "run",
        network={"name": "ResNet10-narrow", "weights": str(tmp_path / "p.pth")},
        train={"epochs": 1, "batch_size": 8, "warmup_epochs": 0},
    )
    training = Training(config, Worker.single("cpu"), store, load_split(split_url, store))
    found = training.network.state_dict()
    assert torch.equal(found["layer1.0.conv1.weight"], published["layer1.0.conv1.weight"])
    stem = published["conv1.weight"].expand(-1, 4, -1, -1, -1) / 4
    assert torch.allclose(found["conv1.weight"], stem)
    lines: list[str] = []
    train(config, reporter=lines.append)
    assert "p.pth" in lines[0]


@pytest.mark.parametrize(
    "speed",
    [{"channels_last": True}, {"activation_checkpointing": True}, {"placement": "stream"}],
    ids=str,
)
def test_what_is_for_speed_computes_the_same(store, split_url, tmp_path, speed):
    histories = []
    for name, settings in (("plain", {}), ("quick", speed)):
        config = run_config(
            store,
            split_url,
            tmp_path / name,
            speed=settings,
            train={"epochs": 2, "batch_size": 8, "warmup_epochs": 1},
        )
        histories.append(train(config, reporter=lambda _: None).history)
    for one, other in zip(*histories, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert other.validation_loss == pytest.approx(one.validation_loss, rel=1e-2)


@pytest.mark.parametrize(
    "train_config",
    [{"loss": "focal"}, {"sampling": "balanced"}, {"ema_decay": 0.9}, {"sync_batch_norm": True}],
    ids=str,
)
def test_tumour_that_shows_its_label_is_learned_every_way(store, split_url, tmp_path, train_config):
    config = run_config(
        store,
        split_url,
        tmp_path / "run",
        train={"epochs": 5, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1} | train_config,
    )
    assert train(config, reporter=lambda _: None).validation_auc > 0.9
