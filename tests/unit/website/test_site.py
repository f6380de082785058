"""The site: built without a warning, read without a network, and saying what the program says."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import grimp
import pytest

from cluster.sweep.config import SweepConfig
from preprocessing.common.config import PreprocessConfig
from radiotrain.config.config_template import fields_of
from radiotrain.config.run_config import RunConfig, Section
from radiotrain.split.split import Split
from tests.commands import every_command, name_of
from website.commands import commands_page
from website.configuration import configuration_pages
from website.docstrings import fields_of as class_fields
from website.docstrings import insert_docstrings
from website.flow_picture import FLOW, draw_flow
from website.hooks import link_here
from website.imports_picture import (
    PACKAGES,
    draw_imports,
    module_imports,
    part_imports,
    part_of,
    parts,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


class _Loads(HTMLParser):
    """What a browser would fetch of a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        rels = (values.get("rel") or "").split()
        names = {"script": "src", "img": "src", "iframe": "src"}
        if tag == "link" and not {"canonical", "prev", "next"} & set(rels):
            self.found.append(values.get("href") or "")
        elif tag in names:
            self.found.append(values.get(names[tag]) or "")


def test_reading_it_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loads = _Loads()
        loads.feed(page.read_text())
        assert not [url for url in loads.found if re.match(r"(\w+:)?//", url)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text()), style


def test_every_page_is_there_and_pictures_too(site: Path) -> None:
    text = (site / "architecture.html").read_text()
    assert 'src="images/imports.svg"' in text
    assert (site / "images" / "imports.svg").read_text() == draw_imports()
    assert (site / "images" / "data-flow.svg").read_text() == draw_flow()
    assert "SEResNet50 for ER" in (site / "paper.html").read_text()
    # No place for something to be put in is left over.
    assert not [page for page in site.rglob("*.html") if "&lt;!--" in page.read_text()]


@pytest.mark.parametrize(
    ("name", "model"),
    [("run", RunConfig), ("sweep", SweepConfig), ("preprocess", PreprocessConfig)],
)
def test_configuration_pages_have_every_field_with_its_doc(name: str, model: type[Section]) -> None:
    page = configuration_pages()[f"generated/{name}.md"]
    for field in fields_of(model):
        assert field.doc.replace("|", "\\|") in page, field.key
        assert (f"## {field.key}" if field.section else f"| `{field.name}` |") in page


def test_the_page_of_commands_has_all_of_them() -> None:
    page = commands_page()
    for path, command in every_command().items():
        assert f"`{' '.join(('radiotrain', *path))}`" in page
        for parameter in getattr(command, "params", ()):
            for option in parameter.opts:
                assert not option.startswith("--") or option in page, (path, option)


def shown_commands() -> list[tuple[str, str]]:
    """Return every command of radiotrain in a block of the README's and the pages', with its page."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = []
    for page in pages:
        for block in re.findall(
            r"^```(?:\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("radiotrain "):
                    found.append((page.relative_to(ROOT).as_posix(), line.partition("  #")[0]))
    return found


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_every_command_that_is_shown_would_be_taken(page: str, line: str) -> None:
    words = shlex.split(line.replace("[", "").replace("]", ""))[1:]
    path = name_of(words)
    if path:
        every_command()[path].make_context("radiotrain", words[len(path) :]).close()
    else:
        # Of the program itself, and done as soon as it is read.
        assert set(words) <= {option for o in every_command()[()].params for option in o.opts}


def test_the_picture_of_imports_is_what_import_linter_sees() -> None:
    graph = grimp.build_graph(*PACKAGES)
    seen = {
        (module, imported)
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    # It does not look into folders without __init__.py; the picture does.
    ours = {pair for pair in module_imports() if set(pair) <= graph.modules}
    assert len(seen) > 900
    assert ours == seen


def test_the_picture_has_every_import_once() -> None:
    pairs = {(part_of(a), part_of(b)) for a, b in module_imports()}
    drawn = re.findall(r'data-from="([\w.]+)" data-to="([\w.]+)"', draw_imports())
    assert set(drawn) == {(a, b) for a, b in pairs if a != b}
    assert len(drawn) == len(set(drawn)) > 60
    importers = {
        a
        for a, b in module_imports()
        if (part_of(a), part_of(b)) == ("cluster.sweep", "radiotrain.training")
    }
    assert part_imports()["cluster.sweep", "radiotrain.training"] == len(importers) > 3


def test_nothing_in_the_picture_leads_up_the_house_but_the_command_line() -> None:
    order = {package: i for i, package in enumerate(PACKAGES)}
    upwards = {
        pair
        for pair in part_imports()
        if order[pair[0].split(".")[0]] > order[pair[1].split(".")[0]]
    }
    assert upwards
    assert {importer for importer, _ in upwards} == {"radiotrain.cli"}
    assert [name.split(".")[0] for name in parts()] == sorted(
        (name.split(".")[0] for name in parts()), key=order.__getitem__
    )


@pytest.mark.parametrize("stage", FLOW, ids=lambda stage: stage.function)
def test_the_picture_of_data_shows_functions_as_they_are(stage) -> None:  # type: ignore[no-untyped-def]
    function = import_module(stage.module)
    for name in stage.function.split("."):
        function = getattr(function, name)
    signature = inspect.signature(function)
    returned = str(signature.return_annotation)
    assert all(re.search(rf"\b{name}\b", returned) for name in stage.gives), returned
    taken = " ".join(str(p.annotation) for p in signature.parameters.values())
    assert all(re.search(rf"\b{name}\b", taken) for name in stage.takes), taken
    assert stage.function in draw_flow()


def test_what_the_code_says_of_its_formats_is_put_in() -> None:
    page = insert_docstrings((ROOT / "docs" / "formats.md").read_text())
    for words in (
        "`metrics.jsonl` | one line an epoch",
        "`sweep.yaml`",
        "`probability` | of label",
    ):
        assert words in page
    assert "<!--" not in page
    table = class_fields("radiotrain.split.split", "Split")
    assert (
        "| `test_ids` | `tuple[str, ...]` | Patients that only an evaluation may read. |" in table
    )
    assert table.count("\n") == 1 + len(Split.__dataclass_fields__)
    with pytest.raises(ValueError, match="no table"):
        insert_docstrings("<!-- tables of radiotrain.seeds -->")


@pytest.mark.parametrize(
    ("page", "written", "link"),
    [
        ("operations.md", "../SECURITY.md", "generated/security.md"),
        ("how-to/cohort.md", "../../CONTRIBUTING.md", "../generated/contributing.md"),
        ("generated/contributing.md", "docs/lab-log.md", "../lab-log.md"),
        ("how-to/cohort.md", "../formats.md#store", "../formats.md#store"),
        ("index.md", "https://example.org/a", "https://example.org/a"),
        ("index.md", "not-there.md", "not-there.md"),
    ],
)
def test_links_lead_to_pages_of_the_site(page: str, written: str, link: str) -> None:
    found = link_here(f"[x]({written})", page)
    resolved = os.path.normpath(Path(page).parent / found[4:-1]) if "//" not in link else link
    expected = os.path.normpath(Path(page).parent / link) if "//" not in link else link
    assert resolved == expected
