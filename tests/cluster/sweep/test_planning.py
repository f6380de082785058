"""The model of a step on several workers, and what is made of it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.planning.gpus import gpu_named, seconds_a_patient
from cluster.planning.plan import make_plan
from cluster.planning.scaling import (
    Link,
    Measurement,
    Overheads,
    Work,
    choose,
    epoch_s,
    fit,
    options,
)
from preprocessing.common.errors import InputError
from radiotrain.networks.cost import network_cost

NOTHING = Overheads(sync_s=0, epoch_s=0, start_s=0, start_together_s=0)
WORK = Work(
    num_train=64, num_validation=0, batch_size=16, train_s=0.01, validate_s=0.0, gradient_bytes=1e9
)


def test_without_a_network_to_cross_and_nothing_on_top_work_is_shared_evenly() -> None:
    for workers in (1, 2, 4, 8):
        link = Link(gbits=math.inf, gbits_inside=math.inf, latency_s=0)
        assert epoch_s(WORK, workers, link, NOTHING) == pytest.approx(0.64 / workers)


def test_a_step_by_hand() -> None:
    # 4 workers, 10 Gb/s: 2 · 3/4 · 8 Gbit / 10 = 1.2 s, of which half of 0.6 · 0.04 s is hidden.
    link = Link(gbits=10, latency_s=0, overlap=0.5)
    step = 0.04 + (1.2 - 0.5 * 0.6 * 0.04) + 0.003
    found = epoch_s(WORK, 4, link, Overheads(sync_s=0.003, epoch_s=0.1))
    assert found == pytest.approx(4 * step + 0.1)


def test_within_a_host_the_link_inside_counts() -> None:
    link = Link(gbits=1, gbits_inside=1000, gpus_per_host=4)
    assert link.ring_s(4, 1e9) < 0.02
    assert link.ring_s(8, 1e9) > 1


@given(
    st.integers(1, 64),
    st.floats(1, 400),
    st.floats(1.1, 10),
    st.floats(1e-4, 1),
    st.floats(1e6, 1e9),
)
def test_more_bandwidth_never_hurts_and_no_speed_up_beats_the_workers(
    workers: int, gbits: float, more: float, train_s: float, num_bytes: float
) -> None:
    work = Work(160, 0, 128, train_s, 0.0, num_bytes)
    alone, slow, fast = (
        epoch_s(work, w, Link(g), NOTHING)
        for w, g in ((1, gbits), (workers, gbits), (workers, more * gbits))
    )
    assert fast <= slow * (1 + 1e-9)
    assert alone / fast <= workers * (1 + 1e-9)


def test_many_trials_train_side_by_side_and_one_uses_all_if_the_network_allows() -> None:
    heavy = Work(600, 150, 32, 0.5, 0.1, 2e8)
    link = Link(gbits=100)
    assert choose(options([heavy] * 8, 30, 8, link, Overheads())).workers == 1
    assert choose(options([heavy], 30, 8, link, Overheads())).workers == 8
    slow = Link(gbits=0.1)
    assert choose(options([heavy], 30, 8, slow, Overheads())).workers == 1


def test_a_share_of_a_batch_has_two_patients_at_least() -> None:
    found = options([WORK], 1, 64, Link(100), NOTHING)
    assert [option.workers for option in found] == [1, 2, 4, 8]


def test_wall_time_is_never_better_than_perfect_nor_worse_than_a_third_more() -> None:
    works = [Work(16, 0, 16, s, 0.0, 0.0) for s in (5, 4, 3, 3, 2, 2, 1)]
    for gpus in (1, 2, 4):
        found = options(works, 1, gpus, Link(1), NOTHING)[0].wall_hours * 3600
        lengths = [16 * work.train_s for work in works]
        best = min(
            max(sum(n for n, p in zip(lengths, places, strict=True) if p == k) for k in range(gpus))
            for places in itertools.product(range(gpus), repeat=len(lengths))
        )
        assert best - 1e-9 <= found <= 4 / 3 * best


def test_a_fit_finds_the_constants_that_steps_were_made_with() -> None:
    train_s, sync_s, gbits = {"small": 0.02, "large": 0.3}, 0.01, 8.0
    measured = [
        Measurement(
            name,
            workers,
            8,
            num_bytes,
            8 / workers * train_s[name] * max(1, workers / 2)
            + (workers > 1) * (sync_s + 2 * (workers - 1) / workers * 8 * num_bytes / 1e9 / gbits),
        )
        for name, num_bytes in (("small", 4e6), ("large", 1e8))
        for workers in (1, 2, 4)
    ]
    found = fit(measured, num_cores=2)
    assert found.train_s == pytest.approx(train_s)
    assert found.sync_s == pytest.approx(sync_s)
    assert found.gbits == pytest.approx(gbits)
    assert found.relative_error == pytest.approx([0] * 6, abs=1e-9)


def test_the_roof_of_a_data_sheet() -> None:
    """SEResNet50 at 4×128×128×68 on an H100: 2890 patients a second, by its memory traffic."""
    cost = network_cost("SEResNet50", 4, 1, (128, 128, 68))
    train_s, validate_s = seconds_a_patient(cost, gpu_named("h100"), efficiency=1)
    assert 1 / train_s == pytest.approx(2890, rel=0.05)
    assert validate_s < train_s
    assert seconds_a_patient(cost, gpu_named("H100"), 0.5)[0] == pytest.approx(2 * train_s)


def test_a_plan_needs_no_gpu_and_names_what_does_not_fit(make_sweep, tmp_path) -> None:
    sweep = make_sweep(tmp_path / "sweep")
    made = make_plan(sweep, 4, gpu_named("A10G"), Link(10), 0.3)
    assert [option.workers for option in made.options] == [1, 2, 4]
    assert made.choice.workers == 1
    assert any("side by side, 4 at a time" in sentence for sentence in made.sentences)
    assert not (tmp_path / "sweep").exists()
    large = make_sweep(tmp_path / "sweep", train={"epochs": 4, "batch_size": 1_000_000})
    with pytest.raises(InputError, match=r"needs \d+ GB for a batch of 1000000, A10G has 24"):
        make_plan(large, 4, gpu_named("A10G"), Link(10), 0.3)
