"""Pages as a browser would see them: parsed, with their pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocessing.qc.folder import file_names
from preprocessing.qc.pages import Written, write_pages
from preprocessing.store import Store


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]

    def number(self, name: str) -> float:
        return float(self.attributes[name])


class Page(HTMLParser):
    """All elements in order, and all text that is shown."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[Element] = []
        self.text = ""
        self._hidden = False
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {k: v or "" for k, v in attrs}))
        self._hidden = tag in ("script", "style")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data

    def find(self, tag: str, css: str | None = None) -> list[Element]:
        return [
            e
            for e in self.elements
            if e.tag == tag and (css is None or css in e.attributes.get("class", "").split())
        ]

    def link(self, name: str) -> Path | None:
        for element in self.find("a"):
            if element.attributes.get("id") == name:
                return (self.path.parent / element.attributes["href"]).resolve()
        return None

    def pixels(self, image: Element, height: int, width: int) -> NDArray[np.uint8]:
        """Return the part of the sheet that an SVG image shows."""
        opened = np.asarray(Image.open(self.path.parent / image.attributes["href"]))
        assert opened.shape == (image.number("height"), image.number("width"))
        x, y = -int(image.number("x")), -int(image.number("y"))
        return opened[y : y + height, x : x + width]


@dataclass
class Pages:
    store: Store
    written: Written

    @property
    def folder(self) -> Path:
        return self.written.index.parent

    @property
    def index(self) -> Page:
        return Page(self.written.index)

    def of(self, patient_id: str) -> Page:
        (name,) = (
            n
            for n, p in zip(file_names(self.store.patient_ids), self.store.patient_ids, strict=True)
            if p == patient_id
        )
        return Page(self.folder / "patients" / f"{name}.html")

    def all(self) -> list[Page]:
        return [self.index, *(self.of(p) for p in self.store.patient_ids)]


def write(store: Store, out: Path, num_workers: int = 1) -> Pages:
    return Pages(store, write_pages(store, out, num_workers, silent))


@contextmanager
def silent(description: str, total: int) -> Iterator[object]:
    yield lambda: None
