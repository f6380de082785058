"""Whatever dies, a sweep ends as one that was left in peace, and trains nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.folder import TrialSummary, read_states
from cluster.sweep.run import run_sweep
from preprocessing.common.progress import progress
from radiotrain.config.run_config import dump_config
from tests.commands import end, start
from tests.processes import descendants, is_alive
from tests.processes import wait_for as waited_for
from tests.ray_copies import COMMAND

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
    pytest.mark.filterwarnings("ignore"),
]

Trouble = Callable[[str, int], None]


@pytest.fixture(scope="module")
def config(make_sweep: Callable[..., SweepConfig]) -> Callable[..., SweepConfig]:
    """Three trials of ER, of which one goes on from each rung, all with a few seconds to die in."""

    def make(out: Path, **changes: Any) -> SweepConfig:
        values = {
            "targets": ["ER"],
            "seeds": [0, 1, 2],
            "train": {"epochs": 12, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1},
            "early_stopping": {"patience": None},
            "halving": {"grace_epochs": 4, "reduction_factor": 3},
        }
        return make_sweep(out, **(values | changes))

    return make


@pytest.fixture(scope="module")
def undisturbed(
    ray_here: None, config: Callable[..., SweepConfig], tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrialSummary, ...]:
    return run_sweep(config(tmp_path_factory.mktemp("undisturbed") / "sweep"), progress)


def facts(found: tuple[TrialSummary, ...]) -> dict[str, Any]:
    """What does not depend on the clock, by trial: every epoch, and the weights that are kept."""
    known = {}
    for summary in found:
        epochs = [(m.validation_auc, m.train_loss) for h in summary.state.histories for m in h]
        best = Path(summary.plan.run.out, "checkpoints", "best.pt")
        weights = torch.load(best, weights_only=True)["weights"] if best.exists() else {}
        total = sum(float(w.double().sum()) for w in weights.values())
        known[summary.plan.name] = (summary.status, epochs, total)
    return known


def bring(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `trouble` happen after each epoch; as an inner function it travels to the trials whole."""

    def trial(config: Any, **options: Any) -> None:
        import cluster.sweep.trial as there

        loop = there.train  # type: ignore[attr-defined]

        def train(run: Any, *, on_epoch: Any, **more: Any) -> Any:
            def and_trouble(metrics: Any) -> None:
                on_epoch(metrics)
                trouble(run.out, metrics.epoch)

            return loop(run, on_epoch=and_trouble, **more)

        there.train = train  # type: ignore[attr-defined]
        try:
            there.train_trial(config, **options)
        finally:
            there.train = loop  # type: ignore[attr-defined]

    monkeypatch.setattr("cluster.sweep.run.train_trial", trial)


def assert_all_is_free() -> None:
    total, end = ray.cluster_resources(), time.monotonic() + 30
    while (free := ray.available_resources()).get("CPU") != total["CPU"]:
        assert time.monotonic() < end, (free, total)
        time.sleep(0.2)


