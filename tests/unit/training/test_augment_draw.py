from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.common.errors import InputError
from radiotrain.config.run_config import AugmentConfig
from radiotrain.data.augmentation import Draw, draw

EVERYTHING = AugmentConfig(tilt_degrees=10)


def equal(a: Draw, b: Draw) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def test_draw_replays_and_depends_on_seed_epoch_and_step():
    when = {"seed": 1, "epoch": 2, "step": 3}
    first = draw(EVERYTHING, 6, **when)
    assert equal(first, draw(EVERYTHING, 6, **when))
    for other in ({"seed": 2}, {"epoch": 1}, {"step": 4}):
        assert not equal(first, draw(EVERYTHING, 6, **(when | other)))


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_workers_shares_are_the_whole_draw_in_turn(world_size):
    whole = draw(EVERYTHING, 6, seed=1, epoch=0, step=0)
    for rank in range(world_size):
        share = whole.share(rank, world_size)
        assert len(share) == 6 // world_size
        for n in range(len(share)):
            row = rank + n * world_size
            assert equal(share.rows(n, n + 1), whole.rows(row, row + 1))


def test_rows_are_a_contiguous_part():
    whole = draw(EVERYTHING, 6, seed=1, epoch=0, step=0)
    part = whole.rows(2, 5)
    assert len(part) == 3
    assert torch.equal(part.flip, whole.flip[2:5])
    assert torch.equal(part.noise_seed, whole.noise_seed[2:5])
    assert len(whole.rows(4, 9)) == 2


@pytest.mark.parametrize("num_patients", [0, 1, 5])
def test_recorded_draw_is_the_same_bits(num_patients):
    drawn = draw(EVERYTHING, num_patients, seed=1, epoch=0, step=0)
    again = Draw.from_json(json.loads(json.dumps(drawn.to_json())))
    assert equal(drawn, again)
    assert [v.dtype for v in vars(again).values()] == [v.dtype for v in vars(drawn).values()]


def test_draw_recorded_by_another_version_is_refused():
    values = draw(EVERYTHING, 2, seed=1, epoch=0, step=0).to_json()
    del values["gamma"]
    with pytest.raises(InputError, match="replay it with the version that recorded it"):
        Draw.from_json(values)


@pytest.mark.parametrize(
    "changed",
    [
        {"rotate_degrees": 90},
        {"tilt_degrees": 5},
        {"zoom": 0},
        {"enhancement": 0},
        {"noise": 0},
        {"flip": 0},
    ],
)
def test_a_setting_changes_its_own_draws_only(changed):
    fields = {"rotate_degrees": "angle", "tilt_degrees": "tilt"}
    (name,) = changed
    before = draw(AugmentConfig(), 8, seed=1, epoch=0, step=0).to_json()
    after = draw(AugmentConfig(**changed), 8, seed=1, epoch=0, step=0).to_json()
    assert {key for key in before if before[key] != after[key]} == {fields.get(name, name)}


@settings(max_examples=50, deadline=None)
@given(
    config=st.builds(
        AugmentConfig,
        flip=st.sampled_from([0, 0.5, 1]),
        rotate_degrees=st.floats(0, 180),
        tilt_degrees=st.floats(0, 45),
        zoom=st.floats(0, 0.9),
        shift_mm=st.floats(0, 50),
        intensity_gain=st.floats(0, 0.9),
        intensity_shift=st.floats(0, 3),
        gamma=st.floats(0, 0.9),
        enhancement=st.floats(0, 0.9),
        noise=st.floats(0, 3),
    ),
    seed=st.integers(0, 2**32),
)
def test_draws_are_within_their_settings(config, seed):
    drawn = draw(config, 16, seed=seed, epoch=0, step=0)

    def within(values: torch.Tensor, largest: float) -> bool:
        return bool((values.double().abs() <= largest * (1 + 1e-6) + 1e-6).all())

    assert set(drawn.flip.flatten().tolist()) <= {-1.0, 1.0}
    assert config.flip != 0 or bool((drawn.flip == 1).all())
    assert config.flip != 1 or bool((drawn.flip == -1).all())
    assert within(drawn.angle, math.radians(config.rotate_degrees))
    assert within(drawn.tilt, math.radians(config.tilt_degrees))
    assert within(drawn.zoom - 1, config.zoom)
    assert within(drawn.shift_mm, config.shift_mm)
    assert within(drawn.enhancement - 1, config.enhancement)
    assert within(drawn.gamma.log(), math.log1p(config.gamma))
    assert within(drawn.gain - 1, config.intensity_gain)
    assert within(drawn.brightness, config.intensity_shift)
    assert within(drawn.noise, config.noise)
    for positive in (drawn.zoom, drawn.enhancement, drawn.gamma, drawn.gain):
        assert bool((positive > 0).all())
    assert bool((drawn.noise >= 0).all())


def test_draws_fill_their_ranges_evenly_either_way():
    drawn = draw(AugmentConfig(tilt_degrees=10), 4000, seed=0, epoch=0, step=0)
    for values, largest in (
        (drawn.angle, math.radians(15)),
        (drawn.tilt[:, 0], math.radians(10)),
        (drawn.shift_mm[:, 2], 5.0),
        (drawn.zoom - 1, 0.1),
        (drawn.gamma.log(), math.log(1.1)),
        (drawn.enhancement[:, 1] - 1, 0.1),
    ):
        quarters = torch.histc(values / largest, 4, -1, 1) / 4000
        # A share of 4000 has a standard deviation of 0.007.
        assert torch.allclose(quarters, torch.full((4,), 0.25), atol=0.03)
    assert torch.allclose((drawn.flip == -1).float().mean(0), torch.tensor(0.5), atol=0.03)
