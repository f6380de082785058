from __future__ import annotations

import json
import math
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from radiotrain.config.run_config import LoggingConfig
from radiotrain.networks.registry import build_network
from radiotrain.runs.epoch_metrics import EpochMetrics, append_metrics, human_time, read_metrics
from radiotrain.tracking import RunLog, check_show
from radiotrain.tracking.energy import EnergyMeter
from radiotrain.tracking.pictures import input_gradient, middle_slice, roc_picture, saliency_picture
from radiotrain.tracking.progress import StepProgress
from radiotrain.tracking.tensorboard import EventFile

TARGETS = ("ER", "PR")
LABELS = np.array([[0, 1], [1, 1], [1, -1], [0, 1]], dtype=np.int8)
LOGITS = np.array([[-1, 0], [2, 1], [0.5, 0], [0.7, 0]], dtype=np.float32)
PARAMETERS = {"targets": ["ER", "PR"], "train.lr": 1e-3, "train.gradient_clip": None, "seed": 0}


def measured(epoch: int, **changes: Any) -> EpochMetrics:
    metrics = EpochMetrics(
        epoch=epoch,
        num_epochs=60,
        train_loss=0.7 - epoch / 10,
        validation_loss=0.8,
        validation_auc=0.75,
        validation_auc_per_target={"ER": 0.75, "PR": math.nan},
        lr=3e-4,
        is_best=True,
        samples_per_s=12.34,
        seconds=10.0,
        peak_memory_bytes=11_200_000_000,
        energy_joules=350.0,
    )
    return replace(metrics, **changes)


@contextmanager
def opened(url: str, first_epoch: int = 0, **show: Any) -> Iterator[RunLog]:
    log = RunLog(url, "a-run", LoggingConfig(**show), first_epoch, PARAMETERS)
    try:
        yield log
    finally:
        log.close()


def tell(log: RunLog, epoch: int, **changes: Any) -> None:
    log.epoch(measured(epoch, **changes), LABELS, LOGITS, TARGETS)


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def test_epoch_is_read_back_from_tensorboard(tmp_path: Path) -> None:
    with opened(str(tmp_path)) as log:
        tell(log, 0)
        tell(log, 1)
    read = events(tmp_path)
    assert set(read.Tags()["scalars"]) == {
        "loss/train", "loss/validation", "lr", "speed/patients_per_s", "memory/peak_gb",
        "energy/joules", "validation_auc/mean", "validation_auc/ER",
    }  # fmt: skip
    assert [e.value for e in read.Scalars("loss/train")] == pytest.approx([0.7, 0.6])
    assert read.Scalars("memory/peak_gb")[0].value == pytest.approx(11.2)
    assert [e.step for e in read.Images("roc/ER")] == [0, 1]
    assert read.Images("roc/PR")[0].encoded_image_string.startswith(b"\x89PNG")


# TensorBoard reads files by name: the tenth of a count sorts before the ninth, a clock may be behind.
@pytest.mark.parametrize("seconds_later", [-3600.5, 0.0, 3600.5])
def test_resumed_run_shows_each_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds_later: float
) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    with opened(str(tmp_path)) as log:
        for epoch in range(3):
            tell(log, epoch, lr=1.0)
    monkeypatch.setattr(time, "time", lambda: now + seconds_later)
    for _ in range(2):
        with opened(f"file://{tmp_path}", first_epoch=2) as log:
            tell(log, 2, lr=2.0)
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("lr")] == [(0, 1), (1, 1), (2, 2)]


def test_resumed_run_comes_last_in_an_object_store_too(monkeypatch: pytest.MonkeyPatch) -> None:
    url, seconds = "memory://runs/resumed", [1e9, 1e9 - 60]
    for first_epoch, second in enumerate(seconds):
        monkeypatch.setattr(time, "time", lambda second=second: second)
        with opened(url, first_epoch=first_epoch) as log:
            tell(log, first_epoch)
    names = files.list_names(f"{url}/tensorboard")
    assert [int(name.split(".")[3]) for name in names] == [10**9, 10**9 + 1]


def test_after_a_failure_a_file_begins_that_is_read_after_the_broken_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, add, fails = "memory://runs/broken", EventFile.add_summary, [True]

    def add_or_fail(self: EventFile, summary: Any, step: int) -> None:
        if step == 0 and fails:
            fails.clear()
            self._records._writer.write(b"half an event")
            raise OSError("no room")
        add(self, summary, step)

    monkeypatch.setattr(EventFile, "add_summary", add_or_fail)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    with opened(url) as log:
        with pytest.warns(UserWarning, match="no room"):
            tell(log, 0)
        tell(log, 1)
    names = files.list_names(f"{url}/tensorboard")
    assert [int(name.split(".")[3]) for name in names] == [10**9, 10**9 + 1]