def test_a_trial_that_crashes_goes_on_from_its_checkpoint(
    undisturbed: tuple[TrialSummary, ...],
    config: Callable[..., SweepConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trouble(out: str, epoch: int) -> None:
        for when, kind in ((1, "raised"), (2, "killed"), (3, "hung")):
            once = Path(f"{out}.{kind}")
            if out.endswith("seed1") and epoch == when and not once.exists():
                once.touch()
                if kind == "raised":
                    raise RuntimeError("power cut")
                if kind == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(3600)

    bring(trouble, monkeypatch)
    sweep = config(tmp_path / "sweep", max_quiet_minutes=0.5)
    found = run_sweep(sweep, progress)
    assert facts(found) == facts(undisturbed)
    assert len(list((tmp_path / "sweep").glob("*_seed1.*"))) == 3
    assert_all_is_free()


def test_a_hopeless_trial_holds_nobody_up_and_says_why(
    undisturbed: tuple[TrialSummary, ...],
    config: Callable[..., SweepConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trouble(out: str, epoch: int) -> None:
        if out.endswith("seed0"):
            with Path(f"{out}.tries").open("a") as file:
                file.write("x")
            os.kill(os.getpid(), signal.SIGKILL)

    bring(trouble, monkeypatch)
    sweep = config(tmp_path / "sweep", max_failures=1)
    found = run_sweep(sweep, progress)
    hopeless, *others = found
    assert hopeless.status == "failed"
    assert "was killed from outside" in str(hopeless.state.error)
    assert Path(f"{hopeless.plan.run.out}.tries").read_text() == "xx"
    assert sorted(s.status for s in others) == ["finished", "stopped"]
    assert_all_is_free()
    # The same command again: it alone is tried, and what was trained without it stays as it is.
    monkeypatch.undo()
    again = {s.plan.name: s for s in run_sweep(sweep, progress)}
    assert all(s.has_ended for s in again.values())
    for summary in others:
        assert again[summary.plan.name].state.histories == summary.state.histories
    epochs = facts(undisturbed)[hopeless.plan.name][1]
    trained = facts((again[hopeless.plan.name],))[hopeless.plan.name][1]
    assert trained == epochs[: len(trained)]


def test_a_trial_that_breaks_before_it_begins_says_why_in_storage(
    undisturbed: tuple[TrialSummary, ...],
    config: Callable[..., SweepConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trial(config: Any, **options: Any) -> None:
        import cluster.sweep.trial as there

        if config["trial"]["name"].endswith("seed0"):
            raise RuntimeError("a driver too old")
        there.train_trial(config, **options)

    monkeypatch.setattr("cluster.sweep.run.train_trial", trial)
    sweep = config(tmp_path / "sweep", max_failures=1)
    broken, *others = run_sweep(sweep, progress)
    assert sorted(s.status for s in others) == ["finished", "stopped"]
    assert_all_is_free()
    stored = read_states([broken.plan])[0]
    assert stored.has_failed
    assert "RuntimeError: a driver too old" in str(stored.error)
    monkeypatch.undo()
    again = facts(run_sweep(sweep, progress))
    name = broken.plan.name
    assert again[name][1] == facts(undisturbed)[name][1][: len(again[name][1])]
    assert again[name][1]


def test_a_trial_without_enough_memory_is_not_tried_again(
    ray_here: None,
    config: Callable[..., SweepConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def trial(config: Any, **options: Any) -> None:
        import cluster.sweep.trial as there
        from radiotrain.training import trainer

        call = trainer.call_network  # type: ignore[attr-defined]

        def as_cuda_does(network: Any, images: Any, covariates: Any) -> Any:
            if config["trial"]["name"].endswith("seed2"):
                with Path(config["trial"]["runs"][0].out + ".tries").open("a") as file:
                    file.write("x")
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return call(network, images, covariates)

        trainer.call_network = as_cuda_does  # type: ignore[attr-defined]
        try:
            there.train_trial(config, **options)
        finally:
            trainer.call_network = call  # type: ignore[attr-defined]

    monkeypatch.setattr("cluster.sweep.run.train_trial", trial)
    sweep = config(tmp_path / "sweep")
    found = run_sweep(sweep, progress)
    assert [s.status for s in found][2] == "failed"
    assert "memory" in str(found[2].state.error)
    assert Path(f"{found[2].plan.run.out}.tries").read_text() == "x"
    assert sorted(s.status for s in found[:2]) == ["finished", "stopped"]
    assert_all_is_free()


def start_sweep(
    sweep: SweepConfig, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    path = Path(sweep.out).with_suffix(".yaml")
    path.write_text(dump_config(sweep))
    return start("tune", "--config", path, program=("-c", COMMAND), environment=environment)


def wait_for(sweep: SweepConfig, num_epochs: int, process: subprocess.Popen[str]) -> int:
    """Wait until so many epochs are trained, over all trials."""
    end, plans = time.monotonic() + 200, plan_trials(sweep)
    while (done := sum(s.num_epochs for s in read_states(plans))) < num_epochs:
        assert time.monotonic() < end, f"{done} epochs of {num_epochs}"
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return done


def test_killed_and_interrupted_it_ends_as_if_nothing_had_been(
    undisturbed: tuple[TrialSummary, ...],
    config: Callable[..., SweepConfig],
    tmp_path: Path,
) -> None:
    # A Ray of its own each time; other tests' Ray here is not joined.
    sweep = config(tmp_path / "sweep", resources={"cpus": 1})
    total = sum(s.state.num_epochs for s in undisturbed)
    first = start_sweep(sweep)
    wait_for(sweep, 2, first)
    first.kill()
    first.communicate()
    second = start_sweep(sweep)
    done = wait_for(sweep, total // 2, second)
    assert done < total, "interrupted too late to show anything"
    second.send_signal(signal.SIGINT)
    _, said = end(second, status=130)
    assert "run the same command again to resume" in said
    kept = {s.plan.name: s for s in read_states(plan_trials(sweep))}
    end(start_sweep(sweep), timeout_s=300)
    found = run_sweep(sweep, progress)
    assert facts(found) == facts(undisturbed)
    # Nothing was trained twice: epochs that were there kept even the seconds that they took.
    for name, state in kept.items():
        after = next(s.state for s in found if s.plan.name == name)
        for before, history in zip(state.histories, after.histories, strict=False):
            assert history[: len(before)] == before
    said, _ = end(start_sweep(sweep))
    assert "finished" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_told_to_stop_it_pauses_its_trials_where_they_are(
    undisturbed: tuple[TrialSummary, ...],
    config: Callable[..., SweepConfig],
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    sweep = config(tmp_path / "sweep", resources={"cpus": 1})
    total = sum(s.state.num_epochs for s in undisturbed)
    process = start_sweep(sweep)
    done = wait_for(sweep, 3, process)
    assert done < total, "told too late to show anything"
    below = descendants(process.pid)
    process.send_signal(number)
    _, said = end(process, status=128 + number, timeout_s=60)
    assert said.splitlines()[-1] == (
        f"paused ({number.name}): run the same command again to resume"
    )
    assert "terminate called" not in said
    waited_for(lambda: not any(map(is_alive, below)), "Ray's processes to end")
    begun = [s for s in read_states(plan_trials(sweep)) if s.records]
    assert begun
    assert {s.records[-1].status for s in begun} <= {"paused", "finished", "stopped"}
    end(start_sweep(sweep), timeout_s=300)
    assert facts(run_sweep(sweep, progress)) == facts(undisturbed)


def test_trials_of_a_lost_host_go_on_elsewhere(
    undisturbed: tuple[TrialSummary, ...], config: Callable[..., SweepConfig], tmp_path: Path
) -> None:
    sweep = config(tmp_path / "sweep", resources={"cpus": 1})
    hosts = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        second = hosts.add_node(num_cpus=1)
        process = start_sweep(sweep, {"RAY_ADDRESS": hosts.address})
        wait_for(sweep, 3, process)
        hosts.remove_node(second, allow_graceful=False)
        end(process, timeout_s=400)
    finally:
        hosts.shutdown()
    assert facts(run_sweep(sweep, progress)) == facts(undisturbed)
