"""Radiomic features beside naive loops and numpy; needs the extra ``radiomics``."""

from __future__ import annotations

import importlib.util
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from preprocessing.common.errors import InputError, SealedTestSetError
from preprocessing.store import Store
from radiotrain.evaluation.baselines import radiomics
from radiotrain.evaluation.baselines.models import LOGISTIC
from radiotrain.evaluation.baselines.predict import fit_baselines, predict_test, read_sets
from radiotrain.evaluation.baselines.radiomics import (
    cache_url,
    check_installed,
    radiomic_features,
    read_radiomics,
)
from radiotrain.split.split import make_split, save_split
from radiotrain.split.test_set_access import open_test_set
from tests.unit.evaluation.scanner_store import write_scanner_store

needs_mirp = pytest.mark.skipif(
    importlib.util.find_spec("mirp") is None, reason="needs the extra 'radiomics'"
)


def textured(seed: int = 0, shape: tuple[int, ...] = (14, 15, 16)) -> Any:
    """Return an image, smooth and noisy, and a region that is no box."""
    rng = np.random.default_rng(seed)
    image = rng.normal(1, 0.2, shape) + 0.1 * np.arange(shape[0])[:, None, None]
    r, c, s = np.ogrid[: shape[0], : shape[1], : shape[2]]
    region = ((r - 7) / 5) ** 2 + ((c - 7) / 4) ** 2 + ((s - 8) / 6) ** 2 <= 1
    return image.astype(np.float32), region


def naive_glcm_contrast(image: Any, region: Any) -> float:
    """Contrast of the co-occurrence matrix, all 13 directions merged, 32 bins, by loops."""
    low, high = image[region].min(), image[region].max()
    bins = np.minimum(np.floor(32 * (image - low) / (high - low)) + 1, 32)
    inside = {tuple(at) for at in np.argwhere(region)}
    steps = [s for s in itertools.product((-1, 0, 1), repeat=3) if s > (0, 0, 0)]
    differences = []
    for at in inside:
        for step in steps:
            other = tuple(np.add(at, step))
            if other in inside:
                differences.append(float(bins[at] - bins[other]))
    return sum(d * d for d in differences) / len(differences)


@needs_mirp
@pytest.mark.slow
def test_first_order_and_texture_are_those_of_loops() -> None:
    image, region = textured()
    found = radiomic_features({"pre": image}, region, (1.0, 1.0, 1.0))
    values = image[region].astype(np.float64)
    assert found["pre_stat_mean"] == pytest.approx(values.mean(), rel=1e-5)
    assert found["pre_stat_var"] == pytest.approx(values.var(), rel=1e-4)
    assert found["pre_stat_skew"] == pytest.approx(stats.skew(values), rel=1e-3)
    assert found["pre_stat_kurt"] == pytest.approx(stats.kurtosis(values), rel=1e-3)
    contrast = next(v for k, v in found.items() if k.startswith("pre_cm_contrast"))
    assert contrast == pytest.approx(naive_glcm_contrast(image, region), rel=1e-4)


def test_shape_is_that_of_an_ellipsoid_in_millimetres() -> None:
    r, c, s = np.ogrid[-30:31, -30:31, -20:21]
    # Half-axes of 20, 12 and 24 mm.
    region = (r * 0.8 / 20) ** 2 + (c * 0.8 / 12) ** 2 + (s * 1.5 / 24) ** 2 <= 1
    found = radiomic_features({}, region, (0.8, 0.8, 1.5))
    assert found["shape_log_volume"] == pytest.approx(
        math.log(4 / 3 * math.pi * 20 * 12 * 24), abs=0.01
    )
    # Twice the half-axes: an ellipsoid's moment along one is a fifth of its square.
    axes = [found[f"shape_{name}_axis"] * math.sqrt(5) / 2 for name in ("least", "minor", "major")]
    assert axes == pytest.approx([24, 40, 48], rel=0.02)
    p = 1.6075
    a, b, c_ = 20**p, 12**p, 24**p
    area = 4 * math.pi * ((a * b + a * c_ + b * c_) / 3) ** (1 / p)
    assert found["shape_surface"] == pytest.approx(area, rel=0.1)


@needs_mirp
@pytest.mark.slow
def test_voxels_of_another_size_give_about_the_same() -> None:
    image, region = textured(shape=(24, 24, 24))
    smooth = np.stack([np.linspace(0, 1, 24)] * 24, axis=1)[:, :, None] + 0 * image
    fine = radiomic_features({"pre": smooth}, region, (1.0, 1.0, 1.0))
    thick = radiomic_features(
        {"pre": smooth[:, :, ::2].astype(np.float32)}, region[:, :, ::2], (1.0, 1.0, 2.0)
    )
    assert set(fine) == set(thick)
    assert thick["pre_stat_mean"] == pytest.approx(fine["pre_stat_mean"], rel=0.05)
    assert thick["shape_log_volume"] == pytest.approx(fine["shape_log_volume"], abs=0.1)


def test_too_few_voxels_and_constant_images_have_a_shape_only() -> None:
    image, region = textured()
    constant = radiomic_features({"pre": np.ones_like(image)}, region, (1.0, 1.0, 1.0))
    assert constant
    assert all(name.startswith("shape_") for name in constant)
    tiny = np.zeros_like(region)
    tiny[7, 7, 7] = True
    found = radiomic_features({"pre": image}, tiny, (1.0, 1.0, 1.0))
    assert found
    assert all(name.startswith("shape_") for name in found)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'radiotrain\[radiomics\]'"):
        check_installed()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    url = str(tmp_path_factory.mktemp("radiomics") / "store")
    return write_scanner_store(url, num_patients=30, tumour_effect=0.05)


@needs_mirp
@pytest.mark.slow
def test_measured_once_sealed_and_fitted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = make_split(store, num_folds=3)
    save_split(split, str(tmp_path / "splits.json"))
    with pytest.raises(SealedTestSetError):
        read_radiomics(store, split, split.test_ids, None)
    ids = split.development_ids
    first = read_radiomics(store, split, ids, None)
    assert first.values.shape[0] == len(ids)
    assert first.values.shape[1] > 100
    measured: list[str] = []
    original = radiomics._measured

    def spying(store: Store, patient_ids: Any) -> Any:
        measured.extend(patient_ids)
        return original(store, patient_ids)

    monkeypatch.setattr(radiomics, "_measured", spying)
    second = read_radiomics(store, split, ids, None)
    assert measured == []
    assert second.names == first.names
    np.testing.assert_array_equal(second.values, first.values)
    sets = read_sets(store, split, ids, radiomics=True)
    fitted = fit_baselines(store, split, ["ER"], sets=sets, models=[LOGISTIC])
    access = open_test_set(str(tmp_path / "splits.json"), "a test", ["run"])
    table = predict_test(fitted, store, split, access)
    assert sorted(measured) == sorted(split.test_ids)
    rows = table[table["run"] == "baseline radiomics (logistic)"]
    assert len(rows) == len(split.test_ids) * split.num_folds
    path = Path(cache_url(store))
    content = path.read_bytes()
    path.write_bytes(content[:1000] + bytes([content[1000] ^ 1]) + content[1001:])
    measured.clear()
    third = read_radiomics(store, split, ids[:2], None)
    assert measured == list(ids[:2])
    wanted = first.under(third.names).of(ids[:2])
    np.testing.assert_array_equal(third.values, wanted)
