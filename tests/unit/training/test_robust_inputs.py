"""What networks are given of images with broken voxels, and what of an earlier run stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from preprocessing.store import REGION_PADDING, Store
from preprocessing.store.writer import quantise
from radiotrain.config.run_config import RunConfig, parse_config, parse_recorded
from radiotrain.data.patients import load_patients, part_ids
from radiotrain.data.storage import (
    SharedCopy,
    copy_folder,
    for_network,
    missing_bytes,
    normalisation,
    read_voxels,
)
from radiotrain.export.robust_intensities import normalise
from radiotrain.runs.predict_run import load_part
from radiotrain.split.split import Split
from radiotrain.training.loop import train
from tests.unit.training.synthetic import run_config

F32 = NDArray[np.float32]


def images(seed: int = 0, shape: tuple[int, int, int] = (40, 40, 8)) -> F32:
    """Air, tissue, and a tumour that enhances."""
    rng = np.random.default_rng(seed)
    found = rng.rayleigh(8, (3, *shape)).astype(np.float32)
    found[:, 4:-4, 4:-4] = rng.normal(400, 90, (3, shape[0] - 8, shape[1] - 8, shape[2]))
    for phase in (1, 2):
        found[phase, 10:16, 10:16, 2:5] += 500
    return found.clip(0)


def region(padding: int = 0, shape: tuple[int, int, int] = (40, 40, 8)) -> NDArray[np.uint8]:
    found = np.zeros(shape, np.uint8)
    found[: padding or 0] = REGION_PADDING
    return found


def one(value: float, phase: int = 0) -> Callable[[F32], None]:
    def spoil(voxels: F32) -> None:
        voxels[phase, 20, 20, 4] = value

    return spoil


def row(value: float, phase: int = 0) -> Callable[[F32], None]:
    def spoil(voxels: F32) -> None:
        voxels[phase, 10:30, 22, 4] = value

    return spoil


def air(voxels: F32) -> None:
    voxels[0, 1, 1, 1] = 6e4


SPOILT = {
    "one voxel": one(6e4),
    "a row of a spike": row(6e4),
    "a row of ten times the tissue": row(4500),
    "negative": one(-6e4),
    "a negative row": row(-2e4),
    "of a post phase": one(6e4, 2),
    "a row of a post phase": row(6e4, 1),
    "outside the tissue": air,
}


def network_input(voxels: F32, bits: NDArray[np.uint8], rule: str) -> F32:
    steps, scale = quantise(voxels)
    found = for_network(steps, bits, float(scale), rule)  # type: ignore[arg-type]
    return np.float32(found.voxels * found.gain + found.offset)


def oracle(voxels: NDArray[np.int16], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The rule by numpy's percentiles, phase by phase."""
    found = voxels.astype(np.float64)
    least = 0.0
    for n, phase in enumerate(found):
        tissue = phase[inside & (phase != 0)]
        low, middle, high = np.quantile(tissue, [0.01, 0.5, 0.99], method="lower")
        spread = max(high - low, abs(middle), least)
        least = spread if n == 0 else least
        if n == 0:
            pre = phase[inside]
            counted = pre[(pre >= low - 4 * spread) & (pre <= high + 4 * spread)]
        phase[:] = np.clip(phase, low - 10 * spread, high + 10 * spread)
    found = (found - counted.mean()) / counted.std()
    found[:, ~inside] = 0
    return found


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("kind", SPOILT)
def test_broken_voxels_change_no_other(kind: str, padding: int) -> None:
    clean, spoilt, bits = images(), images(), region(padding)
    SPOILT[kind](spoilt)
    expected = network_input(clean, bits, "robust")
    found = network_input(spoilt, bits, "robust")
    changed = (spoilt != clean) & (bits == 0)
    assert 1 <= changed.sum() + (kind == "outside the tissue" and padding > 0) <= 20
    # The store's step is that of the largest voxel, as stores of earlier versions have it.
    np.testing.assert_allclose(found[~changed], expected[~changed], atol=0.02)
    assert np.abs(found).max() < 60
    inside = bits == 0
    assert 0.95 < found[0][inside & ~changed[0]].std() < 1.05

    steps, scale = quantise(spoilt)
    patient = for_network(steps, bits, float(scale), "robust")
    normalised = np.float32(patient.voxels * patient.gain + patient.offset)
    reference = oracle(steps, inside)
    np.testing.assert_allclose(normalised[:, inside], reference[:, inside], atol=2e-3)
    assert np.abs(normalised[:, ~inside]).max(initial=0) < 0.1


@pytest.mark.parametrize("value", [6e4, 1e6])
def test_without_it_the_image_shrinks(value: float) -> None:
    spoilt = images()
    one(value)(spoilt)
    kept = np.ones((40, 40, 8), bool)
    kept[20, 20, 4] = False
    assert network_input(spoilt, region(), "robust")[0][kept].std() == pytest.approx(1, abs=0.01)
    assert network_input(spoilt, region(), "plain")[0][kept].std() < 0.5


@pytest.mark.parametrize("shape", [(40, 40, 8), (64, 64, 40)])
@pytest.mark.parametrize("padding", [0, 7])
def test_clean_images_are_the_same_to_the_bit(shape: tuple[int, int, int], padding: int) -> None:
    steps, scale = quantise(images(1, shape))
    bits = region(padding, shape)
    plain, robust = (for_network(steps, bits, float(scale), rule) for rule in ("plain", "robust"))
    assert (plain.gain, plain.offset) == (robust.gain, robust.offset)
    assert plain.voxels.tobytes() == robust.voxels.tobytes()