def test_events_for_an_object_store_arrive_after_each_epoch() -> None:
    url = "memory://runs/seen"
    with opened(url) as log:
        tell(log, 0)
        (path,) = fsspec.filesystem("memory").ls("/runs/seen/tensorboard", detail=False)
        first = fsspec.filesystem("memory").cat_file(path)
        tell(log, 1)
        assert len(fsspec.filesystem("memory").cat_file(path)) > len(first) > 0


def test_configuration_and_best_auc_are_one_row_of_the_same_run(tmp_path: Path) -> None:
    with opened(str(tmp_path)) as log:
        tell(log, 0)
        log.finish(measured(0), energy_joules=2100.0)
    read = events(tmp_path)
    assert read.Scalars("run/best_validation_auc")[0].value == 0.75
    assert read.Scalars("run/energy_joules")[0].value == 2100.0
    content = read.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["targets"].string_value == "ER, PR"
    assert values["train.lr"].number_value == 1e-3
    assert "train.gradient_clip" not in values
    content = read.summary_metadata["_hparams_/experiment"].plugin_data.content
    columns = HParamsPluginData.FromString(content).experiment
    assert "train.gradient_clip" in [column.name for column in columns.hparam_infos]
    assert columns.metric_infos[0].name.tag == "run/best_validation_auc"
    assert "_hparams_/session_end_info" in read.summary_metadata
    assert [p.is_file() for p in (tmp_path / "tensorboard").iterdir()] == [True]


def test_nothing_is_written_where_nothing_is_to_be_shown(tmp_path: Path) -> None:
    with opened(str(tmp_path), tensorboard=False) as log:
        tell(log, 0)
        assert not log.wants_images(0)
    assert not list(tmp_path.iterdir())


def test_images_are_wanted_after_the_first_epoch_and_every_so_many(tmp_path: Path) -> None:
    with opened(str(tmp_path), image_epochs=4) as log:
        assert [e for e in range(12) if log.wants_images(e)] == [0, 3, 7, 11]
    with opened(str(tmp_path), image_epochs=0) as log:
        assert not any(log.wants_images(e) for e in range(12))


def test_inputs_and_saliency_are_one_picture(tmp_path: Path) -> None:
    with opened(str(tmp_path)) as log:
        log.images(0, ["P1", "P2"], torch.rand(2, 4, 20, 24, 8), torch.rand(2, 20, 24, 8))
    (image,) = events(tmp_path).Images("inputs/saliency")
    assert image.width > image.height


