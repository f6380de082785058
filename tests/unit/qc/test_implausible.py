"""Patients whose phases no examination shows come first, with the strip that shows why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from preprocessing.cohort.cohort import Finding
from preprocessing.pipeline.run import PreprocessResult, describe
from tests.unit.qc.pages_of import Page, Pages, write
from tests.unit.qc.small_store import Case, usual_cases, write_store

NO_UPTAKE = Finding("no-enhancement", "the tumour <b> takes up no contrast", excludes=False)
EQUAL = Finding("phases-equal", "phase 1 and phase 2 hold the same voxels", excludes=True)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    folder = tmp_path_factory.mktemp("implausible")
    cases = [
        *usual_cases(8),
        Case("late", times_s=(0.0, 131.0, 900.0)),
        Case("z-flat", findings=(NO_UPTAKE,)),
        Case("a-gone", excluded=True, findings=(Finding("no-box", "no box"),)),
        Case("z-copy", excluded=True, findings=(EQUAL,)),
    ]
    return write(write_store(folder / "store", cases), folder / "qc")


def test_implausible_patients_come_before_unusual_ones(pages: Pages) -> None:
    order = re.findall(r'href="patients/([^"]+)\.html"', pages.index.source)
    assert order[0] == "z-flat"  # in their own list
    assert order[1:3] == ["z-flat", "late"]  # in the table
    assert pages.of("z-flat").link("previous") is None


def test_the_cohorts_page_says_what_was_measured(pages: Pages) -> None:
    text = pages.index.text
    assert NO_UPTAKE.message in text
    assert text.index(NO_UPTAKE.message) < text.index("Excluded patients")
    assert text.index(EQUAL.message) < text.index("no box")
    scores = [
        float(v)
        for v in re.findall(r'class="n" data-v="([0-9.]+)">(?:<span|0|\d)', pages.index.source)
    ]
    assert scores[0] == max(scores) >= 999


def test_a_cohort_without_them_has_no_list_of_them(tmp_path: Path) -> None:
    index = write(write_store(tmp_path / "store", usual_cases(2)), tmp_path / "qc").index
    assert 'id="implausible"' not in index.source


def test_the_patients_page_begins_with_the_finding(pages: Pages) -> None:
    page = pages.of("z-flat")
    (shown,) = page.find("p", "implausible")
    assert page.source.index(
        NO_UPTAKE.message.replace("<", "&lt;").replace(">", "&gt;")
    ) < page.source.index("<image")
    assert shown.attributes["class"] == "implausible"
    assert not pages.of("P000").find("p", "implausible")


@pytest.mark.parametrize("num_phases", [1, 2, 6])
def test_the_strip_shows_each_phase_and_each_subtraction_once(
    num_phases: int, tmp_path: Path
) -> None:
    store = write_store(tmp_path / "store", [Case("one")], num_phases)
    page = write(store, tmp_path / "qc").of("one")
    cells = page.find("div", "cell")
    assert [("phase" in c.attributes["class"]) for c in cells] == [True] * num_phases + [False] * (
        num_phases - 1
    )
    assert _shown(page) == _axial(page)
    # The phases' own row is as long as there are phases: each subtraction lies under its phase.
    assert f"repeat({num_phases}, " in page.source
    assert len(page.find("p", "uptake")) == (num_phases > 1)


def test_the_strip_tells_times_names_and_the_tumours_uptake(pages: Pages) -> None:
    text = " ".join(pages.of("P000").text.split())
    strip = text[: text.index("Planes through")]
    for words in ("pre-contrast series 0", "phase 1, 131 s series 1", "phase 2, 260 s series 2"):
        assert words in strip
    assert re.search(r"phase 1 − pre \+(99|100|101) % phase 2 − pre \+(79|80|81) %", strip)


def test_the_strip_of_a_patient_without_a_tumour_has_no_uptake(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", [Case("one", tumour=False, box=None)])
    page = write(store, tmp_path / "qc").of("one")
    assert len(page.find("div", "cell")) == 5
    assert "mean change" not in page.text


def test_the_last_line_of_a_run_counts_them(tmp_path: Path) -> None:
    for cases, words in (
        (
            [*usual_cases(3), Case("z", findings=(NO_UPTAKE,))],
            "; 1 of the stored has implausible phases",
        ),
        (
            [Case(n, findings=(NO_UPTAKE,)) for n in "yz"],
            "; 2 of the stored have implausible phases",
        ),
        (usual_cases(3), None),
    ):
        store = write_store(tmp_path / f"{len(cases)}-{words is None}", cases)
        line = describe(PreprocessResult(store, len(cases), 0))
        assert (words in line) if words else ("implausible" not in line)


def _shown(page: Page) -> list[tuple[float, float]]:
    """Return where on the sheet the pictures lie that the strip refers to."""
    ids = {e.attributes["id"]: i for i, e in enumerate(page.elements) if "id" in e.attributes}
    images = [page.elements[ids[e.attributes["href"][1:]] + 1] for e in page.find("use")]
    return [(image.number("x"), image.number("y")) for image in images]


def _axial(page: Page) -> list[tuple[float, float]]:
    """Return where the first of each figure's three pictures lie, the field's left out."""
    images = [e for e in page.find("image") if e.attributes["href"].endswith("-grey.png")]
    count = len(page.find("use"))
    return [(image.number("x"), image.number("y")) for image in images[::3][:count]]