def test_images_of_one_value_and_padding_stay_finite() -> None:
    bits = region(0, (4, 4, 8))
    flat = np.full((2, 4, 4, 8), 7, np.int16)
    found = for_network(flat, bits, 0.5, "robust")
    assert (found.gain, found.offset) == (0.5, -3.5)
    hot = flat.copy()
    hot[0, 1, 2, 3] = 32767
    found = for_network(hot, bits, 0.5, "robust")
    normalised = found.voxels * found.gain + found.offset
    assert np.isfinite(normalised).all()
    assert np.abs(normalised).max() < np.sqrt(128) + 1
    zeros = for_network(np.zeros_like(flat), bits, 1.0, "robust")
    assert (zeros.voxels * zeros.gain + zeros.offset == 0).all()
    everything = np.full_like(bits, REGION_PADDING)
    assert for_network(hot, everything, 0.5, "robust").gain == 1
    assert normalisation(hot[0], np.ones((4, 4, 8), bool), 0.5, "robust") == (1.0, 0.0)


def test_nearly_all_padding_is_normalised_by_the_rest() -> None:
    shape = (40, 40, 8)
    bits = np.full(shape, REGION_PADDING, np.uint8)
    bits[18:22, 18:22] = 0
    spoilt = images()
    one(6e4)(spoilt)
    found = network_input(spoilt, bits, "robust")
    kept = bits == 0
    kept[20, 20, 4] = False
    assert found[0][kept].std() == pytest.approx(1, abs=0.02)
    assert np.abs(found[:, bits != 0]).max() < 0.1


@pytest.mark.parametrize("kind", ["nothing", *SPOILT])
@pytest.mark.parametrize("padding", [0, 6])
def test_the_code_of_exports_gives_the_same(kind: str, padding: int) -> None:
    spoilt, bits = images(), region(padding)
    SPOILT.get(kind, lambda _: None)(spoilt)
    steps, scale = quantise(spoilt)
    patient = for_network(steps, bits, float(scale), "robust")
    expected = np.float32(patient.voxels * patient.gain + patient.offset)
    expected[:, bits != 0] = 0
    crop = steps.astype(np.float32)
    crop[:, bits != 0] = np.nan
    np.testing.assert_allclose(normalise(crop), expected, atol=2e-3)
    np.testing.assert_allclose(normalise(crop * 0.37), expected, atol=2e-3)


def test_docs_and_cards_show_the_code_of_exports() -> None:
    root = Path(__file__).parents[3]
    code = (root / "radiotrain/export/robust_intensities.py").read_text().partition('"""\n\n')[2]
    assert code.strip() in (root / "docs/export.md").read_text()


def test_recorded_runs_keep_what_they_were_trained_on() -> None:
    values = {"store": "a", "split": "b", "out": "c"}
    new = parse_config(RunConfig, values, "new")
    assert new.train.normalisation == "robust"
    recorded = new.model_dump(mode="json")
    del recorded["train"]["normalisation"]
    old = parse_recorded(RunConfig, recorded, "recorded")
    assert old.train.normalisation == "plain"
    assert "normalisation" not in old.identity()["train"]
    assert new.identity()["train"]["normalisation"] == "robust"


def test_each_rule_has_a_copy_of_its_own(store: Store, tmp_path: Path) -> None:
    plain = SharedCopy(store, tmp_path, "plain")
    plain.fill([1], lambda: None)
    assert missing_bytes(store, [1], tmp_path, "plain") == 0
    assert missing_bytes(store, [1], tmp_path, "robust") > 0
    robust = SharedCopy(store, tmp_path, "robust")
    robust.fill([1], lambda: None)
    assert copy_folder(store, tmp_path, "plain") != copy_folder(store, tmp_path, "robust")
    for copy, rule in ((plain, "plain"), (robust, "robust")):
        expected = read_voxels(store, 1, rule)  # type: ignore[arg-type]
        assert np.array_equal(copy.voxels[1], expected.voxels)
    plain.close()
    robust.close()


@pytest.mark.parametrize("placement", ["device", "shared", "stream"])
def test_every_placement_gives_the_rules_images(
    store: Store, split: Split, placement: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("radiotrain.data.patients.SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("radiotrain.data.storage.SHARED_MEMORY", tmp_path)
    read = store.read_images

    def broken(i: int) -> tuple[NDArray[np.int16], float]:
        voxels, scale = read(i)
        voxels = voxels.copy()
        voxels[0, 5, 5, 5] = 32767
        voxels[0, 6:20] //= 100
        voxels[1:] //= 100
        return voxels, scale

    object.__setattr__(store, "read_images", broken)
    try:
        ids = part_ids(split, 0, "train")[:3]
        rows = np.arange(3)
        for rule in ("plain", "robust"):
            patients = load_patients(store, split, ids, ["ER"], rule=rule, placement=placement)  # type: ignore[arg-type]
            found = patients.batch(rows, torch.device("cpu")).images
            for n, patient_id in enumerate(ids):
                expected = read_voxels(store, store.index_of(patient_id), rule)  # type: ignore[arg-type]
                image = torch.from_numpy(expected.voxels).float()
                offset = torch.tensor(float(expected.offset))
                gain = torch.tensor(float(expected.gain))
                assert torch.equal(found[n], torch.addcmul(offset, image, gain))
    finally:
        object.__delattr__(store, "read_images")


def test_a_run_is_evaluated_by_its_own_rule(
    store: Store, split: Split, split_url: str, tmp_path: Path
) -> None:
    for rule in ("plain", "robust"):
        settings = {"epochs": 1, "batch_size": 12, "warmup_epochs": 0, "normalisation": rule}
        config = run_config(store, split_url, tmp_path / rule, train=settings)
        train(config, reporter=lambda _: None)
        part = load_part(config.out, store, split, "validation")
        assert part.config.train.normalisation == rule
        assert part.patients.source._rule == rule  # type: ignore[attr-defined]
