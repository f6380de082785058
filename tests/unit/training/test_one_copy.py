"""Copies to a GPU: one block for all small tensors of a batch, the same bits; and TF32 as configured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radiotrain.config.run_config import AugmentConfig, RunConfig, parse_config
from radiotrain.data import augmentation
from radiotrain.data.augmentation import grid_thetas, input_from_output
from radiotrain.data.to_device import copy_together, pack, unpack
from radiotrain.distributed import autocast_dtype, choose_device

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
DTYPES = (torch.float32, torch.int8, torch.int64, torch.float64, torch.int16)


@given(
    st.lists(st.tuples(st.sampled_from(DTYPES), st.integers(0, 5), st.integers(0, 3)), min_size=1)
)
def test_what_is_packed_is_unpacked_bit_for_bit(kinds: list[tuple[torch.dtype, int, int]]) -> None:
    generator = torch.Generator().manual_seed(len(kinds))
    tensors = [
        torch.randint(-100, 100, (rows, columns), generator=generator).to(dtype)
        for dtype, rows, columns in kinds
    ]
    # As shared memory gives gains: every second value of a table.
    tensors.append(torch.tensor([[0.1, float("nan")], [-0.0, 2.0]])[:, 0])
    block, spans = pack(tensors)
    for tensor, span in zip(tensors, spans, strict=True):
        found = unpack(block, span, tensor)
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert found.numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def test_on_a_cpu_nothing_is_copied() -> None:
    tensors = [torch.ones(3), torch.ones(2, dtype=torch.int8)]
    assert all(a is b for a, b in zip(copy_together(tensors, CPU), tensors, strict=True))


def _theta_of_one(
    matrix: torch.Tensor, offset: torch.Tensor, shape: tuple[int, ...]
) -> torch.Tensor:
    """As one patient's was made before a batch's were made together."""
    side = torch.tensor(shape, dtype=torch.float64)
    scaled = matrix * side / side.unsqueeze(1)
    theta = torch.cat([scaled.flip(0, 1), (2 * offset / side).flip(0).unsqueeze(1)], 1)
    return theta.to(torch.float32)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9), st.sampled_from([(9, 12, 7), (128, 128, 68)]))
def test_a_batchs_matrices_are_those_of_each_patient_to_the_bit(
    seed: int, num_patients: int, shape: tuple[int, int, int]
) -> None:
    drawn = augmentation.draw(
        AugmentConfig(tilt_degrees=20), num_patients, seed=seed, epoch=0, step=0
    )
    spacing = torch.rand(num_patients, 3, generator=torch.Generator().manual_seed(seed % 99)) + 0.5
    matrices, offsets = input_from_output(drawn, spacing)
    together = grid_thetas(matrices, offsets, shape)
    for n in range(num_patients):
        assert torch.equal(together[n], _theta_of_one(matrices[n], offsets[n], shape))


def test_a_batch_is_changed_as_its_patients_one_by_one() -> None:
    drawn = augmentation.draw(AugmentConfig(tilt_degrees=10), 3, seed=1, epoch=0, step=0)
    images = torch.randn(3, 2, 10, 12, 6, generator=torch.Generator().manual_seed(0))
    spacing = torch.tensor([[0.7, 0.7, 2.0], [1.0, 0.8, 1.5], [0.5, 0.5, 3.0]])
    together = augmentation.apply(images, drawn, spacing)
    for n in range(3):
        alone = augmentation.apply(images[n : n + 1], drawn.rows(n, n + 1), spacing[n : n + 1])
        assert torch.equal(together[n], alone[0])


@pytest.fixture
def flags() -> Iterator[None]:
    """PyTorch's own: matrix products with all digits, convolutions without."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("flags")
def test_on_a_gpu_float32_has_all_its_digits_and_tf32_has_not() -> None:
    assert autocast_dtype("float32", GPU) is None
    assert tf32() == (False, False)
    assert autocast_dtype("tf32", GPU) is None
    assert tf32() == (True, True)
    # The next network of the same process may be of another run.
    assert autocast_dtype("float32", GPU) is None
    assert tf32() == (False, False)


@pytest.mark.usefixtures("flags")
def test_whatever_chooses_a_device_computes_with_all_digits() -> None:
    choose_device("cpu")
    assert tf32() == (False, False)


@pytest.mark.usefixtures("flags")
@pytest.mark.parametrize("precision", ["auto", "bfloat16"])
def test_what_bfloat16_leaves_is_float32(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert autocast_dtype(precision, GPU) is torch.bfloat16
    assert tf32() == (False, False)


def test_tf32_is_a_precision_of_gpus() -> None:
    values = {"store": "a", "split": "b", "out": "c", "precision": "tf32"}
    assert parse_config(RunConfig, values, "run").precision == "tf32"
    with pytest.raises(ValueError, match="precision is tf32 and device is cpu"):
        parse_config(RunConfig, {**values, "device": "cpu"}, "run")
