from __future__ import annotations

import re
from pathlib import Path

import pytest

from preprocessing.common.errors import InputError
from preprocessing.qc.folder import MARKER
from preprocessing.store import Store
from tests.unit.qc.conftest import HOSTILE
from tests.unit.qc.pages_of import Page, Pages, write
from tests.unit.qc.small_store import Case, usual_cases, write_store


def test_every_patient_has_a_page_that_the_index_links_to(odd_pages: Pages) -> None:
    index = odd_pages.index
    linked = {
        (odd_pages.folder / e.attributes["href"]).resolve()
        for e in index.find("a")
        if e.attributes["href"].startswith("patients/")
    }
    assert linked == {p.resolve() for p in (odd_pages.folder / "patients").iterdir()}
    assert len(linked) == len(odd_pages.store.patient_ids)
    assert odd_pages.written.num_pages == len(linked) + 1


def test_next_goes_through_all_patients_and_previous_back(odd_pages: Pages) -> None:
    index = odd_pages.index
    first = next(e for e in index.find("a") if e.attributes["href"].startswith("patients/"))
    page = Page(odd_pages.folder / first.attributes["href"])
    seen = [page.path.resolve()]
    assert page.link("previous") is None
    while (following := page.link("next")) is not None:
        page = Page(following)
        assert page.link("previous") == seen[-1]
        assert page.link("index") == odd_pages.written.index.resolve()
        seen.append(following)
    assert len(set(seen)) == len(seen) == len(odd_pages.store.patient_ids)


def test_nothing_is_fetched_from_anywhere(odd_pages: Pages) -> None:
    for page in odd_pages.all():
        assert "://" not in page.source
        for element in page.elements:
            for name in ("href", "src"):
                url = element.attributes.get(name, "#")
                if not url.startswith(("#", "data:image/")):
                    assert (page.path.parent / url).is_file(), url
            assert element.tag != "link"
            assert element.tag != "script" or "src" not in element.attributes


def test_texts_are_escaped(odd_pages: Pages) -> None:
    page = odd_pages.of(HOSTILE)
    assert page.path.parent == odd_pages.folder / "patients"
    for shown in (page, odd_pages.index):
        assert HOSTILE in shown.text
        assert "alert(1)</script>" not in shown.source
        assert "a<b" in shown.text
        assert "<i>" not in shown.source
    assert 'an <i>"odd"</i> message' in page.text


def test_ids_stay_inside_the_folder(odd_pages: Pages) -> None:
    assert odd_pages.of("../x").path.is_file()
    outside = {p.name for p in odd_pages.folder.parent.iterdir()}
    assert outside == {odd_pages.folder.name}


def test_index_names_what_is_odd_and_begins_with_it(odd_pages: Pages) -> None:
    index = odd_pages.index
    assert "phase 2 at 410 s, usual 260 s" in index.text
    assert "padding 12.5 %, usual 0.0 %" in index.text
    order = re.findall(r'href="patients/([^"]+)\.html"', index.source)
    usual = [i for i, name in enumerate(order) if re.fullmatch(r"P\d+", name)]
    assert min(usual) > order.index("padded")
    assert order.index("dark") < min(usual)


def test_excluded_patients_are_listed_with_all_findings(odd_pages: Pages) -> None:
    text = odd_pages.index.text
    assert "gone <b>" in text
    assert "no <box>" in text
    assert 'an <i>"odd"</i> message' in text


def test_pages_tell_what_is_missing(odd_pages: Pages) -> None:
    assert "No tumour is marked" in odd_pages.of("no-tumour").text
    assert not odd_pages.of("no-tumour").find("rect", "box")
    assert "No bias correction was done" in odd_pages.of("no-correction").text
    assert "The spacing is not known" in odd_pages.of("no-spacing").text
    assert "no signal to compare with" in odd_pages.of("dark").text
    assert "% of the tumour's voxels lie in the padding" in odd_pages.of("padded").text


@pytest.mark.parametrize("num_phases", [1, 2, 6])
def test_any_number_of_phases(num_phases: int, tmp_path: Path, out: Path) -> None:
    store = write_store(tmp_path / "store", [Case("one"), Case("two")], num_phases)
    page = write(store, out).of("two")
    assert len(page.find("figure", "phase")) == num_phases
    assert len(page.find("figure", "subtraction")) == num_phases - 1
    assert len(page.find("figure", "bias")) == 3
    assert bool(page.find("polyline")) == (num_phases > 1)


def test_store_without_a_usable_patient(tmp_path: Path, out: Path) -> None:
    store = write_store(tmp_path / "store", [Case("gone", excluded=True)])
    pages = write(store, out)
    assert pages.written.num_pages == 1
    assert "No patient of this store can be used" in pages.index.text
    assert "gone" in pages.index.text


def test_processes_write_the_same_files(odd_store: Store, odd_pages: Pages, out: Path) -> None:
    others = write(odd_store, out, num_workers=2)
    assert _contents(others.folder) == _contents(odd_pages.folder)


def test_again_into_the_same_folder_leaves_no_former_patient(tmp_path: Path, out: Path) -> None:
    write(write_store(tmp_path / "many", usual_cases(4)), out)
    pages = write(write_store(tmp_path / "few", usual_cases(2)), out)
    fresh = write(pages.store, tmp_path / "fresh")
    assert _contents(out) == _contents(fresh.folder)


def test_foreign_folder_is_refused_and_left_alone(odd_store: Store, out: Path) -> None:
    out.mkdir()
    (out / "index.html").write_text("mine")
    with pytest.raises(InputError, match="did not make, expected a new or empty folder"):
        write(odd_store, out)
    assert [p.name for p in out.iterdir()] == ["index.html"]
    assert (out / "index.html").read_text() == "mine"


def test_file_or_url_is_refused(odd_store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        write(odd_store, tmp_path / "file")
    with pytest.raises(InputError, match="expected a folder on this machine"):
        write(odd_store, "s3://bucket/qc")  # type: ignore[arg-type]


def test_own_and_empty_folders_are_taken(tmp_path: Path, out: Path) -> None:
    out.mkdir()
    pages = write(write_store(tmp_path / "store", usual_cases(1)), out)
    assert (out / MARKER).is_file()
    assert write(pages.store, out).written == pages.written


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
