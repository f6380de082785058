from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from preprocessing.qc.measures import otsu_threshold, relative_enhancement, tissue_mask


def test_curve_equals_a_naive_loop() -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 2000, (3, 5, 4, 3), dtype=np.int16)
    mask = generator.random((5, 4, 3)) < 0.4
    sums, count = [0, 0, 0], 0
    for r in range(5):
        for c in range(4):
            for s in range(3):
                if mask[r, c, s]:
                    count += 1
                    for p in range(3):
                        sums[p] += int(images[p, r, c, s])
    expected = [(total / count) / (sums[0] / count) - 1 for total in sums]
    found = relative_enhancement(images, mask)
    assert found == pytest.approx(expected)
    assert found is not None
    assert found[0] == 0


def test_curve_is_the_ratio_of_means() -> None:
    # The mean of ratios would be decided by the voxel that was dark before the contrast.
    images = np.array([[[[1, 99]]], [[[100, 100]]]], dtype=np.int16)
    assert relative_enhancement(images, np.ones((1, 1, 2), dtype=bool)) == (0, 1)


@pytest.mark.parametrize("value", [0, -5])
def test_no_curve_without_signal_or_voxels(value: int) -> None:
    images = np.full((2, 2, 2, 2), value, dtype=np.int16)
    assert relative_enhancement(images, np.ones((2, 2, 2), dtype=bool)) is None
    assert relative_enhancement(images + 100, np.zeros((2, 2, 2), dtype=bool)) is None


@pytest.mark.parametrize("seed", range(3))
def test_otsu_equals_simpleitk(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = np.concatenate([generator.gamma(2, 200, 9000), generator.normal(9000, 1500, 6000)])
    values = values.clip(0, 32000).astype(np.int16)
    engine = sitk.OtsuThresholdImageFilter()
    engine.SetNumberOfHistogramBins(256)
    engine.Execute(sitk.GetImageFromArray(values.reshape(100, 150)))
    bin_width = (int(values.max()) - int(values.min())) / 256
    assert otsu_threshold(values) == pytest.approx(engine.GetThreshold(), abs=1.5 * bin_width)


def test_tissue_is_what_is_brighter_than_air_and_no_padding() -> None:
    pre = np.full((4, 4, 4), 3, dtype=np.int16)
    pre[2:] = 100
    padding = np.zeros((4, 4, 4), dtype=bool)
    padding[3] = True
    expected = np.zeros((4, 4, 4), dtype=bool)
    expected[2] = True
    np.testing.assert_array_equal(tissue_mask(pre, padding), expected)


def test_all_padding_has_no_tissue() -> None:
    pre = np.zeros((3, 3, 3), dtype=np.int16)
    assert not tissue_mask(pre, np.ones((3, 3, 3), dtype=bool)).any()
    assert not tissue_mask(pre, np.zeros((3, 3, 3), dtype=bool)).any()
