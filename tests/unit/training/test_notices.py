"""A notice to stop costs a training nothing; Ctrl-C is never dropped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from preprocessing.processes import stop_notice
from preprocessing.processes.stop_notice import Stopped, listening, put_off
from preprocessing.store import Store
from radiotrain import cli
from radiotrain.runs.checkpoint import Position, newest_position
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.runs.run_folder import RunFolder, open_run
from radiotrain.training.loop import train
from radiotrain.training.trainer import SharedFlag
from tests.commands import attempt
from tests.unit.training.synthetic import run_config


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """Also where pytest was begun with `&`, which lets processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _hears_notices() -> Iterator[None]:
    """Also where pytest was begun with `nohup`, under which processes ignore SIGHUP."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in stop_notice.NOTICES}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def give(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.slow
def test_paused_at_every_step_it_ends_as_if_nothing_had_been(
    store: Store, split_url: str, tmp_path: Path
) -> None:
    words = ["-m", "tests.unit.training.notices", store.url, split_url, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=550
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # 2 epochs of 3 steps: the last step's notice is used before its validation.
    assert done.stdout == "paused after 6 steps and in 2 validations\n"


@pytest.mark.parametrize("number", stop_notice.NOTICES)
def test_a_notice_says_where_it_stopped_and_by_what(
    store: Store, split_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    def on_epoch(metrics: EpochMetrics) -> None:
        give(number)

    config = run_config(store, split_url, tmp_path / "run")
    with listening(), pytest.raises(Stopped) as stop:
        train(config, on_epoch=on_epoch, reporter=lambda _: None)
    assert str(stop.value) == (
        f"paused after epoch 1 ({number.name}): run the same command again to resume"
    )
    assert stop.value.exit_status == 128 + number
    record = open_run(config.out)[2]
    assert (record.status, record.error, record.num_epochs) == ("paused", None, 1)
    assert newest_position(RunFolder(config.out).checkpoints) == Position(1, 0)


def test_a_notice_before_the_first_step_leaves_a_run_that_can_begin(
    store: Store, split_url: str, tmp_path: Path
) -> None:
    config = run_config(store, split_url, tmp_path / "run")
    notices = iter(["SIGTERM"])
    with pytest.raises(Stopped, match=r"^paused before its first step \(SIGTERM\): run the same"):
        train(config, notice=lambda: next(notices, "SIGTERM"), reporter=lambda _: None)
    assert open_run(config.out)[2].status == "paused"
    result = train(config, until_epoch=1, reporter=lambda _: None)
    assert len(result.history) == 1


def test_a_notice_in_what_cannot_wait_keeps_the_record_of_the_epochs(
    store: Store, split_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a resumed run reads its checkpoint, for instance."""
    config = run_config(store, split_url, tmp_path / "run")
    train(config, until_epoch=2, reporter=lambda _: None)

    def resume(*arguments: object) -> bool:
        raise Stopped("SIGTERM")

    monkeypatch.setattr("radiotrain.training.trainer.Training.resume", resume)
    with pytest.raises(Stopped):
        train(config, reporter=lambda _: None)
    record = open_run(config.out)[2]
    assert (record.status, record.num_epochs) == ("paused", 2)


def test_while_a_machine_is_leaving_every_step_is_kept(
    store: Store, split_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radiotrain.training.trainer import Training

    saved = []
    save = Training.save

    def noted(self: Training, folder: RunFolder) -> None:
        saved.append(self.position)
        save(self, folder)

    monkeypatch.setattr(Training, "save", noted)
    config = run_config(store, split_url, tmp_path / "run")
    train(config, until_epoch=1, is_leaving=lambda: True, reporter=lambda _: None)
    steps = saved[-2].step
    assert steps > 1
    assert saved == [*(Position(0, n) for n in range(1, steps + 1)), Position(1)]


def test_a_terminal_that_is_closed_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from radiotrain.training.loop import print_line

    class Closed:
        def write(self, text: str) -> None:
            raise OSError(5, "Input/output error")

        flush = write

    monkeypatch.setattr(sys, "stderr", Closed())
    print_line("epoch 1")


# The signals alone


def test_a_notice_is_raised_where_nothing_puts_it_off() -> None:
    with listening(), pytest.raises(Stopped, match="nothing finished is lost, run the same"):
        give(signal.SIGTERM)


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in stop_notice.NOTICES]
    with listening():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(number) for number in stop_notice.NOTICES] == before


def test_what_is_ignored_stays_so_as_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening():
            give(signal.SIGHUP)
            assert stop_notice.came() is None
            stop_notice.hear_again()
            give(signal.SIGHUP)
            assert stop_notice.came() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_notice_that_comes_twice_at_once_is_one() -> None:
    """As from `timeout`, and from a terminal whose shell and kernel both tell of its end."""
    with listening(), put_off():
        for _ in range(3):
            give(signal.SIGHUP)
        assert stop_notice.came() == "SIGHUP"


def test_a_second_notice_ends_at_once() -> None:
    program = """
import os, signal, time
from preprocessing.processes import stop_notice
stop_notice._SAME_NOTICE_S = 0.05
with stop_notice.listening(), stop_notice.put_off():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    print(stop_notice.came(), flush=True)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(10)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (-signal.SIGUSR1, "SIGTERM\n")


def test_a_notice_that_waits_for_too_long_is_raised() -> None:
    told: list[str] = []
    with listening(), put_off(tell=told.append, grace_s=0.1):
        give(signal.SIGTERM)
        with pytest.raises(Stopped):
            time.sleep(5)
    assert told == ["SIGTERM"]
    # In a block that is not to be left, it waits nevertheless.
    with listening(), put_off(grace_s=0.05):
        with put_off():
            give(signal.SIGTERM)
            time.sleep(0.2)
        assert stop_notice.came() == "SIGTERM"


def dropped(action: Callable[[], None]) -> None:
    """Do something where Python drops what it raises."""

    class Finalised:
        def __del__(self) -> None:
            action()

    Finalised()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_that_python_drops_is_raised_later(
    hears_ctrl_c: None, store: Store, split_url: str, tmp_path: Path
) -> None:
    def on_epoch(metrics: EpochMetrics) -> None:
        dropped(lambda: give(signal.SIGINT))

    config = run_config(store, split_url, tmp_path / "run")
    with listening(), pytest.raises(KeyboardInterrupt):
        train(config, on_epoch=on_epoch, reporter=lambda _: None)
    record = open_run(config.out)[2]
    assert (record.status, record.error, record.num_epochs) == (
        "failed",
        "interrupted by Ctrl-C",
        1,
    )


def test_ctrl_c_pressed_again_does_not_wait(hears_ctrl_c: None) -> None:
    with listening():
        with put_off(interrupts=True):
            give(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                give(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            stop_notice.check()


def test_ctrl_c_before_a_command_begins_is_one_line(
    hears_ctrl_c: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "command_line", lambda: give(signal.SIGINT))
    ended = attempt("train", "--config", "run.yaml")
    assert (ended.status, ended.error.count("\n")) == (130, 1)
    assert ended.error.startswith("interrupted: nothing finished is lost")


def test_without_a_notice_nothing_is_raised() -> None:
    with listening(), put_off():
        stop_notice.check()
    assert stop_notice.came() is None


def test_workers_on_a_cpu_learn_of_a_flag_at_its_own_step() -> None:
    flag = SharedFlag(torch.device("cpu"))
    assert [flag.look(torch.tensor(v)) for v in (0.0, 1.0, 0.0, 2.0)] == [False, True, False, True]
