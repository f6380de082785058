"""Training on a real, local Ray."""

import sys

import pytest

import cluster.train
from cluster.train import train_on_ray
from preprocessing.common.errors import InputError
from radiotrain.cli import main
from radiotrain.config.run_config import dump_config, parse_config
from radiotrain.runs.run_folder import RunFolder
from radiotrain.training.loop import train
from tests.unit.training.synthetic import run_config

# Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_two_workers_train_under_ray_train(ray_here, store, split_url, tmp_path):
    train_values = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}
    logging = {"tensorboard": True}
    config = run_config(store, split_url, tmp_path / "two", train=train_values, logging=logging)
    result = train_on_ray(config, workers=2)
    assert result.status == "finished"
    record = RunFolder(config.out).read_record()
    assert record.world_size == 2
    assert len(list((tmp_path / "two" / "tensorboard").glob("events.*"))) == 1
    assert [m.epoch for m in result.history] == [0, 1]
    # Every validation patient once, whatever the number of workers.
    alone = train(config.model_copy(update={"out": str(tmp_path / "one")}))
    ours = RunFolder(config.out).read_predictions()
    theirs = RunFolder(alone.run_url).read_predictions()
    assert list(ours.patient_id) == list(theirs.patient_id)
    assert list(ours.label) == list(theirs.label)


def test_a_finished_run_is_not_trained_again(store, split_url, tmp_path, monkeypatch):
    config = run_config(store, split_url, tmp_path / "done")
    first = train(config)
    monkeypatch.setattr(cluster.train, "ray_session", None)  # would fail if Ray were started
    assert train_on_ray(config, workers=2).validation_auc == first.validation_auc


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": ["Ki67"]}, "has no target 'Ki67'"),
        ({"network": {"name": "DenseNet121"}}, "reads crops of"),
        ({"train": {"epochs": 4, "batch_size": 2}}, "leaves one with"),
        ({"split": "nowhere.json"}, "no split at"),
    ],
)
def test_mistakes_are_found_before_ray_is_started(
    store, split_url, tmp_path, monkeypatch, changes, message
):
    monkeypatch.setattr(cluster.train, "ray_session", None)
    config = run_config(store, split_url, tmp_path / "run")
    values = {**config.model_dump(mode="json"), **changes}
    config = parse_config(type(config), values, "test")
    with pytest.raises((InputError, FileNotFoundError), match=message):
        train_on_ray(config, workers=2)


def test_the_largest_of_a_range_of_workers_has_to_fit(store, split_url, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster.train, "ray_session", None)
    config = run_config(store, split_url, tmp_path / "run")
    with pytest.raises(InputError, match="a batch of 8 over 5 workers leaves one with 1"):
        train_on_ray(config, workers=(1, 5))


@pytest.mark.parametrize("words", ["0", "two", "8-2", "2-", "-2", "1.5", "2-8-9"])
def test_workers_are_a_number_or_a_range(store, split_url, tmp_path, monkeypatch, capsys, words):
    monkeypatch.setattr(cluster.train, "ray_session", None)
    config = run_config(store, split_url, tmp_path / "run")
    (tmp_path / "run.yaml").write_text(dump_config(config))
    command = ["radiotrain", "train", "--config", str(tmp_path / "run.yaml"), "--backend", "ray"]
    monkeypatch.setattr(sys, "argv", [*command, f"--workers={words}"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --workers is {words!r}, expected")
    assert said.count("\n") == 1
