"""What a sweep is said to take, against what it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.sweep.config import plan_trials
from cluster.sweep.estimate import _estimate, estimate_sweep, wall_time_s
from cluster.sweep.folder import SweepFolder, read_states, summaries
from cluster.sweep.run import check_members
from preprocessing.common.progress import progress
from preprocessing.store import Store
from radiotrain.cli.tune import print_on_gpus
from radiotrain.config.run_config import dump_config
from radiotrain.runs.epoch_metrics import human_time
from radiotrain.runs.locations import open_inputs
from radiotrain.split.split import load_split
from radiotrain.training.loop import train
from radiotrain.training.resources import Timing, demand_of, memory_bytes
from tests.commands import call, the_sentence

# Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

TRAIN = {"epochs": 9, "batch_size": 8, "warmup_epochs": 1}
HALVING = {"grace_epochs": 3, "reduction_factor": 3}


@pytest.fixture(scope="module")
def sweep(make_sweep, tmp_path_factory):
    out = tmp_path_factory.mktemp("estimate") / "sweep"
    return make_sweep(out, seeds=[0, 1, 2], train=TRAIN, halving=HALVING)


def estimated(sweep, plans):
    inputs = open_inputs(sweep.store, sweep.split)
    found = summaries(sweep, read_states(plans))
    return estimate_sweep(sweep, plans, found, inputs, progress)


@pytest.fixture(scope="module")
def estimate(ray_here, sweep):
    return estimated(sweep, plan_trials(sweep))


def test_every_trial_has_its_memory_and_time(sweep, estimate):
    store = Store.open(sweep.store)
    assert [trial.plan for trial in estimate.trials] == list(plan_trials(sweep))
    assert (estimate.num_trials, estimate.is_known, estimate.uses_gpus) == (6, True, False)
    assert (estimate.gpu_share, estimate.fits) == (0, True)
    for trial in estimate.trials:
        counted = memory_bytes(demand_of(trial.plan.run), store.image_shape)
        assert trial.memory_bytes == counted
        assert 0 < trial.epoch_s < 60
    assert not Path(sweep.out).exists()


def test_hours_follow_from_epochs(estimate):
    """Of three trials a target, all train 3 epochs and one 9: 15 of 27 epochs."""
    (epoch_s,) = {trial.epoch_s for trial in estimate.trials}
    assert estimate.device_hours == pytest.approx(2 * 27 * epoch_s / 3600)
    assert estimate.device_hours_to_come == pytest.approx(2 * 15 * epoch_s / 3600)


def test_the_time_of_the_sweep_follows_from_its_rounds(estimate):
    """Of each target three trials of 3 epochs, then one of 6: with six places no trial waits."""
    (epoch_s,) = {trial.epoch_s for trial in estimate.trials}
    assert estimate.wall_s(6) == pytest.approx(9 * epoch_s)
    assert estimate.wall_s(1) == pytest.approx(3600 * estimate.device_hours_to_come)


@pytest.mark.parametrize(
    ("rounds", "slots", "seconds"),
    [
        ([], 2, 0),
        ([[]], 2, 0),
        ([[(3, 2.0), (1, 5.0)]], 1, 11),
        ([[(3, 2.0), (1, 5.0)]], 2, 9),
        # First come, first served: the second group's trials are ready before the first one's last.
        ([[(2, 1.0), (1, 4.0)], [(2, 1.0), (1, 1.0)]], 2, 6),
    ],
)
def test_wall_time_by_hand(rounds, slots, seconds):
    assert wall_time_s(rounds, slots) == pytest.approx(seconds)


def test_a_dry_run_opens_the_store_and_the_split_once(make_sweep, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "cluster.sweep.run.open_inputs", lambda *urls: opened.append(urls) or open_inputs(*urls)
    )
    monkeypatch.setattr(
        "radiotrain.training.validate.open_inputs", lambda *urls: opened.append(urls)
    )
    sweep = make_sweep(tmp_path / "sweep", folds=[0, 1])
    assert len(check_members(sweep).trials) == 4
    assert opened == [(sweep.store, sweep.split)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--gpus", 8), "no --dry-run"),
        (("--gpus", 8, "--dry-run"), "the sweep is configured for the CPU"),
        (("--gpus", 8, "--dry-run", "--set", "device=auto"), "Ray finds none here"),
    ],
)
def test_hours_of_gpus_are_not_said_where_none_was_measured(
    ray_here, make_sweep, tmp_path, options, words
):
    config = tmp_path / "sweep.yaml"
    config.write_text(dump_config(make_sweep(tmp_path / "sweep")))
    _, error = call("tune", "--config", config, *options, status=2)
    assert words in the_sentence(error)


def test_hours_on_gpus_are_those_of_the_measured_steps(estimate, sweep, capsys):
    print_on_gpus(sweep, estimate, 8)
    out = capsys.readouterr().out
    assert f"on 8 GPUs: {human_time(estimate.wall_s(6))} with halving" in out
    assert "2 of 8 GPUs are never used" in out


def test_the_removed_command_names_what_to_use():
    _, error = call("plan", "--config", "sweep.yaml", "--gpus", 8, "--price", 2, status=2)
    assert "tune --config sweep.yaml --dry-run --gpus N" in the_sentence(error)


def test_what_is_done_is_not_to_come(ray_here, sweep, estimate):
    plans = plan_trials(sweep)
    SweepFolder(sweep.out).write_sweep(sweep)
    train(plans[0].run, until_epoch=3, reporter=lambda _: None)
    again = estimated(sweep, plans)
    epoch_s = again.trials[0].epoch_s
    assert again.device_hours == pytest.approx(2 * 27 * epoch_s / 3600)
    assert again.device_hours_to_come == pytest.approx((2 * 15 - 3) * epoch_s / 3600)


def test_an_epoch_takes_as_long_as_it_is_said_to(ray_here, sweep, estimate):
    run = plan_trials(sweep)[1].run
    seconds = min(m.seconds for m in train(run, reporter=lambda _: None).history)
    said = estimate.trials[1].epoch_s
    # Other tests may have the same cores at one of the times.
    for _ in range(3):
        if seconds / 10 < said < 10 * seconds:
            return
        said = estimated(sweep, plan_trials(sweep)[:2]).trials[1].epoch_s
    pytest.fail(f"an epoch of {seconds:.3f} s was said to take {said:.3f} s")


def test_suggested_trials_are_estimated_by_an_example_of_each_network(
    ray_here, make_sweep, tmp_path
):
    sweep = make_sweep(
        tmp_path / "sweep",
        networks=["ResNet10-narrow", "ResNet18"],
        seeds=[0],
        search_algorithm="tpe",
        num_samples=5,
        search={"train.lr": {"loguniform": [1e-4, 1e-2]}},
    )
    found = estimated(sweep, ())
    assert [trial.plan.name for trial in found.trials] == [
        "ER_ResNet10-narrow",
        "PR_ResNet10-narrow",
        "ER_ResNet18",
        "PR_ResNet18",
    ]
    assert (found.num_trials, found.is_known) == (20, False)
    mean = sum(trial.epoch_s for trial in found.trials) / 4
    assert found.device_hours == pytest.approx(20 * 4 * mean / 3600)


TOO_SMALL = Timing("a GPU", 10**8, True, True, 0.1, 0.01, None)


@pytest.mark.parametrize(
    ("changes", "share", "fits"),
    [
        ({}, 1.0, False),
        ({"device_bytes": 10**10}, 1.0, True),
        ({"device_bytes": 10**10, "peak_bytes": 6 * 10**9}, 1.0, True),
        ({"device_bytes": 10**10, "peak_bytes": 6 * 10**9}, 0.5, False),
    ],
)
def test_a_gpu_has_room_or_not(sweep, changes, share, fits):
    plan = plan_trials(sweep)[0]
    store = Store.open(sweep.store)
    timing = Timing(**(vars(TOO_SMALL) | changes))
    found = _estimate(
        plan,
        demand_of(plan.run),
        timing,
        store,
        load_split(sweep.split, store),
        1,
        {"CPU": 1, "GPU": share},
    )
    assert (found.problem is None) == fits
    assert fits or "lower train.batch_size" in found.problem


def test_the_command_prints_it_and_trains_nothing(ray_here, sweep, make_sweep, tmp_path):
    dry = make_sweep(tmp_path / "sweep", seeds=[0, 1, 2], train=TRAIN, halving=HALVING)
    (tmp_path / "sweep.yaml").write_text(dump_config(dry))
    out, _ = call("tune", "--config", tmp_path / "sweep.yaml", "--dry-run")
    for plan in plan_trials(dry):
        assert plan.name in out
    assert "6 trials of at most 9 epochs, compared within 2 targets" in out
    assert "hours if none is stopped" in out
    assert "timed on CPU" in out
    assert not (tmp_path / "sweep").exists()


def test_what_does_not_fit_is_said_with_status_1(ray_here, make_sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.sweep.estimate._host_room", lambda timing, each: 1e8)
    dry = make_sweep(tmp_path / "sweep")
    (tmp_path / "sweep.yaml").write_text(dump_config(dry))
    _, error = call("tune", "--config", tmp_path / "sweep.yaml", "--dry-run", status=1)
    assert "does not fit: ER_ResNet10-narrow_seed0 and 3 more: a worker needs" in error
    assert summaries(dry, read_states(plan_trials(dry)))[0].status == "not begun"
