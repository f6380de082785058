"""How many trials share a GPU. No machine here has one: what is counted is tested, not the GPU."""

from __future__ import annotations

import pytest

from cluster.sweep.resources import Gpu, gpu_share, worker_resources
from cluster.sweep.trial import _placed
from preprocessing.store import Store
from radiotrain.config.run_config import SpeedConfig
from radiotrain.data.storage import Room
from radiotrain.training.resources import demand_of, memory_bytes

IMAGES = (4, 128, 128, 68)


@pytest.fixture
def a_run(make_sweep, tmp_path):
    from cluster.sweep.config import plan_trials

    def make(network="SEResNet50", batch_size=16, **changes):
        train = {"epochs": 4, "batch_size": batch_size}
        sweep = make_sweep(tmp_path / "sweep", networks=["ResNet10-narrow"], train=train, **changes)
        run = plan_trials(sweep)[0].run
        return run.model_copy(update={"network": run.network.model_copy(update={"name": network})})

    return make


def gpu(gigabytes, has_bfloat16=True):
    return Gpu(int(gigabytes * 1e9), has_bfloat16)


@pytest.mark.parametrize(
    ("times", "expected"),
    [(0.5, 1.0), (1.9, 1.0), (2.1, 0.5), (3.5, 0.3333), (4.1, 0.25), (50, 0.25)],
)
def test_as_many_share_as_fit_with_a_margin_and_four_at_most(a_run, times, expected):
    run = a_run()
    needed = memory_bytes(demand_of(run), IMAGES, half_precision=True)
    assert gpu_share([run], IMAGES, [gpu(times * 1.3 * needed / 1e9)]) == expected


def test_shares_add_up_to_no_more_than_a_gpu(a_run):
    for gigabytes in range(1, 200, 7):
        share = gpu_share([a_run()], IMAGES, [gpu(gigabytes)])
        assert round(1 / share) * share <= 1


def test_the_largest_trial_and_the_smallest_gpu_decide(a_run):
    small, large = a_run(batch_size=4), a_run(batch_size=64)
    alone = [gpu_share([run], IMAGES, [gpu(40)]) for run in (small, large)]
    assert alone == [0.25, 1.0]
    assert gpu_share([small, large], IMAGES, [gpu(40)]) == 1.0
    assert gpu_share([small], IMAGES, [gpu(40), gpu(4)]) == 1.0


def test_without_bfloat16_fewer_fit(a_run):
    run = a_run(batch_size=32)
    assert gpu_share([run], IMAGES, [gpu(50)]) < gpu_share([run], IMAGES, [gpu(50, False)])
    exact = run.model_copy(update={"precision": "float32"})
    assert gpu_share([exact], IMAGES, [gpu(50)]) == gpu_share([run], IMAGES, [gpu(50, False)])


@pytest.mark.parametrize("gpus", [[], [Gpu(0, False)], [Gpu(0, False), Gpu(80 * 10**9, True)]])
def test_a_gpu_of_which_nothing_is_known_is_not_shared(a_run, gpus):
    assert gpu_share([a_run()], IMAGES, gpus) == 1.0


def test_trials_that_share_a_gpu_keep_their_patients_on_the_host(a_run):
    run = a_run()
    placed = {gpu: _placed(run, {"GPU": gpu}).speed.placement for gpu in (0, 0.25, 0.5, 1, 2)}
    assert placed == {0: "auto", 0.25: "shared", 0.5: "shared", 1: "auto", 2: "auto"}
    asked_for = run.model_copy(update={"speed": SpeedConfig(placement="device")})
    assert _placed(asked_for, {"GPU": 0.5}).speed.placement == "device"


def test_without_room_for_a_copy_they_stream(a_run, monkeypatch):
    monkeypatch.setattr("cluster.sweep.trial.measure_room", lambda device: Room(None, 10**10, 100))
    monkeypatch.setattr("cluster.sweep.trial.missing_bytes", lambda *_: 101)
    assert _placed(a_run(), {"GPU": 0.5}).speed.placement == "stream"


@pytest.mark.filterwarnings("ignore")
def test_what_is_configured_wins(ray_here, make_sweep, tmp_path):
    for gpus in (0.5, 0, None):
        sweep = make_sweep(tmp_path / "sweep", resources={"cpus": 1.5, "gpus": gpus})
        assert worker_resources(sweep, (), Store.open(sweep.store)) == {
            "CPU": 1.5,
            "GPU": gpus or 0.0,
        }
