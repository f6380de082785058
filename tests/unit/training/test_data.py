from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.common.errors import InputError
from preprocessing.store import REGION_PADDING, Store
from radiotrain.data.patients import load_patients, part_ids
from radiotrain.data.sampler import (
    balanced_order,
    check_batches,
    epoch_order,
    expected_draws,
    global_batches,
    micro_batches,
    rank_share,
)
from radiotrain.data.storage import normalisation
from radiotrain.split.split import Split


@given(st.integers(2, 300), st.integers(2, 40), st.integers(0, 5), st.integers(0, 5))
def test_every_patient_is_in_one_batch_under_any_number_of_workers(
    num_patients: int, batch_size: int, seed: int, epoch: int
) -> None:
    order = epoch_order(seed, epoch, num_patients)
    batches = global_batches(order, batch_size)
    assert sorted(np.concatenate(batches)) == list(range(num_patients))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    for world_size in (1, 2, 3):
        for batch in batches:
            shares = [rank_share(batch, rank, world_size) for rank in range(world_size)]
            assert sorted(np.concatenate(shares)) == sorted(batch)


def test_order_depends_on_seed_and_epoch_only() -> None:
    assert np.array_equal(epoch_order(1, 2, 50), epoch_order(1, 2, 50))
    assert not np.array_equal(epoch_order(1, 2, 50), epoch_order(1, 3, 50))
    assert not np.array_equal(epoch_order(1, 2, 50), epoch_order(2, 2, 50))


def test_batches_too_small_for_batch_norm_are_refused() -> None:
    check_batches(24, 8, 4)
    with pytest.raises(InputError, match="use fewer workers"):
        check_batches(24, 8, 5)


@given(st.integers(4, 200), st.integers(1, 5), st.integers(2, 30))
def test_micro_batches_are_a_share_cut_evenly_as_often_on_every_worker(
    num_patients: int, world_size: int, largest: int
) -> None:
    parts = [micro_batches(num_patients, r, world_size, largest) for r in range(world_size)]
    assert len({len(p) for p in parts}) == 1
    for rank, slices in enumerate(parts):
        share = np.arange(num_patients)[rank::world_size]
        assert np.array_equal(np.concatenate([share[s] for s in slices]), share)
        sizes = [s.stop - s.start for s in slices]
        assert max(sizes) <= largest
        assert max(sizes) - min(sizes) <= 1
    assert micro_batches(num_patients, 0, world_size, None) == [
        slice(0, len(range(0, num_patients, world_size)))
    ]


def test_micro_batches_of_one_are_refused() -> None:
    check_batches(24, 8, 1, 4)
    with pytest.raises(InputError, match=r"train.micro_batch_size is 2, which leaves one patient"):
        check_batches(24, 6, 2, 2)


@given(st.lists(st.sampled_from([0, 0, 0, 1, -1]), min_size=2, max_size=80), st.integers(0, 3))
def test_balanced_order_draws_both_classes_equally_often(labels: list[int], epoch: int) -> None:
    values = np.array(labels, dtype=np.int8)
    order = balanced_order(1, epoch, values)
    assert len(order) == len(values)
    drawn = values[order]
    assert np.sum(drawn == -1) == np.sum(values == -1)
    if {0, 1} <= set(labels):
        assert abs(int(np.sum(drawn == 0)) - int(np.sum(drawn == 1))) <= 1
    for value in (0, 1):
        counts = np.bincount(order, minlength=len(values))[values == value]
        if len(counts):  # nobody twice before everybody once
            assert counts.max() - counts.min() <= 1
    assert np.array_equal(order, balanced_order(1, epoch, values))


@given(st.lists(st.sampled_from([0, 0, 0, 1, -1]), min_size=1, max_size=30))
def test_expected_draws_are_the_mean_over_epochs(labels: list[int]) -> None:
    values = np.array(labels, dtype=np.int8)
    expected = expected_draws(values)
    assert expected.sum() == pytest.approx(len(values))
    epochs = [balanced_order(0, epoch, values) for epoch in range(50)]
    counts = np.mean([np.bincount(order, minlength=len(values)) for order in epochs], axis=0)
    for value in (-1, 0, 1):
        same = values == value
        assert counts[same].sum() == pytest.approx(expected[same].sum())
        assert len(set(expected[same])) <= 1


def test_batch_is_normalised_by_the_pre_contrast_phase(store: Store, split: Split) -> None:
    ids = part_ids(split, 0, "train")
    patients = load_patients(store, split, ids, ["HER2", "ER"], rule="plain")
    rows = np.array([3, 0])
    batch = patients.batch(rows, torch.device("cpu"))
    images, labels = batch.images, batch.labels
    for image, row in zip(images.double(), rows, strict=True):
        i = store.index_of(ids[row])
        inside = torch.from_numpy(store.read_region(i) & REGION_PADDING) == 0
        assert float(image[0][inside].mean()) == pytest.approx(0, abs=1e-4)
        assert float(image[0][inside].std(correction=0)) == pytest.approx(1, abs=1e-4)
        voxels, _ = store.read_images(i)
        # One line for all phases: enhancement keeps its ratio to the pre-contrast spread.
        raw = torch.from_numpy(voxels.astype(np.float64))
        pre = raw[0][inside]
        expected = (raw - pre.mean()) / pre.std(correction=0)
        assert torch.allclose(image[:, inside], expected[:, inside], atol=1e-3)
        assert float(image[:, ~inside].abs().max()) < 1e-3
    expected_labels = [store.labels[store.index_of(ids[row])][[2, 0]] for row in rows]
    assert np.array_equal(labels.numpy(), np.array(expected_labels))


def test_flat_and_empty_images_stay_finite() -> None:
    flat = np.full((2, 2, 2), 7, dtype=np.int16)
    assert normalisation(flat, np.zeros((2, 2, 2), dtype=bool), 0.5, "plain") == (0.5, -3.5)
    everything_padded = np.ones((2, 2, 2), dtype=bool)
    assert normalisation(flat, everything_padded, 0.5, "plain") == (1.0, 0.0)


def test_unknown_target_is_named(store: Store, split: Split) -> None:
    with pytest.raises(InputError, match="did you mean 'HER2'"):
        load_patients(store, split, part_ids(split, 0, "train"), ["HER3"], rule="plain")
