from __future__ import annotations

import io

import numpy as np
from PIL import Image

from preprocessing.qc.measures import palette
from preprocessing.qc.pictures import Window, pack, phase_window, subtraction_window, to_png


def test_pictures_come_back_from_the_png_at_their_corners() -> None:
    generator = np.random.default_rng(0)
    columns = [
        [generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((7, 6), (5, 6), (5, 7))]
        for _ in range(3)
    ]
    pixels, sheet = pack(columns)
    opened = np.asarray(Image.open(io.BytesIO(to_png(pixels))))
    assert opened.shape == (sheet.height, sheet.width)
    for column, corners in zip(columns, sheet.corners, strict=True):
        for picture, (x, y) in zip(column, corners, strict=True):
            height, width = picture.shape
            np.testing.assert_array_equal(opened[y : y + height, x : x + width], picture)


def test_beyond_a_picture_lies_its_own_edge() -> None:
    bright, dark = np.full((4, 4), 250, np.uint8), np.full((4, 4), 3, np.uint8)
    pixels, sheet = pack([[bright, dark], [dark, bright]])
    (x, y) = sheet.corners[0][0]
    assert (pixels[y - 1 : y + 5, x - 1 : x + 5] == 250).all()


def test_palette_is_dark_in_the_middle_and_kept_in_the_png() -> None:
    colours = palette()
    opened = Image.open(io.BytesIO(to_png(np.array([[0, 127, 255]], np.uint8), colours)))
    found = np.asarray(opened.convert("RGB"))[0]
    np.testing.assert_array_equal(found, colours[[0, 127, 255]])
    assert found[1].sum() < found[0].sum()
    assert found[1].sum() < found[2].sum()


def test_window_ends_are_black_and_white() -> None:
    grey = Window(-10.0, 40.0).apply(np.array([-50.0, -10.0, 15.0, 40.0, 90.0]))
    assert grey.tolist() == [0, 0, 128, 255, 255]


def test_a_window_of_one_value_is_no_error() -> None:
    assert Window(5.0, 5.0).apply(np.array([4.0, 6.0])).tolist() == [0, 255]


def test_small_tumour_is_not_all_white() -> None:
    values = np.full((2, 10_000), 10.0, np.float32)
    tumour = np.stack([np.full(20, 10.0), np.linspace(50, 100, 20)]).astype(np.float32)
    values[:, :20] = tumour
    phases = phase_window(values, tumour)
    minus = subtraction_window(values, tumour, phases)
    assert minus is not None
    assert phases.high > 95
    assert minus.high > 85


def test_one_phase_has_no_subtraction_window() -> None:
    values = np.ones((1, 50), np.float32)
    assert subtraction_window(values, values, Window(0, 1)) is None


def test_noise_alone_stays_dark_in_a_subtraction() -> None:
    values = np.random.default_rng(0).normal(100, 1, (2, 5000)).astype(np.float32)
    values[:, 0] = 0
    phases = Window(0.0, 100.0)
    minus = subtraction_window(values, values[:, :0], phases)
    assert minus is not None
    assert minus.high == 25