def test_tracker_that_fails_is_said_once_and_tried_again(tmp_path: Path) -> None:
    blocked = tmp_path / "tensorboard"
    blocked.write_text("no folder")
    with opened(str(tmp_path)) as log:
        with pytest.warns(UserWarning, match="TensorBoard could not be written .*goes on"):
            tell(log, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tell(log, 1)
        blocked.unlink()
        tell(log, 2)
    assert [e.step for e in events(tmp_path).Scalars("lr")] == [2]


@pytest.mark.slow
def test_full_disk_does_not_end_a_run(tmp_path: Path) -> None:
    program = f"""
import resource, signal, sys, warnings
sys.path[:0] = {sys.path!r}
from tests.unit.training.test_logs import opened, tell
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with opened({str(tmp_path)!r}) as log:
    tell(log, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    tell(log, 1)
    tell(log, 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    tell(log, 3)
print("goes on")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout == "goes on\n", done.stderr
    assert done.stderr.count("TensorBoard could not be written") == 1
    steps = [e.step for e in events(tmp_path).Scalars("lr")]
    assert (steps[0], steps[-1]) == (0, 3)


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed")
def test_mlflow_that_is_not_installed_is_one_sentence(tmp_path: Path) -> None:
    said = "logging.mlflow is set but the package mlflow is not installed: pip install mlflow"
    with pytest.raises(InputError, match=said):
        check_show(LoggingConfig(mlflow="somewhere"))
    with pytest.raises(InputError, match=said):
        RunLog(str(tmp_path), "a-run", LoggingConfig(mlflow="somewhere"), 0, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([1, 1, -1], [0.1, 0.2, 0.3]), ([-1, -1], [0, 1]), ([0, 1], [math.nan, 1]), ([0, 1], [0, 1])],
)
def test_roc_curve_is_drawn_or_its_absence_explained(
    labels: list[int], scores: list[float]
) -> None:
    given = np.array(labels, dtype=np.int8), np.array(scores, dtype=np.float32)
    pixels = roc_picture("ER", 0, *given)
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3


def test_slice_in_the_middle_of_the_saliency_is_shown() -> None:
    saliency = np.zeros((4, 5, 9), dtype=np.float32)
    assert middle_slice(saliency) == 4
    saliency[1, 1, 6:9] = 1
    assert middle_slice(saliency) == 7


@pytest.mark.parametrize("num_phases", [1, 3])
def test_saliency_is_drawn_for_any_number_of_phases(num_phases: int) -> None:
    images = np.zeros((2, num_phases, 6, 8, 4), dtype=np.float32)
    assert saliency_picture(["a", "b"], images, images[:, 0]).ndim == 3


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        build_network("ResNet10-narrow", 2, 1, (12, 12, 8)), torch.nn.Dropout()
    )


def trained(looking: bool) -> dict[str, torch.Tensor]:
    network = small_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    images = torch.randn(4, 2, 12, 12, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        network.train()
        optimizer.zero_grad()
        network(images).square().sum().backward()
        if looking:
            assert input_gradient(network, images).shape == (4, 12, 12, 8)
        assert all(module.training for module in network.modules())
        optimizer.step()
    return network.state_dict()


def test_looking_at_saliency_leaves_training_as_it_was() -> None:
    seen, unseen = trained(looking=True), trained(looking=False)
    assert all(torch.equal(seen[name], unseen[name]) for name in unseen)


def test_saliency_is_where_the_network_looks() -> None:
    class Corner(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, :, :3, :3, :3].mean((1, 2, 3, 4)).unsqueeze(1)

    saliency = input_gradient(Corner(), torch.randn(2, 3, 12, 12, 10))
    assert (saliency[:, 6:] == 0).all()
    assert (saliency[:, 0, 0, 0] > 0).all()


def test_energy_is_none_on_a_cpu() -> None:
    assert EnergyMeter(torch.device("cpu")).joules() is None


def test_metrics_file_can_be_followed(tmp_path: Path) -> None:
    path, history = tmp_path / "metrics.jsonl", [measured(0)]
    append_metrics(str(path), history)
    tail = subprocess.Popen(
        ["tail", "-f", "-n", "+1", str(path)], stdout=subprocess.PIPE, text=True
    )
    assert tail.stdout is not None
    try:
        assert json.loads(tail.stdout.readline())["epoch"] == 0
        for epoch in (1, 2):
            history.append(measured(epoch))
            append_metrics(str(path), history)
            assert json.loads(tail.stdout.readline())["epoch"] == epoch
    finally:
        tail.terminate()
        tail.wait()
        tail.stdout.close()
    assert read_metrics(str(path), "train again").epochs[0].to_json() == history[0].to_json()


def test_line_cut_short_by_a_crash_is_repaired(tmp_path: Path) -> None:
    path, history = tmp_path / "metrics.jsonl", [measured(e) for e in range(3)]
    append_metrics(str(path), history)
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert [m.epoch for m in read_metrics(str(path), "train again").epochs] == [0, 1]
    append_metrics(str(path), history)
    assert path.read_bytes() == whole
    append_metrics(str(path), history[:2])
    assert [m.epoch for m in read_metrics(str(path), "train again").epochs] == [0, 1]


def test_metrics_on_an_object_store_are_whole() -> None:
    url = "memory://runs/metrics.jsonl"
    assert read_metrics(url, "train again").epochs == ()
    for count in (1, 2):
        append_metrics(url, [measured(e) for e in range(count)])
        assert [m.epoch for m in read_metrics(url, "train again").epochs] == list(range(count))


def test_older_metrics_are_read() -> None:
    values = measured(0).to_json()
    del values["peak_memory_bytes"], values["energy_joules"]
    read = EpochMetrics.from_json(values, "metrics.jsonl", "train again")
    assert (read.peak_memory_bytes, read.energy_joules) == (None, None)


def test_epoch_is_described_in_one_line() -> None:
    assert measured(2).describe() == (
        "epoch 3/60: loss 0.5000, validation loss 0.8000, validation AUC ER 0.750, PR nan (kept),"
        " lr 3.00e-04, 12.3 patients/s, 11.2 GB, 10 min to go at most"
    )
    last = measured(59, peak_memory_bytes=None, is_best=False).describe()
    assert last.endswith("12.3 patients/s")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (3590, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert human_time(seconds) == said


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_line_every_ten_seconds_says_where_an_epoch_is() -> None:
    lines: list[str] = []
    clock = Clock()
    heartbeat = StepProgress(lines.append, is_terminal=False, clock=clock)
    for epoch in range(2):
        for done in range(1, 13):
            clock.now += 2.0
            heartbeat.step(epoch, 60, done, 12, 0.6123 if epoch == 0 else None, 16 * done)
    assert lines == [
        "epoch 1/60: step 5/12, loss 0.612, 8.0 patients/s, 14 s to the epoch's end",
        "epoch 1/60: step 10/12, loss 0.612, 8.0 patients/s, 4 s to the epoch's end",
        "epoch 2/60: step 3/12, 8.0 patients/s, 18 s to the epoch's end",
        "epoch 2/60: step 8/12, 8.0 patients/s, 8 s to the epoch's end",
    ]


def test_terminal_gets_a_bar_and_lines_stay_above_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    lines: list[str] = []
    with StepProgress(lines.append, is_terminal=True) as heartbeat:
        for done in (1, 2):
            heartbeat.step(0, 60, done, 4, 0.5, 16 * done)
            time.sleep(0.15)
            print("a line of the program", file=sys.stderr)
    said = capsys.readouterr().err
    assert lines == []
    assert "epoch 1/60" in said
    assert "a line of the program" in said
    assert "2/4" in said
