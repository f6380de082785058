"""What all pages of a report print: standard terms, no patient, no path; every answer has its place."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from radiotrain.evaluation.numbers import ci_text, interval, number, p_value, signed
from radiotrain.evaluation.report.places import last_name, without_paths
from tests.unit.evaluation.rich_report import (
    full_table,
    patient_ids,
    write_full_report,
    write_table_report,
)

# The left column of the terms that this field has other words for.
FORBIDDEN = (
    r"\bcoins?\b|told from|as promised|\bpromised?\b|\bopenings?\b|\bclears?\b|\bcleared\b|by heart"
    r"|dealt out|without a network|calls? everyone|\bcalls\b|\bnobody\b|\bsomebody\b|\bwho(m|se)? [a-z]+ed\b"
    r"|less that of|\blacks\b|\blacking\b|turned round|the wrong way round"
    r"|come out the same|Tumour, or scanner|hold for everyone|goes on|falls behind|has no place"
    r"|four of five|least sure|surest|known to within|found less|belie(f|ve)|by chance gives"
    r"|anyone|can show from|is called|can be read|95 %|\d %"
)
VOID = {"img", "meta", "br", "hr", "input", "link"}


class Text(HTMLParser):
    """The text of a page, with alternative texts and titles, without style; and its structure."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.headings: list[int] = []
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.boxes: list[str] = []
        self.unboxed = 0
        self.feed(html)
        self.text = " ".join(" ".join(self.parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.parts += [
            values[name] or "" for name in ("alt", "title", "aria-label") if name in values
        ]
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if values.get("id"):
            self.anchors.add(values["id"] or "")
        if tag == "a":
            self.links.append(values.get("href") or "")
        if tag == "img":
            self.images.append(values)
        if tag == "table" and "scroll" not in self.boxes:
            self.unboxed += 1
        if tag not in VOID:
            self.open.append(tag)
            self.boxes.append(values.get("class") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                self.boxes.pop()
            self.boxes.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.parts.append(data)


@pytest.fixture(scope="module", params=["full", "table"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    (write_full_report if request.param == "full" else write_table_report)(out)
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> Text:
    return Text((folder / "report.html").read_text("utf-8"))


@pytest.mark.parametrize("name", ["report.html", "model-card.md", "checklists.csv"])
def test_texts_have_the_field_s_terms(folder: Path, name: str) -> None:
    text = (folder / name).read_text("utf-8")
    text = Text(text).text if name.endswith("html") else text
    found = [text[max(0, m.start() - 50) : m.end() + 30] for m in re.finditer(FORBIDDEN, text)]
    assert found == []


@pytest.mark.parametrize("name", ["report.html", "model-card.md", "checklists.csv", "metrics.json"])
def test_nothing_names_a_place_of_the_machine_or_a_patient(folder: Path, name: str) -> None:
    text = (folder / name).read_text("utf-8")
    assert "ada" not in re.findall(r"[a-z]+", text.replace("\\n", " "))
    assert not re.search(r"(/home|/tmp|/root|/work)/", text)
    assert "ZQ-" not in text


def test_patients_are_named_in_tables_of_their_own(tmp_path: Path) -> None:
    write_full_report(tmp_path)
    named = {
        "excluded.csv": {"ZQ-EX-0001"},
        "leaks.csv": {"ZQ-TE-0001", "ZQ-VA-0002"},
        "saliency.csv": {patient_ids("test")[0]},
        "uncertainty.csv": set(patient_ids("test")),
    }
    page = Text((tmp_path / "report.html").read_text("utf-8"))
    for name, ids in named.items():
        assert set(pd.read_csv(tmp_path / name)["patient_id"]) == ids
        assert name in page.text
    # What a later report has not is gone.
    write_table_report(tmp_path)
    assert not any((tmp_path / name).exists() for name in list(named)[:3])


def test_headings_go_down_one_level_at_a_time_and_pictures_say_their_numbers(page: Text) -> None:
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    assert all(re.search(r"\d\.\d\d|Three slices", image.get("alt") or "") for image in page.images)
    assert page.images


def test_tables_scroll_inside_a_box_of_their_own(page: Text) -> None:
    assert page.unboxed == 0


def test_links_lead_to_what_is_there(folder: Path, page: Text) -> None:
    for link in page.links:
        file, _, anchor = link.partition("#")
        there = page if not file else Text((folder / file).read_text("utf-8"))
        assert anchor in there.anchors


def test_each_answer_of_a_checklist_names_a_place_that_is_there(folder: Path, page: Text) -> None:
    rows = list(csv.DictReader(io.StringIO((folder / "checklists.csv").read_text("utf-8"))))
    for row in rows:
        file, _, anchor = row["where"].partition("#")
        assert row["answered by"] != "run" or row["where"], row
        if file:
            assert (folder / file).exists(), row
        if anchor:
            assert anchor in page.anchors, row


def answers(folder: Path) -> dict[tuple[str, str], str]:
    rows = csv.DictReader(io.StringIO((folder / "checklists.csv").read_text("utf-8")))
    return {(row["checklist"], row["item"]): row["answered by"] for row in rows}


@pytest.mark.parametrize(
    ("checklist", "item"),
    [
        ("CLAIM 2024", "19"),  # assignment to partitions
        ("CLAIM 2024", "20"),  # level at which they are disjoint
        ("CLAIM 2024", "30"),  # robustness
        ("CLAIM 2024", "31"),  # explainability
        ("CLAIM 2024", "36"),  # characteristics by partition
        ("CLAIM 2024", "38"),  # sensitivity and specificity, which need a threshold
        ("CLAIM 2024", "39"),  # failures
        ("TRIPOD+AI", "12d"),  # heterogeneity
        ("TRIPOD+AI", "12f"),  # recalibration
        ("TRIPOD+AI", "23a"),  # subgroups
        ("METRICS", "18"),  # proper partitions
        ("METRICS", "19"),  # confounding
        ("METRICS", "24"),  # beside an approach without images
    ],
)
def test_a_table_alone_answers_nothing_that_it_does_not_hold(
    tmp_path: Path, checklist: str, item: str
) -> None:
    write_table_report(tmp_path)
    assert answers(tmp_path)[checklist, item] == "author"


def test_the_published_pictures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_full_report(tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "first" / "plots").iterdir())
    assert {"overview.pdf", "overview.png", "overview.svg"} <= set(names)
    for name in names:
        first, second = ((tmp_path / n / "plots" / name).read_bytes() for n in ("first", "second"))
        assert first == second
        assert len(first) < 400_000
        if name.endswith(".png"):
            # 300 dpi, as dots a metre in the chunk pHYs.
            at = first.index(b"pHYs") + 4
            assert int.from_bytes(first[at : at + 4], "big") == pytest.approx(300 / 0.0254, abs=1)


def test_counts_of_few_patients_are_not_in_the_table_of_characteristics(tmp_path: Path) -> None:
    write_full_report(tmp_path)
    html = (tmp_path / "report.html").read_text("utf-8")
    table = html[html.index("Table 1.") : html.index("</table>", html.index("Table 1."))]
    rows = {
        re.sub(r"<.*?>", "", name): re.findall(r'<td class="n">(.*?)</td>', row)
        for name, row in re.findall(r"<tr>(<td>.*?</td>)(.*?)</tr>", table, re.DOTALL)
    }
    # Two of 90 test patients: the other cell would give them away.
    assert rows["all others"] == ["0 (0%)", "&lt;5"]
    assert rows["post"] == ["60 (100%)", "≥5"]
    labels = full_table().drop_duplicates(["patient_id"]).groupby("split")["label"].sum()
    assert rows["positive"][0].startswith(f"{labels['validation']} ")
    assert rows["positive"][1].startswith(f"{labels['test']} ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("in sweep /home/ada/out/sweep, trained", "in sweep sweep, trained"),
        ("'/home/ada/my study/x.zarr' is there", "'x.zarr' is there"),
        ("s3://bucket/ada/store.zarr: no answer", "store.zarr: no answer"),
        ("path=C:\\Users\\ada\\x.zarr", "path=x.zarr"),
        ("~/runs/ER and ~ada/runs/PR", "ER and PR"),
        (r"on \\server\ada\x.csv", "on x.csv"),
        # No places.
        ("ER/PR, 1/2, and/or, a / b, 1.5 T/3 T", "ER/PR, 1/2, and/or, a / b, 1.5 T/3 T"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("see https://doi.org/10.1/x", "see https://doi.org/10.1/x"),
        ("data:image/jpeg;base64,+/abc", "data:image/jpeg;base64,+/abc"),
    ],
)
def test_paths_are_shortened_to_their_last_names(text: str, expected: str) -> None:
    assert without_paths(text) == expected
    assert without_paths({"a": (text,)}) == {"a": (expected,)}


def test_a_setting_that_is_a_place_is_one_as_a_whole() -> None:
    assert without_paths({"out": "/home/ada/my study, 2/run"}) == {"out": "run"}
    assert without_paths({"weights": ["abc"], "split": None}) == {"weights": ["abc"], "split": None}
    assert last_name("/home/ada/x.zarr/") == "x.zarr"


def test_numbers_are_written_after_the_ama_style() -> None:
    assert ci_text(0.7, (0.61, 0.78)) == "0.70 (95% CI, 0.61 to 0.78)"
    assert [number(v) for v in (None, -0.001, -0.5, 1.0)] == ["–", "0.00", "−0.50", "1.00"]
    assert interval((-0.101, 0.2), 3) == "−0.101 to 0.200"
    assert [signed(v) for v in (0.02, -0.02, -0.0)] == ["+0.020", "−0.020", "0.000"]
    values = (0.0004, 0.0012, 0.0304, 0.0496, 0.0504, 0.2, 0.995, 1.0, None)
    expected = ["<.001", ".001", ".03", ".050", ".050", ".20", ">.99", ">.99", "–"]
    assert [p_value(v) for v in values] == expected
