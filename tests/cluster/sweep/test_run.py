"""Sweeps on a real, local Ray."""

from dataclasses import replace
from pathlib import Path

import pytest
import ray

from cluster.sweep.config import plan_trials
from cluster.sweep.folder import SweepFolder, best_of_each_group
from cluster.sweep.halving import Action, judge
from cluster.sweep.run import run_sweep
from preprocessing.common.errors import InputError
from preprocessing.common.progress import progress
from radiotrain.runs.run_folder import RunFolder
from radiotrain.training.loop import train

# Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def untimed(found):
    """What does not depend on the clock, by trial."""
    return {
        s.plan.name: (
            s.status,
            [[(m.validation_auc, m.train_loss) for m in h] for h in s.state.histories],
        )
        for s in found
    }


@pytest.fixture(scope="module")
def swept(ray_here, make_sweep, tmp_path_factory):
    sweep = make_sweep(tmp_path_factory.mktemp("sweep") / "sweep")
    return sweep, run_sweep(sweep, progress)


def test_half_of_each_targets_trials_train_to_the_end(swept):
    _, found = swept
    for group in ("ER", "PR"):
        ended = sorted((s.state.num_epochs, s.status) for s in found if s.plan.group == group)
        assert ended == [(1, "stopped"), (4, "finished")]
        best, other = sorted((s for s in found if s.plan.group == group), key=lambda s: s.rank)
        firsts = [s.state.histories[0][0].validation_auc for s in (best, other)]
        assert firsts[0] >= firsts[1]
    assert all(s.state.error is None for s in found)


def test_the_folders_say_what_the_ladder_says(swept, look):
    sweep, found = swept
    assert untimed(look(sweep).values()) == untimed(found)
    for summary in found:
        assert summary.state.records[-1].status == summary.status


def test_a_trial_trained_from_rung_to_rung_is_what_it_is_alone(swept, tmp_path):
    _, found = swept
    winner = best_of_each_group(found)[0]
    alone = train(winner.plan.run.model_copy(update={"out": str(tmp_path / "alone")}))
    assert [(m.validation_auc, m.train_loss) for m in alone.history] == [
        (m.validation_auc, m.train_loss) for m in winner.state.histories[0]
    ]


def test_all_resources_are_free_after_trials_were_stopped(swept):
    total, free = ray.cluster_resources(), ray.available_resources()
    for kind in ("CPU", "memory"):
        assert free[kind] == total[kind], kind
    assert not [p for p in ray.util.placement_group_table().values() if p["state"] != "REMOVED"]


