from __future__ import annotations

import json

import pytest
import torch

from preprocessing.common.errors import InputError
from radiotrain.config.run_config import AugmentConfig
from radiotrain.data.augmentation import Draw, apply, draw

DEFAULT = AugmentConfig()
TILTED = AugmentConfig(tilt_degrees=10)
NOTHING = AugmentConfig(
    flip=0,
    rotate_degrees=0,
    zoom=0,
    shift_mm=0,
    intensity_gain=0,
    intensity_shift=0,
    gamma=0,
    enhancement=0,
    noise=0,
)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 3, 12, 10, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def spacing_mm() -> torch.Tensor:
    return torch.tensor([[0.7, 0.7, 1.5], [0.6, 0.8, 1.0], [1.0, 1.0, 1.0]]).repeat(2, 1)


def some(config: AugmentConfig) -> Draw:
    return draw(config, 6, seed=1, epoch=2, step=3)


@pytest.mark.parametrize("config", [DEFAULT, TILTED], ids=["default", "tilted"])
def test_batched_equals_one_by_one(images, spacing_mm, config):
    whole = apply(images, some(config), spacing_mm)
    for n in range(6):
        rows = slice(n, n + 1)
        alone = apply(images[rows], some(config).rows(n, n + 1), spacing_mm[rows])
        assert torch.allclose(alone, whole[rows], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("world_size", [2, 3])
def test_workers_shares_equal_the_whole_batch(images, spacing_mm, world_size):
    whole = apply(images, some(TILTED), spacing_mm)
    for rank in range(world_size):
        part = slice(rank, None, world_size)
        share = apply(images[part], some(TILTED).share(rank, world_size), spacing_mm[part])
        assert torch.allclose(share, whole[part], rtol=1e-6, atol=1e-6)


def test_a_recorded_draw_replays_to_the_same_bits(images, spacing_mm):
    recorded = json.dumps(some(TILTED).to_json())
    again = apply(images, Draw.from_json(json.loads(recorded)), spacing_mm)
    assert torch.equal(again, apply(images, some(TILTED), spacing_mm))


def test_every_setting_has_an_effect(images, spacing_mm):
    for name in NOTHING.model_fields_set:
        config = NOTHING.model_copy(update={name: getattr(DEFAULT, name)})
        assert not torch.allclose(apply(images, some(config), spacing_mm), images), name
    tilted = NOTHING.model_copy(update={"tilt_degrees": 5.0})
    assert not torch.allclose(apply(images, some(tilted), spacing_mm), images)


def test_nothing_drawn_changes_no_bit(images, spacing_mm):
    assert torch.equal(apply(images, some(NOTHING), spacing_mm), images)


def test_input_is_left_as_it_was(images, spacing_mm):
    before = images.clone()
    apply(images, some(TILTED), spacing_mm)
    assert torch.equal(images, before)


def test_memory_format_does_not_matter(images, spacing_mm):
    other = images.to(memory_format=torch.channels_last_3d)
    assert torch.equal(
        apply(other, some(DEFAULT), spacing_mm), apply(images, some(DEFAULT), spacing_mm)
    )


def test_one_patients_bad_voxels_stay_with_that_patient(images, spacing_mm):
    bad = images.clone()
    bad[2, 1, 6, 5, 3] = torch.nan
    changed, good = (apply(values, some(DEFAULT), spacing_mm) for values in (bad, images))
    others = [0, 1, 3, 4, 5]
    assert torch.equal(changed[others], good[others])
    assert not changed[2].isfinite().all()


def test_crops_as_small_as_one_voxel_work():
    drawn = draw(TILTED, 2, seed=0, epoch=0, step=0)
    for shape in ((1, 1, 1), (4, 5, 1), (1, 5, 4)):
        image = torch.zeros(2, 1, *shape)
        assert apply(image, drawn, torch.ones(2, 3)).isfinite().all()


def test_a_draw_for_other_patients_is_refused(images, spacing_mm):
    with pytest.raises(InputError, match="6 patients' images, 5 draws and 6 spacings"):
        apply(images, some(DEFAULT).rows(0, 5), spacing_mm)
