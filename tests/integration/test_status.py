"""``radiotrain status`` and ``board``, as a user meets them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.folder import SweepFolder
from radiotrain.cli import main
from radiotrain.cli.board import copy_events
from radiotrain.config.run_config import parse_config
from radiotrain.runs.epoch_metrics import history_digest
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from tests.unit.training.synthetic import write_store

WAIT_S = 90


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two trials of ER, one of them trained to its end."""
    folder = tmp_path_factory.mktemp("status")
    store = write_store(str(folder / "store"))
    save_split(make_split(store, seed=3, num_folds=4), str(folder / "splits.json"))
    values = {
        "store": store.url,
        "split": str(folder / "splits.json"),
        "out": str(folder / "sweep"),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "search": {"train.lr": {"grid": [3e-3, 1e-9]}},
        "train": {"epochs": 2, "batch_size": 8, "warmup_epochs": 1},
        "halving": {"grace_epochs": 1, "reduction_factor": 2},
        "device": "cpu",
    }
    sweep = parse_config(SweepConfig, values, "test")
    SweepFolder(sweep.out).write_sweep(sweep)
    first, second = plan_trials(sweep)
    train(second.run, until_epoch=1, reporter=lambda _: None)
    train(first.run, reporter=lambda _: None)
    return sweep


def call(capsys, *words):
    """Run a command in this process; return its exit status and what it said."""
    capsys.readouterr()
    before, sys.argv = sys.argv, ["radiotrain", *map(str, words)]
    try:
        main()
        status = 0
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return status, said.out, said.err


