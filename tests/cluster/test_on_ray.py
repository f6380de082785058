"""Training and sweep on a real, local Ray."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import cluster.train
from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.run import best_of_each_group, read_outcomes, run_sweep, status_after_stop
from cluster.train import train_on_ray
from preprocessing.errors import InputError
from preprocessing.progress import progress
from radiotrain.cli import main
from radiotrain.config import dump_config, parse_config
from radiotrain.runs import RunFolder
from radiotrain.training.loop import train
from tests.unit.training.synthetic import run_config

pytestmark = [
    pytest.mark.ray,
    # Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
    pytest.mark.filterwarnings("ignore"),
]


def test_two_workers_train_under_ray_train(ray_here, store, split_url, tmp_path):
    train_values = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}
    config = run_config(store, split_url, tmp_path / "two", train=train_values)
    result = train_on_ray(config, workers=2)
    assert result.status == "finished"
    record = RunFolder(config.out).read_record()
    assert record.world_size == 2
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
    command = ["radiotrain", "train", "--config", str(tmp_path / "run.yaml"), "--on", "ray"]
    monkeypatch.setattr(sys, "argv", [*command, f"--workers={words}"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --workers is {words!r}, expected")
    assert said.count("\n") == 1


def sweep_config(store, split_url, out, **changes):
    values = {
        "store": store.url,
        "split": split_url,
        "out": str(out),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER", "PR"],
        "seeds": [0, 1],
        "train": {"epochs": 4, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
        "asha": {"grace_epochs": 1, "reduction_factor": 4},
        "device": "cpu",
    }
    return parse_config(SweepConfig, values | changes, "test")


@pytest.fixture(scope="module")
def swept(ray_here, store, split_url, tmp_path_factory):
    sweep = sweep_config(store, split_url, tmp_path_factory.mktemp("sweep") / "sweep")
    return sweep, run_sweep(sweep, progress)


def test_every_trial_ends_and_some_are_stopped(swept):
    _, outcomes = swept
    assert all(o.succeeded for o in outcomes)
    for outcome in outcomes:
        record = outcome.record
        assert record.status == status_after_stop(record.num_epochs, 4)
        assert record.error is None
    # Of two trials of a target, the second to reach a rung below the first is stopped there.
    assert {o.plan.group for o in outcomes if o.record.status == "finished"} == {"ER", "PR"}


def test_the_best_of_each_target_is_by_validation_auc(swept):
    _, outcomes = swept
    best = best_of_each_group(outcomes)
    assert [o.plan.group for o in best] == ["ER", "PR"]
    for winner in best:
        rivals = [o.score for o in outcomes if o.plan.group == winner.plan.group]
        assert winner.score == max(rivals)


def test_running_again_trains_only_what_is_missing(swept, tmp_path):
    sweep, outcomes = swept
    before = {o.plan.name: RunFolder(o.plan.run.out).read_metrics() for o in outcomes}
    # As a driver killed in mid-sweep leaves it: one trial running, one not begun.
    interrupted = next(o for o in outcomes if o.record.num_epochs == 4)
    folder = RunFolder(interrupted.plan.run.out)
    folder.write_record(replace(interrupted.record, status="running"))
    again = run_sweep(sweep, progress)
    assert all(o.succeeded for o in again)
    after = {o.plan.name: RunFolder(o.plan.run.out).read_metrics() for o in again}
    assert {k: v for k, v in after.items() if k != interrupted.plan.name} == {
        k: v for k, v in before.items() if k != interrupted.plan.name
    }
    assert [m.validation_auc for m in after[interrupted.plan.name]] == [
        m.validation_auc for m in before[interrupted.plan.name]
    ]


def test_a_stopped_trials_actor_takes_the_next_trial(ray_here, store, split_url, tmp_path):
    """One trial at a time: each begins in the actor of the one before, stopped or not."""
    sweep = sweep_config(
        store,
        split_url,
        tmp_path / "sweep",
        targets=["PR"],
        seeds=[0, 1, 2, 3],
        resources={"cpus": 4},
        max_failures=0,
    )
    outcomes = run_sweep(sweep, progress)
    assert all(o.succeeded for o in outcomes)
    statuses = [o.record.status for o in outcomes]
    assert "stopped" in statuses[:-1], "no stop before the last trial: nothing was shown"


def test_another_sweep_is_refused_in_the_same_folder(swept, store, split_url):
    sweep, outcomes = swept
    other = sweep_config(store, split_url, sweep.out, train={"epochs": 5, "batch_size": 8})
    with pytest.raises(InputError, match=r"train\.epochs is 4 there and 5 now"):
        run_sweep(other, progress)
    assert read_outcomes(plan_trials(sweep)) == tuple(
        replace(o, record=RunFolder(o.plan.run.out).read_record()) for o in outcomes
    )


def test_a_trial_that_no_node_can_hold_is_refused(ray_here, store, split_url, tmp_path):
    sweep = sweep_config(store, split_url, tmp_path / "sweep", resources={"cpus": 500})
    with pytest.raises(InputError, match="a trial asks for 500 CPUs"):
        run_sweep(sweep, progress)


def test_a_broken_trial_does_not_wedge_the_sweep(ray_here, store, split_url, tmp_path):
    sweep = sweep_config(
        store, split_url, tmp_path / "sweep", seeds=[0], max_failures=0, asha={"enabled": False}
    )
    broken, sound = plan_trials(sweep)
    # A folder where the loop wants to write its checkpoints' file.
    checkpoints = RunFolder(broken.run.out).checkpoints
    (tmp_path / "sweep" / broken.name).mkdir(parents=True)
    with Path(checkpoints).open("w") as file:
        json.dump("no folder", file)
    outcomes = run_sweep(sweep, progress)
    assert [o.succeeded for o in outcomes] == [False, True]
    assert outcomes[0].record.status == "failed"
    assert outcomes[0].record.error
    assert sound.name == outcomes[1].plan.name
