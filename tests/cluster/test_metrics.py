"""Our numbers, read where Prometheus reads them: at the node's metrics endpoint."""

import gc
import math
import re
import threading
import time
import urllib.request

import pytest
import ray

import cluster.metrics
from cluster.metrics import TRIAL_STATUSES, SweepMetrics, TrialMetrics
from radiotrain.runs.epoch_metrics import EpochMetrics

pytestmark = pytest.mark.filterwarnings("ignore")

MAX_SECONDS = 60


def epoch_metrics(**changes):
    values = {
        "epoch": 2,
        "num_epochs": 5,
        "train_loss": 0.6,
        "validation_loss": 0.7,
        "validation_auc": 0.75,
        "validation_auc_per_target": {"ER": 0.75},
        "lr": 1e-3,
        "is_best": True,
        "samples_per_s": 12.5,
        "seconds": 3.0,
    }
    return EpochMetrics(**{**values, **changes})


def scrape():
    """Every one of our values at the node's endpoint, by name and tags."""
    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    found = {}
    for name, labels, value in re.findall(
        r"^ray_(radiotrain_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE
    ):
        tags = dict(re.findall(r'(trial|group|sweep|status)="([^"]*)"', labels))
        found[name, *sorted(tags.items())] = float(value)
    return found


def wait_until(condition):
    begun = time.monotonic()
    while not condition(found := scrape()):
        assert time.monotonic() - begun < MAX_SECONDS, sorted(found)
        time.sleep(0.5)
    return found


def of_trial(name, trial, group="ER"):
    return f"radiotrain_{name}", ("group", group), ("trial", trial)


def of_sweep(status):
    return "radiotrain_trials", ("status", status), ("sweep", "a sweep")


@pytest.fixture
def endpoint(ray_here):
    wait_until(lambda found: True)


def test_numbers_last_as_long_as_the_trial_and_no_longer(endpoint):
    # Long epochs tell their numbers once; Ray alone would forget them after 20 s.
    going, ended, forgotten, sweep = (
        TrialMetrics("going", "ER"),
        TrialMetrics("ended", "ER"),
        TrialMetrics("forgotten", "ER"),
        SweepMetrics("a sweep"),
    )
    sweep.update({"running": 1, "failed": 7})
    sweep.update({"running": 2, "waiting": 3})
    going.epoch(epoch_metrics(peak_memory_bytes=4_000))
    for trial in (ended, forgotten):
        trial.epoch(epoch_metrics(validation_auc=math.nan))
    ended.close()
    ended.close()
    ended.epoch(epoch_metrics(epoch=4))
    del forgotten, trial
    gc.collect()

    names = ("going", "ended", "forgotten")
    found = wait_until(lambda found: all(of_trial("epoch", name) in found for name in names))
    assert found[of_trial("epoch", "going")] == 3
    assert found[of_trial("samples_per_second", "going")] == 12.5
    assert found[of_trial("validation_auc", "going")] == 0.75
    assert found[of_trial("peak_memory_bytes", "going")] == 4_000
    assert found[of_trial("epoch", "ended")] == 3
    assert of_trial("validation_auc", "ended") not in found
    assert of_trial("peak_memory_bytes", "ended") not in found
    expected = {**dict.fromkeys(TRIAL_STATUSES, 0), "running": 2, "waiting": 3}
    assert {status: found[of_sweep(status)] for status in expected} == expected

    found = wait_until(lambda found: not any(of_trial("epoch", n) in found for n in names[1:]))
    assert found[of_trial("epoch", "going")] == 3
    assert found[of_sweep("waiting")] == 3
    going.close()
    sweep.close()


def test_an_actor_shows_its_trial(endpoint):
    @ray.remote(num_cpus=0.1)
    class Trial:
        def __init__(self):
            self.metrics = TrialMetrics("in an actor", "PR")

        def epoch(self):
            self.metrics.epoch(epoch_metrics())

    trial = Trial.remote()
    ray.get(trial.epoch.remote())
    wait_until(lambda found: of_trial("validation_auc", "in an actor", "PR") in found)
    ray.kill(trial)


def test_an_undefined_auc_takes_the_place_of_a_defined_one(monkeypatch):
    told = {}

    class Gauge:
        def __init__(self, name, description, tag_keys):
            self.name = name

        def set(self, value, tags):
            told[self.name] = value

    monkeypatch.setattr(cluster.metrics, "Gauge", Gauge)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    trial = TrialMetrics("a", "ER")
    trial.epoch(epoch_metrics())
    told.clear()
    trial.epoch(epoch_metrics(validation_auc=math.nan))
    assert told == {"radiotrain_samples_per_second": 12.5, "radiotrain_epoch": 3.0}
    trial.close()


@pytest.mark.parametrize("is_initialized", [True, False])
def test_nothing_of_rays_breaks_a_training(monkeypatch, is_initialized):
    def refuse(*args, **options):
        raise RuntimeError("no metrics today")

    monkeypatch.setattr(cluster.metrics, "Gauge", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: is_initialized)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    trial, sweep = TrialMetrics("a", "ER"), SweepMetrics("a sweep")
    trial.epoch(epoch_metrics())
    sweep.update({"running": 1})
    trial.close()
    sweep.close()