# A shell's background processes ignore Ctrl-C, and so would what they start.
HEEDING_CTRL_C = """
import signal, sys
from radiotrain.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@pytest.fixture
def start():
    """Return a function that starts a command as a process, which ends with the test."""
    with ExitStack() as stack:

        def start(*words, **options):
            command = [sys.executable, "-c", HEEDING_CTRL_C, *map(str, words)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = stack.enter_context(subprocess.Popen(command, **(pipes | options)))
            stack.callback(process.kill)
            return process

        yield start


def test_leaderboard_savings_and_reasons_are_shown(sweep, capsys):
    status, out, _ = call(capsys, "status", sweep.out)
    assert status == 0
    assert "2 trials: 1 finished, 1 stopped" in out
    assert "epochs: 3 trained; " in out
    assert "all trials to their ends would be 4: 1 saved, 0.3 for each one trained" in out
    assert re.search(r"device-hours: \S+ on cpu", out)
    assert re.search(r"1 +ER_ResNet10-narrow_000 .*train.lr=0.003 +finished +2/2", out)
    assert re.search(r"ER_ResNet10-narrow_001: \S+ after 1 epochs is number 2 of 2", out)


def test_json_has_the_documented_keys(sweep, capsys):
    status, out, _ = call(capsys, "status", sweep.out, "--json")
    values = json.loads(out)
    assert status == 0
    _, help_text, _ = call(capsys, "status", "--help")
    documented = set(re.findall(r"\w+", help_text))
    assert set(values) <= documented
    assert set(values["trials"][0]) <= documented
    assert values["epochs_trained"] == 3
    assert values["trials"][0]["settings"] == {"train.lr": 3e-3}


def test_html_is_written_beside(sweep, capsys, tmp_path):
    status, _, error = call(capsys, "status", sweep.out, "--html", tmp_path / "page.html")
    assert (status, error) == (0, f"report: {tmp_path}/page.html\n")
    assert "ER_ResNet10-narrow_001" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("command", ["status", "board"])
def test_no_sweep_is_one_sentence_and_status_2(command, capsys, tmp_path):
    status, out, error = call(capsys, command, tmp_path)
    assert (status, out) == (2, "")
    assert error == f"error: no sweep at {tmp_path}: make one with 'radiotrain tune'\n"
    (tmp_path / "sweep.txt").write_text("its configuration")
    status, _, error = call(capsys, command, tmp_path / "sweep.txt")
    assert (status, error.count("\n")) == (2, 1)
    assert "is a file, expected the sweep's folder" in error


def test_a_sweep_not_begun_says_so(sweep, capsys, tmp_path):
    SweepFolder(str(tmp_path)).write_sweep(sweep)
    status, out, _ = call(capsys, "status", tmp_path)
    assert status == 0
    assert "2 trials: 2 not begun" in out
    assert "not begun: no trial trained an epoch" in out


def running(sweep, folder):
    """A sweep of which one trial runs, or ran when its machine was lost."""
    sweep = sweep.model_copy(update={"out": str(folder)})
    SweepFolder(sweep.out).write_sweep(sweep)
    source, plan = RunFolder(plan_trials(sweep)[0].run.out), plan_trials(sweep)[0]
    done = RunFolder(str(Path(sweep.store).parent / "sweep" / plan.name))
    source.write_metrics(done.read_metrics()[:1])
    begun = replace(
        done.read_record(),
        status="running",
        num_epochs=1,
        metrics_digest=history_digest(done.read_metrics()[:1]),
    )
    source.write_record(begun)
    other = plan_trials(sweep)[1].name
    for name in ("run.json", "metrics.jsonl"):
        content = (Path(sweep.store).parent / "sweep" / other / name).read_bytes()
        (folder / other).mkdir(exist_ok=True)
        (folder / other / name).write_bytes(content)
    return sweep, plan, done


def test_a_killed_sweep_is_told(sweep, capsys, tmp_path):
    _, plan, _ = running(sweep, tmp_path)
    assert "last sign of life" in call(capsys, "status", tmp_path)[1]
    assert "time to go: about" in call(capsys, "status", tmp_path)[1]
    for path in Path(tmp_path / plan.name).iterdir():
        os.utime(path, (time.time() - 1320, time.time() - 1320))
    out = call(capsys, "status", tmp_path)[1]
    assert f"{plan.name}: no sign of life for 22 min: its sweep may have been killed;" in out
    assert "nothing is training; 'radiotrain tune' goes on" in out


def test_what_vanishes_while_it_is_read_is_no_crash(sweep, capsys, tmp_path, monkeypatch):
    _, plan, _ = running(sweep, tmp_path)
    # Listed, and gone before it was looked at; and a line that is being written.
    monkeypatch.setattr("preprocessing.storage.files.list_names", lambda url: ["epoch-0007.pt"])
    with (tmp_path / plan.name / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "num_ep')
    status, out, _ = call(capsys, "status", tmp_path)
    assert status == 0
    assert "1/2" in out


def test_watch_speaks_when_something_changed_and_ends_with_the_sweep(sweep, start, tmp_path):
    _, plan, done = running(sweep, tmp_path)
    process = start("status", tmp_path, "--watch", "--interval", "0.2", text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    _wait_for(lambda: any("time to go" in line for line in lines))
    time.sleep(1)
    assert sum("trials:" in line for line in lines) == 1
    source = RunFolder(plan.run.out)
    source.write_metrics(done.read_metrics())
    source.write_record(done.read_record())
    assert process.wait(WAIT_S) == 0
    reader.join()
    assert any("the sweep has ended" in line for line in lines)


def test_watch_on_a_terminal_is_ended_quietly_by_ctrl_c(sweep, start, tmp_path):
    running(sweep, tmp_path)
    leader, follower = pty.openpty()
    process = start("status", tmp_path, "--watch", "--interval", "0.2", stdout=follower)
    os.close(follower)
    seen = b""
    while b"time to go" not in seen:
        seen += os.read(leader, 4096)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            if not os.read(leader, 4096):
                break
        except OSError:  # the terminal's other end is closed
            break
    _, error = process.communicate(timeout=WAIT_S)
    os.close(leader)
    assert (process.returncode, error) == (130, b"")


@pytest.mark.slow
def test_board_shows_all_trials_until_ctrl_c(sweep, start):
    process = start("board", sweep.out, "--port", 0, text=True)
    address, port = re.search(r"(http://localhost:(\d+)/)", process.stdout.readline()).groups()
    names = [f"{plan.name}/tensorboard" for plan in plan_trials(sweep)]
    _wait_for(lambda: sorted(json.loads(_get(f"{address}data/runs"))) == names)
    experiment = json.loads(_get(f"{address}data/plugin/hparams/experiment?request={{}}"))
    columns = {column["name"] for column in experiment["hparamInfos"]}
    assert {"network.name", "train.lr", "targets"} <= columns
    second = start("board", sweep.out, "--port", port, text=True)
    _, error = second.communicate(timeout=WAIT_S)
    assert second.returncode == 2
    assert error == (
        f"error: TensorBoard cannot answer at localhost:{port} (TensorBoard could not bind to port"
        f" {port}, it was already in use): name another --port or --host\n"
    )
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert error == ""


def test_board_without_events_says_so(sweep, capsys, tmp_path):
    logging = sweep.logging.model_copy(update={"tensorboard": False})
    SweepFolder(str(tmp_path)).write_sweep(sweep.model_copy(update={"logging": logging}))
    status, _, error = call(capsys, "board", tmp_path)
    assert status == 2
    assert "writes no TensorBoard events" in error


def test_a_copy_of_the_events_grows_in_place(tmp_path):
    source, copy = tmp_path / "there" / "T" / "tensorboard" / "events", tmp_path / "here"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"one")
    (tmp_path / "there" / "T" / "run.json").write_text("{}")
    copy_events(str(tmp_path / "there"), copy)
    with (copy / "T" / "tensorboard" / "events").open("rb") as reader:
        assert reader.read() == b"one"
        source.write_bytes(b"one two")
        copy_events(str(tmp_path / "there"), copy)
        assert reader.read() == b" two"
    assert [p.name for p in copy.rglob("*") if p.is_file()] == ["events"]


def _get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def _wait_for(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
