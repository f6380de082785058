from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocessing.common.errors import InputError, MissingPathError, SealedTestSetError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.distributed import Worker, choose_device
from radiotrain.runs.epoch_metrics import EpochMetrics, auc
from radiotrain.runs.predict_run import predict_run
from radiotrain.runs.run_folder import RunFolder, open_run
from radiotrain.split.split import Split, make_split
from radiotrain.split.test_set_access import open_test_set
from radiotrain.training.debug import debug
from radiotrain.training.loop import RunResult, train
from radiotrain.training.trainer import Training
from tests.unit.training.synthetic import run_config

MakeConfig = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def make_config(store: Store, split_url: str) -> MakeConfig:
    def make(out: Path | str, **changes: object) -> RunConfig:
        return run_config(store, split_url, out, **changes)

    return make


@pytest.fixture(scope="session")
def finished(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """An undisturbed run of four epochs on two targets."""
    out = tmp_path_factory.mktemp("runs") / "undisturbed"
    changes = {"targets": ["ER", "PR"], "logging": {"tensorboard": True}}
    return train(make_config(out, **changes), reporter=lambda _: None)


def newest_weights(folder: str) -> dict[str, torch.Tensor]:
    newest = max(Path(folder, "checkpoints").glob("epoch-*.pt"))
    return torch.load(newest, weights_only=True)["network"]


def untimed(metrics: EpochMetrics) -> EpochMetrics:
    return replace(metrics, seconds=0.0, samples_per_s=0.0)


def test_tumour_that_shows_its_label_is_learned(finished: RunResult) -> None:
    assert finished.status == "finished"
    assert finished.validation_auc_per_target["ER"] > 0.9
    assert len(finished.history) == 4
    assert [m.is_best for m in finished.history][finished.best_epoch]


def test_run_folder_tells_the_whole_run(finished: RunResult, store: Store, split: Split) -> None:
    folder, config, record = open_run(finished.run_url)
    assert record.status == "finished"
    assert record.best_epoch == finished.best_epoch
    assert record.patients_fingerprint == split.patients_fingerprint
    assert record.split_fingerprint == split.fingerprint
    assert record.versions["torch"]
    assert config.targets == ("ER", "PR")
    lines = Path(folder.url, "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2, 3]
    assert folder.read_metrics() == finished.history
    assert list(Path(folder.url, "tensorboard").glob("events.*"))


def test_recorded_predictions_are_the_best_epochs(
    finished: RunResult, store: Store, split: Split
) -> None:
    recorded = RunFolder(finished.run_url).read_predictions()
    assert list(recorded.columns) == [
        "run", "patient_id", "target", "split", "fold", "label", "probability",
    ]  # fmt: skip
    again = predict_run(finished.run_url, store, split, "validation", device="cpu")
    assert recorded.drop(columns="probability").equals(again.drop(columns="probability"))
    assert np.allclose(recorded["probability"], again["probability"], atol=1e-6)
    er = again[again["target"] == "ER"]
    value = auc(er["label"].to_numpy(np.int8), er["probability"].to_numpy(np.float32))
    assert value == finished.validation_auc_per_target["ER"]
    assert set(er["patient_id"]) == set(split.validation_ids(0))


def test_test_patients_are_predicted_with_access_only(
    finished: RunResult, store: Store, split: Split, split_url: str
) -> None:
    with pytest.raises(SealedTestSetError):
        predict_run(finished.run_url, store, split, "test", device="cpu")
    access = open_test_set(split_url, "test of the seal", ["undisturbed"])
    table = predict_run(finished.run_url, store, split, "test", access, device="cpu")
    assert set(table["patient_id"]) == set(split.test_ids)
    assert set(table["split"]) == {"test"}


def test_prediction_refuses_another_split(finished: RunResult, store: Store) -> None:
    with pytest.raises(InputError, match="was trained on split"):
        predict_run(finished.run_url, store, make_split(store, seed=8), "validation")


def test_finished_run_returns_its_result_untrained(
    finished: RunResult, make_config: MakeConfig
) -> None:
    def never(metrics: EpochMetrics) -> None:
        raise AssertionError

    config = make_config(finished.run_url, targets=["ER", "PR"])
    assert train(config, on_epoch=never) == finished


@pytest.mark.slow
@pytest.mark.parametrize("epochs_before", [1, 2, 3])
def test_resume_matches_uninterrupted_run(
    finished: RunResult, make_config: MakeConfig, tmp_path: Path, epochs_before: int
) -> None:
    def interrupt(metrics: EpochMetrics) -> None:
        if metrics.epoch + 1 == epochs_before:
            raise RuntimeError("power cut")

    config = make_config(tmp_path / "resumed", targets=["ER", "PR"])
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, on_epoch=interrupt, reporter=lambda _: None)
    record = open_run(config.out)[2]
    assert (record.status, record.error) == ("failed", "power cut")
    torch.manual_seed(99)
    resumed = train(config, reporter=lambda _: None)
    for name, weight in newest_weights(finished.run_url).items():
        assert torch.equal(weight, newest_weights(resumed.run_url)[name]), name
    assert list(map(untimed, resumed.history)) == list(map(untimed, finished.history))
    assert resumed.best_epoch == finished.best_epoch
    tables = [RunFolder(r.run_url).read_predictions()["probability"] for r in (finished, resumed)]
    assert tables[0].equals(tables[1])


def test_lost_best_weights_come_back_on_resume(make_config: MakeConfig, tmp_path: Path) -> None:
    def interrupt(metrics: EpochMetrics) -> None:
        raise RuntimeError("power cut")

    config = make_config(tmp_path / "run")
    with pytest.raises(RuntimeError):
        train(config, on_epoch=interrupt, reporter=lambda _: None)
    Path(config.out, "checkpoints", "best.pt").unlink()
    Path(config.out, "metrics.jsonl").write_text("")
    paused = train(config, until_epoch=2, reporter=lambda _: None)
    assert Path(config.out, "checkpoints", "best.pt").exists()
    assert len(RunFolder(config.out).read_metrics()) == len(paused.history) == 2


@pytest.mark.slow
def test_paused_run_goes_on_as_if_nothing_had_been(
    finished: RunResult, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(tmp_path / "run", targets=["ER", "PR"])
    seen: list[int] = []

    def watch(metrics: EpochMetrics) -> None:
        seen.append(metrics.epoch)

    paused = train(config, until_epoch=2, on_epoch=watch, reporter=lambda _: None)
    assert (paused.status, seen, len(paused.history)) == ("paused", [0, 1], 2)
    assert open_run(config.out)[2].status == "paused"
    for reached in (1, 2):
        assert train(config, until_epoch=reached, on_epoch=watch) == paused
    whole = train(config, on_epoch=watch, reporter=lambda _: None)
    assert (whole.status, seen) == ("finished", list(range(len(finished.history))))
    assert list(map(untimed, whole.history)) == list(map(untimed, finished.history))
    for name, weight in newest_weights(finished.run_url).items():
        assert torch.equal(weight, newest_weights(whole.run_url)[name]), name
    assert train(config, until_epoch=2) == whole


def test_stopped_run_is_not_trained_further(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(tmp_path / "run")
    paused = train(config, until_epoch=1, reporter=lambda _: None)
    folder, _, record = open_run(config.out)
    folder.write_record(replace(record, status="stopped"))
    assert train(config) == replace(paused, status="stopped")


def test_early_stopping_ends_a_run(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(
        tmp_path / "run",
        train={"epochs": 9, "batch_size": 8, "lr": 1e-12, "warmup_epochs": 0},
        early_stopping={"choose": "best_auc", "patience": 1, "min_delta": 0.9},
    )
    result = train(config, reporter=lambda _: None)
    assert result.status == "finished"
    assert len(result.history) == result.best_epoch + 2 < 9


def test_other_configuration_in_the_same_folder_is_refused(
    finished: RunResult, make_config: MakeConfig
) -> None:
    with pytest.raises(InputError, match="seed is 0 there and 1 now"):
        train(make_config(finished.run_url, targets=["ER", "PR"], seed=1))


def test_configuration_that_does_not_fit_the_store_is_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    for changes, message in [
        ({"targets": ["HER3"]}, "did you mean 'HER2'"),
        ({"fold": 7}, "fold is 7"),
        ({"network": {"name": "DenseNet121"}}, "reads crops of 29"),
    ]:
        with pytest.raises(InputError, match=message):
            train(make_config(tmp_path / "run", **changes), reporter=lambda _: None)
        assert not (tmp_path / "run").exists()


def test_diverging_loss_says_what_to_change(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(
        tmp_path / "run",
        train={"epochs": 3, "lr": 1e30, "warmup_epochs": 0, "gradient_clip": None},
    )
    with pytest.raises(InputError, match=r"lower train\.lr"):
        train(config, reporter=lambda _: None)
    assert open_run(config.out)[2].status == "failed"
    # Nothing was trained, so the folder is free for the mended configuration.
    result = train(make_config(config.out), until_epoch=1, reporter=lambda _: None)
    assert result.status == "paused"


def test_run_on_an_object_store_leaves_the_same_files(
    make_config: MakeConfig, finished: RunResult, store: Store, split: Split
) -> None:
    changes = {"targets": ["ER", "PR"], "logging": {"tensorboard": True}}
    result = train(make_config("memory://runs/remote", **changes), reporter=lambda _: None)
    assert list(map(untimed, result.history)) == list(map(untimed, finished.history))
    folder = open_run("memory://runs/remote")[0]
    assert folder.name == "remote"
    from preprocessing.storage import files

    names = files.list_names(folder.url)
    assert set(names) == {
        "checkpoints", "config.yaml", "inputs.json", "metrics.jsonl", "predictions.parquet",
        "run.json", "tensorboard",
    }  # fmt: skip
    assert files.list_names(files.join(folder.url, "tensorboard"))
    assert len(predict_run(folder.url, store, split, "validation", device="cpu")) == 16


def test_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingPathError, match="no run at"):
        open_run(str(tmp_path / "none"))


def test_progress_is_one_line_an_epoch(make_config: MakeConfig, tmp_path: Path) -> None:
    lines: list[str] = []
    config = make_config(tmp_path / "run", train={"epochs": 2, "warmup_epochs": 0})
    train(config, reporter=lines.append)
    assert len(lines) == 4
    assert lines[0].startswith("ResNet10-narrow on ER: 24 training patients, 8 validation")
    assert lines[1].startswith("training patients: 1 MB as int16 in shared memory, one copy")
    assert lines[3].startswith("epoch 2/2: loss ")


def test_target_of_one_class_in_validation_trains_on(
    make_config: MakeConfig, store: Store, split: Split, split_url: str
) -> None:
    config = make_config("unused", targets=["HER2"])
    rows = [store.index_of(i) for i in split.validation_ids(0)]
    labels = store.labels.copy()
    labels[rows, 2] = 0
    training = Training(config, Worker.single("cpu"), replace(store, labels=labels), split)
    training.run_epoch()
    assert math.isnan(training.history[0].validation_auc)
    assert training.verdict().is_best


def test_debug_overfits_one_batch_and_writes_nothing(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    lines: list[str] = []
    result = debug(make_config(tmp_path / "run"), reporter=lines.append)
    assert result.reached
    assert result.last_loss < 0.05 < result.first_loss
    assert any("conv1 (" in line and "(8, 16, 12, 12, 6)" in line for line in lines)
    assert "was overfitted" in lines[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_asked_for_but_absent_is_named() -> None:
    with pytest.raises(InputError, match="set device to cpu or auto"):
        choose_device("cuda")
