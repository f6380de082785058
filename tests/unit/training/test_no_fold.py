"""Runs in which no fold validates: all development patients train, and the last epoch is kept."""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocessing.common.errors import MissingPathError
from preprocessing.store import Store
from radiotrain.config.run_config import load_config
from radiotrain.distributed import Worker
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.from_runs import predict_runs
from radiotrain.runs.predict_run import load_network
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import Split, save_split
from radiotrain.training.debug import debug
from radiotrain.training.loop import RunResult, train
from radiotrain.training.setup import build_trained_network
from radiotrain.training.trainer import Training
from tests.unit.training.synthetic import run_config


def quiet(_: str) -> None:
    pass


def silent(_: str, __: int) -> AbstractContextManager[object]:
    return nullcontext(lambda: None)


@pytest.fixture(scope="module")
def finished(store: Store, split_url: str, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run with everything that is shown of runs, and an early stopping that would act at once."""
    config = run_config(
        store,
        split_url,
        tmp_path_factory.mktemp("runs") / "all",
        fold=None,
        targets=["ER", "HER2"],
        early_stopping={"choose": "best_auc", "patience": 1, "min_delta": 0.5},
        logging={"tensorboard": True, "image_epochs": 1},
    )
    return train(config, reporter=quiet)


def test_all_but_the_test_patients_train_and_nobody_validates(
    store: Store, split: Split, split_url: str, tmp_path: Path
) -> None:
    config = run_config(store, split_url, tmp_path / "run", fold=None)
    training = Training(config, Worker.single("cpu"), store, split)
    assert set(training.patients.ids) == {*store.patient_ids} - {*split.test_ids}
    assert training.patients.ids == split.development_ids
    assert len(training.validation) == 0
    labels = training.patients.labels[:, 0]
    negative, positive = training.class_weights[:, 0].tolist()
    assert positive / negative == pytest.approx((labels == 0).sum() / labels.sum())


def test_the_last_epoch_is_the_best_and_early_stopping_never_acts(finished: RunResult) -> None:
    assert (finished.status, len(finished.history), finished.best_epoch) == ("finished", 4, 3)
    assert math.isnan(finished.validation_auc)
    folder = RunFolder(finished.run_url)
    newest = max(Path(folder.checkpoints).glob("epoch-*.pt"))
    weights = torch.load(newest, weights_only=True)["network"]
    kept = load_network(folder.url).network.state_dict()
    assert all(torch.equal(weights[name], kept[name]) for name in kept)


def test_what_is_undefined_is_null_in_the_files(finished: RunResult) -> None:
    folder = RunFolder(finished.run_url)
    lines = Path(folder.url, "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["validation_loss"] is None for line in lines)
    assert all(json.loads(line)["validation_auc"] is None for line in lines)
    # The same values read again, NaN being equal to nothing.
    assert repr(folder.read_metrics()) == repr(finished.history)
    record = folder.read_record()
    assert record is not None
    assert (record.fold, record.validation_auc, record.best_epoch) == (None, None, 3)
    config = folder.read_config()
    assert config is not None
    assert config.fold is None
    assert "no validation set, lr" in finished.history[0].describe(has_validation=False)
    with pytest.raises(MissingPathError, match=r"predictions\.parquet is missing"):
        folder.read_predictions()


def test_the_fold_is_null_in_a_file_and_on_the_command_line(
    store: Store, split_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"store: {store.url}\nsplit: {split_url}\nout: {tmp_path}/run\nfold: null\n")
    assert load_config(str(path)).fold is None
    assert load_config(str(path), ["fold=2"]).fold == 2
    assert load_config(str(path), ["fold=null"]).fold is None


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["device", "shared", "stream"])
def test_resume_matches_an_uninterrupted_run(
    store: Store,
    split_url: str,
    tmp_path: Path,
    placement: str,
) -> None:
    def weights(out: str, *stops: int) -> dict[str, torch.Tensor]:
        config = run_config(
            store,
            split_url,
            tmp_path / out,
            fold=None,
            speed={"placement": placement},
            logging={"tensorboard": False},
            train={"epochs": 3, "batch_size": 8, "sampling": "balanced", "ema_decay": 0.9},
        )
        for stop in stops:
            assert train(config, until_epoch=stop, reporter=quiet).status == "paused"
        assert train(config, reporter=quiet).status == "finished"
        return load_network(config.out).network.state_dict()

    interrupted, whole = weights("interrupted", 1, 2), weights("whole")
    assert all(torch.equal(interrupted[name], whole[name]) for name in whole)


def test_covariates_are_learnt_from_all_development_patients(
    store: Store, split: Split, split_url: str, tmp_path: Path
) -> None:
    ages = {patient_id: 40.0 + n for n, patient_id in enumerate(store.patient_ids)}
    aged = replace(
        store,
        records=tuple(
            replace(record, covariates={"age": ages[record.patient_id]}) for record in store.records
        ),
    )
    network = {"name": "ResNet10-narrow", "covariates": ["age"]}
    config = run_config(store, split_url, tmp_path / "run", fold=None, network=network)
    encoder = build_trained_network(config, aged, split).encoder
    assert encoder is not None
    expected = np.mean([ages[patient_id] for patient_id in split.development_ids])
    assert encoder.columns[0].mean == pytest.approx(expected)
    training = Training(config, Worker.single("cpu"), aged, split)
    assert training.validation.covariates.shape == (0, 1)


def test_debug_learns_a_batch_of_them(store: Store, split_url: str, tmp_path: Path) -> None:
    config = run_config(store, split_url, tmp_path / "run", fold=None)
    assert debug(config, num_patients=4, max_steps=2, reporter=quiet).num_steps == 2


def test_it_is_tested_without_an_operating_point(
    store: Store, split: Split, tmp_path: Path
) -> None:
    # A split of its own, beside which the opening is logged.
    save_split(split, str(tmp_path / "splits.json"))
    config = run_config(store, str(tmp_path / "splits.json"), tmp_path / "run", fold=None)
    train(config, until_epoch=1, reporter=quiet)
    folder = RunFolder(config.out)
    record = folder.read_record()
    assert record is not None
    folder.write_record(replace(record, status="stopped"))
    table, context = predict_runs([config.out], None, "a test", silent, baselines=False)
    assert set(table["split"]) == {"test"}
    result = evaluate_table(table, num_resamples=100).results[0]
    assert result.auc is not None
    assert result.threshold is None
    assert "no validation patient" in result.reasons["threshold"]
    assert context.flow is not None
    assert (context.flow.num_train, context.flow.num_validation) == (32, 0)
    assert "run was trained on all 32 development patients, none validated it" in context.flow.note
