"""From the store's voxels to the pixels and outlines that a browser shows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from preprocessing.qc.measures import PLANES
from preprocessing.store import REGION_PADDING
from tests.unit.qc.pages_of import Page, Pages
from tests.unit.qc.small_store import BOX, GAINS, SHAPE, SPACING_MM

CENTRE = tuple((a + b) // 2 for a, b in zip(*BOX, strict=True))


def _panels(page: Page, figure: int) -> list[int]:
    """Return the positions of the images of one figure among all elements."""
    images = [i for i, e in enumerate(page.elements) if e.tag == "image"]
    return images[3 * figure : 3 * figure + 3]


def test_phases_show_the_stored_voxels(odd_pages: Pages) -> None:
    page = odd_pages.of("P000")
    voxels, _ = odd_pages.store.read_images(odd_pages.store.index_of("P000"))
    for phase in range(3):
        for plane, at in zip(PLANES, _panels(page, phase), strict=True):
            expected = plane.cut(voxels[phase], CENTRE)
            found = page.pixels(page.elements[at], *expected.shape)
            # One window for all phases: grey goes with intensity, whichever the phase.
            order = np.corrcoef(found.ravel().astype(float), expected.ravel().astype(float))
            assert order[0, 1] > 0.99
    pre, post = (page.pixels(page.elements[_panels(page, p)[0]], 24, 20) for p in (0, 1))
    tumour = (slice(8, 14), slice(6, 12))
    assert post[tumour].mean() / pre[tumour].mean() == pytest.approx(GAINS[1], rel=0.03)


def test_subtraction_shows_the_tumour_only(odd_pages: Pages) -> None:
    page = odd_pages.of("P000")
    axial = page.pixels(page.elements[_panels(page, 3)[0]], 24, 20).astype(float)
    bright = axial > 120
    expected = np.zeros((24, 20), dtype=bool)
    expected[8:14, 6:12] = True
    np.testing.assert_array_equal(bright, expected)


@pytest.mark.parametrize("figure", [0, 4, 7])
def test_box_is_outlined_where_its_voxels_are(odd_pages: Pages, figure: int) -> None:
    page = odd_pages.of("P000")
    (r0, c0, s0), (r1, c1, s1) = BOX
    head = SHAPE[2]
    expected = [
        (c0, r0, c1 - c0, r1 - r0),
        (c0, head - s1, c1 - c0, s1 - s0),
        (r0, head - s1, r1 - r0, s1 - s0),
    ]
    for at, outline in zip(_panels(page, figure), expected, strict=True):
        box = next(e for e in page.elements[at:] if e.tag == "rect")
        assert box.attributes["class"] == "box"
        assert tuple(box.number(k) for k in ("x", "y", "width", "height")) == outline


def test_panels_have_the_patients_aspect_ratio(odd_pages: Pages) -> None:
    page = odd_pages.of("P000")
    row, column, between = (n * mm for n, mm in zip(SHAPE, SPACING_MM, strict=True))
    expected = [(column, row), (column, between), (row, between)]
    for at, size in zip(_panels(page, 0), expected, strict=True):
        svg, group = page.elements[at - 2], page.elements[at - 1]
        shown = [float(v) for v in svg.attributes["viewbox"].split()]
        assert shown[2:] == pytest.approx(size)
        scale = [float(v) for v in group.attributes["transform"][6:-1].split()]
        assert len(scale) == 2
        assert page.elements[at].attributes["preserveaspectratio"] == "none"


def test_letters_tell_the_patients_sides(odd_pages: Pages) -> None:
    source = odd_pages.of("P000").source
    for name, letters in (("axial", "ALPR"), ("coronal", "HLFR"), ("sagittal", "HPFA")):
        panel = source[source.index(f'aria-label="pre-contrast, {name}"') :]
        assert re.findall(r">(\w)</text>", panel[: panel.index("</svg>")]) == list(letters)


def test_padding_is_hatched_where_it_is(odd_pages: Pages) -> None:
    page = odd_pages.of("padded")
    region = odd_pages.store.read_region(odd_pages.store.index_of("padded"))
    for plane, at in zip(PLANES, _panels(page, 0), strict=True):
        expected = plane.cut(region & REGION_PADDING > 0, CENTRE)
        found = np.zeros_like(expected)
        for element in page.elements[at + 1 : at + 4]:
            if element.attributes.get("class") == "pad":
                x, y, w, h = (int(element.number(k)) for k in ("x", "y", "width", "height"))
                found[y : y + h, x : x + w] = True
        np.testing.assert_array_equal(found, expected)


def test_before_correction_is_after_times_the_field(odd_pages: Pages) -> None:
    page = odd_pages.of("P000")
    before, after = (
        page.pixels(page.elements[_panels(page, f)[0]], 24, 20)[15:].astype(float) for f in (5, 6)
    )
    # The field of the small stores rises along the rows, through 0 in the middle of the crop.
    brighter = (before / after).mean(axis=1)
    assert (np.diff(brighter) > -0.01).all()
    assert brighter[0] > 0.99
    assert 1.03 < brighter[-1] < 1.13


def test_mask_without_a_box_is_looked_at_through_its_middle(odd_pages: Pages) -> None:
    page = odd_pages.of("mask-only")
    assert not page.find("rect", "box")
    axial = page.pixels(page.elements[_panels(page, 1)[0]], 24, 20).astype(float)
    assert axial[8:14, 6:12].mean() > 1.7 * axial[16:, :].mean()
