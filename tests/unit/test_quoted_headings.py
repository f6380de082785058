"""Documents quote headings of pages as the pages' templates have them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted((ROOT / "radiotrain").glob("**/templates/*.j2"))
# What was measured and decided once quotes the pages of its time.
HISTORY = {"lab-log.md", "benchmarks.md"}
DOCUMENTS = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").glob("*.md")) if p.name not in HISTORY),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]
_QUOTED = re.compile(r"\b(?:under|section|sections|heading|page|part) [\"“]([A-Z][^\"”\n]*)[\"”]")


def headings() -> set[str]:
    found = set()
    for template in TEMPLATES:
        for text in re.findall(r"<h[1-3][^>]*>(.*?)</h[1-3]>", template.read_text("utf-8")):
            found.add(text.strip().removeprefix("Appendix: ").casefold())
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_quoted_headings_are_those_of_pages(document: Path) -> None:
    text = document.read_text("utf-8")
    own = set(re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE))
    quoted = set(_QUOTED.findall(text)) - own
    assert {q.casefold() for q in quoted} <= headings()


def test_an_old_heading_would_be_noticed() -> None:
    assert _QUOTED.findall('see the page "Tumour or scanner?"') == ["Tumour or scanner?"]
    assert "tumour or scanner?" not in headings()
    assert _QUOTED.findall((ROOT / "docs/how-to/external.md").read_text("utf-8")) == [
        "External cohort"
    ]


@pytest.mark.parametrize("key", ["shortcuts", "external", "subgroups", "stability"])
def test_sections_of_the_json_are_called_as_in_the_report(key: str) -> None:
    text = (ROOT / "docs/metrics-json.md").read_text("utf-8")
    (name,) = re.findall(rf"^## (.*): `{key}`$", text, flags=re.MULTILINE)
    assert name.casefold() in headings()