def test_only_the_best_keep_their_weights(ray_here, make_sweep, tmp_path):
    sweep = make_sweep(tmp_path / "sweep", targets=["ER"], seeds=[0, 1, 2, 3], keep_best=2)
    found = run_sweep(sweep, progress)
    kept = []
    for summary in sorted(found, key=lambda s: s.rank):
        folder = RunFolder(summary.plan.run.out)
        kept.append([path.name for path in Path(folder.checkpoints).iterdir()])
        assert len(folder.read_predictions())
        assert len(folder.read_metrics()) == summary.state.num_epochs
    assert kept == [["best.pt"], ["best.pt"], [], []]
    # What was pruned is no free folder: another sweep's trial must not take it.
    other = make_sweep(
        sweep.out,
        targets=["ER"],
        seeds=[2, 3],
        train={"epochs": 5, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
    )
    with pytest.raises(InputError, match=r"train\.epochs is 4 there and 5 now"):
        run_sweep(other, progress)


def test_folds_are_trained_one_after_the_other_and_a_bad_first_one_ends_a_trial(
    ray_here, make_sweep, look, tmp_path
):
    sweep = make_sweep(
        tmp_path / "sweep",
        targets=["ER"],
        folds=[0, 1, 2],
        search={"train.lr": {"grid": [3e-3, 1e-9]}},
        seeds=[0],
        train={"epochs": 3, "batch_size": 8, "warmup_epochs": 1},
        halving={"grace_epochs": 3, "reduction_factor": 2, "smooth_epochs": 1},
    )
    good, bad = run_sweep(sweep, progress)
    assert (good.status, bad.status) == ("finished", "stopped")
    assert [len(history) for history in good.state.histories] == [3, 3, 3]
    assert [len(history) for history in bad.state.histories] == [3]
    assert "of fold 1" in bad.verdict.reason
    assert good.verdict.score == pytest.approx(
        sum(history[-1].validation_auc for history in good.state.histories) / 3
    )


def test_suggestions_are_written_down_before_they_are_tried(ray_here, make_sweep, look, tmp_path):
    sweep = make_sweep(
        tmp_path / "sweep",
        networks=["ResNet10-narrow", "ResNet10"],
        search_algorithm="tpe",
        search={
            "train.lr": {"loguniform": [1e-5, 1e-2]},
            "train.loss": {"choice": ["bce", "focal"]},
            "network.covariates": {"choice": [[], []]},
        },
        seeds=[0],
        # Few of them: the larger network's checkpoints take 170 MB each.
        num_samples=1,
        train={"epochs": 1, "batch_size": 8, "warmup_epochs": 0},
    )
    found = run_sweep(sweep, progress)
    assert len(found) == 2 * 2 * 1
    assert all(s.has_ended for s in found)
    for group in ("ER", "PR"):
        drawn = [s.plan.run.train.lr for s in found if s.plan.group == group]
        assert len(set(drawn)) == 2
        assert all(1e-5 <= lr <= 1e-2 for lr in drawn)
    assert untimed(look(sweep).values()) == untimed(found)
    # Enlarged, it goes on: the same trials, and new ones that are not the old ones over again.
    more = run_sweep(sweep.model_copy(update={"num_samples": 2}), progress)
    assert len(more) == 2 * 2 * 2
    assert len({(s.plan.group, s.plan.run.train.lr) for s in more}) == len(more)
    assert {s.plan.name for s in found} < {s.plan.name for s in more}


def test_running_again_trains_only_what_is_missing(swept, monkeypatch):
    sweep, found = swept
    monkeypatch.setattr("cluster.sweep.run.ray_session", None)  # would fail if Ray were started
    assert untimed(run_sweep(sweep, progress)) == untimed(found)


def test_who_stopped_is_written_down_where_an_interrupted_driver_had_not(
    ray_here, make_sweep, tmp_path, monkeypatch
):
    sweep = make_sweep(tmp_path / "sweep", targets=["ER"])
    found = run_sweep(sweep, progress)
    (stopped,) = [s for s in found if s.status == "stopped"]
    folder = RunFolder(stopped.plan.run.out)
    folder.write_record(replace(folder.read_record(), status="running"))
    monkeypatch.setattr("cluster.sweep.run.ray_session", None)  # nothing is left to train
    assert untimed(run_sweep(sweep, progress)) == untimed(found)
    assert folder.read_record().status == "stopped"


def test_a_larger_sweep_lets_trials_go_on_that_a_smaller_one_stopped(
    ray_here, make_sweep, tmp_path
):
    small = make_sweep(tmp_path / "sweep", targets=["ER"], seeds=[0, 1])
    run_sweep(small, progress)
    large = make_sweep(tmp_path / "sweep", targets=["ER"], seeds=[0, 1, 2, 3])
    grown = run_sweep(large, progress)
    at_once = run_sweep(
        make_sweep(tmp_path / "other", targets=["ER"], seeds=[0, 1, 2, 3]), progress
    )
    assert untimed(grown) == untimed(at_once)


def test_another_sweep_is_refused_in_the_same_folder(swept, ray_here, make_sweep, look):
    sweep, found = swept
    before = Path(sweep.out, "sweep.yaml").read_text()
    train_values = {"epochs": 4, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}
    for changes, sentence in [
        ({"train": train_values | {"lr": 1e-3}}, r"train\.lr is 0\.003 there and 0\.001 now"),
        ({"train": train_values | {"epochs": 5}}, r"train\.epochs is 4 there and 5 now"),
        # Found out only where Ray is there.
        ({"targets": ["HER2"], "resources": {"cpus": 500}}, "a trial asks for 500 CPUs"),
    ]:
        with pytest.raises(InputError, match=sentence):
            run_sweep(make_sweep(sweep.out, **changes), progress)
        assert Path(sweep.out, "sweep.yaml").read_text() == before
    assert untimed(look(sweep).values()) == untimed(found)


def test_a_trial_that_no_node_can_hold_is_refused(ray_here, make_sweep, tmp_path):
    sweep = make_sweep(tmp_path / "sweep", resources={"cpus": 500})
    with pytest.raises(InputError, match="a trial asks for 500 CPUs"):
        run_sweep(sweep, progress)
    sweep = make_sweep(tmp_path / "sweep", resources={"workers": 2, "cpus": 3})
    with pytest.raises(InputError, match="a trial of 2 workers asks for 6 CPUs"):
        run_sweep(sweep, progress)


def test_a_trial_of_several_workers_trains_under_ray_train(ray_here, make_sweep, tmp_path):
    sweep = make_sweep(
        tmp_path / "sweep",
        targets=["ER"],
        train={"epochs": 2, "batch_size": 8, "warmup_epochs": 1},
        resources={"workers": 2, "cpus": 1},
    )
    found = run_sweep(sweep, progress)
    assert sorted(s.status for s in found) == ["finished", "stopped"]
    assert {record.world_size for s in found for record in s.state.records} == {2}
    total, free = ray.cluster_resources(), ray.available_resources()
    assert free["CPU"] == total["CPU"]


def test_the_same_verdicts_follow_from_the_recorded_epochs_alone(swept):
    sweep, found = swept
    for group in ("ER", "PR"):
        members = [s for s in found if s.plan.group == group]
        again = judge([s.state.trial_curve() for s in members], _ladder(sweep))
        assert [again[s.plan.name] for s in members] == [s.verdict for s in members]
        assert {v.action for v in again.values()} == {Action.DONE, Action.STOP}


def _ladder(sweep):
    from cluster.sweep.folder import ladder_of

    return ladder_of(sweep)


def test_trials_that_were_killed_or_not_begun_are_all_that_is_trained(
    swept, ray_here, make_sweep, tmp_path
):
    """As a driver killed in mid-sweep leaves it: one trial in its first epochs, the others not begun."""
    _, found = swept
    sweep = make_sweep(tmp_path / "sweep")
    begun = plan_trials(sweep)[0]
    train(begun.run, until_epoch=1)
    folder = RunFolder(begun.run.out)
    folder.write_record(replace(folder.read_record(), status="running"))
    assert untimed(run_sweep(sweep, progress)) == untimed(found)


def epochs_trained(sweep, start=0):
    """Epochs by trial that the timeline has from its line `start` on."""
    lines = SweepFolder(sweep.out).read_timeline()[start:]
    return {
        line.trial: sum(other.epochs for other in lines if other.trial == line.trial)
        for line in lines
    }


def numbers(sweep):
    """What each run folder holds, by its place and when it was last written."""
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in Path(sweep.out).rglob("metrics.jsonl")
    }


@pytest.mark.slow
def test_an_extended_sweep_trains_only_what_is_new(ray_here, make_sweep, look, tmp_path):
    """Seed, fold, network, target and sample added; what was trained is not touched."""
    settings = {
        "search": {"train.lr": {"loguniform": [1e-4, 1e-2]}},
        "train": {"epochs": 1, "batch_size": 16, "warmup_epochs": 0},
        "halving": {"enabled": False},
    }
    small = make_sweep(tmp_path / "sweep", targets=["ER"], seeds=[0], **settings)
    run_sweep(small, progress)
    assert list(epochs_trained(small).values()) == [1]
    for changes, num_trials, num_epochs in [
        ({"targets": ["ER", "PR"], "seeds": [0, 1], "num_samples": 2}, 8, 7),
        ({"targets": ["ER", "PR"], "seeds": [1], "num_samples": 2, "folds": [0, 1]}, 4, 4),
        (
            {"targets": ["PR"], "seeds": [0], "search": {"train.lr": {"loguniform": [1e-5, 1]}}},
            1,
            0,
        ),
    ]:
        before, start = numbers(small), len(SweepFolder(small.out).read_timeline())
        sweep = make_sweep(tmp_path / "sweep", **settings | changes)
        found = run_sweep(sweep, progress)
        assert len(found) == num_trials
        assert {s.status for s in found} == {"finished"}
        assert sum(epochs_trained(sweep, start).values()) == num_epochs
        after = numbers(small)
        assert before.items() <= after.items()
        assert len(after) == len(before) + num_epochs
        assert untimed(look(sweep).values()) == untimed(found)
    # Whatever way it grew, each trial is what it would have been at once.
    at_once = make_sweep(
        tmp_path / "other", **settings, targets=["PR"], seeds=[1], num_samples=2, folds=[0, 1]
    )
    grown = look(
        make_sweep(
            tmp_path / "sweep", **settings, targets=["PR"], seeds=[1], num_samples=2, folds=[0, 1]
        )
    )
    assert sorted(str(v) for v in untimed(grown.values()).values()) == sorted(
        str(v) for v in untimed(run_sweep(at_once, progress)).values()
    )


@pytest.mark.slow
def test_an_edited_search_trains_only_what_is_new(ray_here, make_sweep, tmp_path):
    settings = {
        "targets": ["ER"],
        "seeds": [0],
        "search_algorithm": "tpe",
        "train": {"epochs": 1, "batch_size": 16, "warmup_epochs": 0},
    }
    search = {"train.lr": {"loguniform": [1e-4, 1e-2]}, "train.loss": {"choice": ["bce", "focal"]}}
    first = make_sweep(tmp_path / "sweep", **settings, search=search, num_samples=2)
    found = run_sweep(first, progress)
    before, median = numbers(first), sorted(s.plan.run.train.lr for s in found)
    narrower = search | {
        "train.lr": {"loguniform": [median[0] * 1.001, 0.5]},
        "train.loss": {"choice": ["focal", "bce"]},
        "augment.noise": {"uniform": [0.0, 0.1]},
    }
    more = run_sweep(
        make_sweep(first.out, **settings, search=narrower, num_samples=3, folds=[0]), progress
    )
    assert len(more) == 3
    assert before.items() <= numbers(first).items()
    assert len(numbers(first)) == 2 + 2
    assert sum(epochs_trained(first, 2).values()) == 2
