from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from radiotrain.evaluation.report.context import CohortFlow, FoldCounts, LabelCounts
from radiotrain.evaluation.report.flow_diagram import flow_svg, flow_text

SCRIPT = "<script>alert(1)</script>"


def make_flow(*, num_reasons: int = 2, num_test: int = 20, **more: object) -> CohortFlow:
    """100 patients, one left out for the first reason, two for the second and so on."""
    excluded = tuple(
        (f"P{reason:02d}{k}", f"REASON_{reason:02d}", "why")
        for reason in range(1, num_reasons + 1)
        for k in range(reason)
    )
    rest = 200 - len(excluded) - num_test
    return CohortFlow(200, excluded, rest - 10, 10, num_test, **more)  # type: ignore[arg-type]


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter("text")]


def number_in(lines: list[str], start: str) -> int:
    found = re.match(rf"{start}: (\d+)", next(line for line in lines if line.startswith(start)))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("num_reasons", [0, 1, 12, 15])
def test_what_is_drawn_adds_up(num_reasons: int) -> None:
    flow = make_flow(num_reasons=num_reasons)
    lines = texts(flow_svg(flow))
    came, out, included = (number_in(lines, n) for n in ("Cohort", "Excluded", "Included"))
    development, test = (number_in(lines, n) for n in ("Development", "Sealed test"))
    assert came == 200
    assert out == sum(range(num_reasons + 1))
    assert came - out == included == development + test
    reasons = [int(m[1]) for line in lines if (m := re.match(r"(\d+) (?:×|for)", line))]
    assert sum(reasons) == out
    assert flow.mismatches == ()


def test_up_to_twelve_reasons_are_drawn_and_the_rarest_of_more_are_summed_up() -> None:
    twelve, fifteen = (texts(flow_svg(make_flow(num_reasons=n))) for n in (12, 15))
    assert sum("REASON_" in line for line in twelve) == 12
    assert sum("REASON_" in line for line in fifteen) == 11
    # The four rarest of fifteen have 1, 2, 3 and 4 patients.
    assert "10 for 4 other reasons" in fifteen


def test_with_nobody_left_out_the_diagram_says_so() -> None:
    lines = texts(flow_svg(make_flow(num_reasons=0)))
    assert {"Excluded: 0", "none"} <= set(lines)


def test_boxes_do_not_overlap_and_stay_inside() -> None:
    for num in (0, 3, 12, 15):
        labels = tuple(LabelCounts(f"T{k}", "test", 1, 18, 1) for k in range(num))
        root = ElementTree.fromstring(flow_svg(make_flow(num_reasons=num, labels=labels)))
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        boxes = [
            tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height"))
            for r in root.iter("rect")
        ]
        assert len(boxes) == 5
        for i, (x, y, w, h) in enumerate(boxes):
            assert x >= 0
            assert x + w <= width
            assert y + h <= height
            for x2, y2, w2, h2 in boxes[i + 1 :]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_names_are_escaped_and_the_diagram_has_a_title_and_a_description() -> None:
    flow = CohortFlow(
        3, (("a", SCRIPT, SCRIPT),), 1, 0, 1, labels=(LabelCounts(SCRIPT, "test", 1, 0, 0),)
    )
    svg = flow_svg(flow)
    assert "<script" not in svg
    root = ElementTree.fromstring(svg)
    named = {e.attrib["id"]: e.text for e in root if "id" in e.attrib}
    assert root.attrib["aria-labelledby"].split() == list(named)
    assert named["flow-desc"] == flow_text(flow)


def test_numbers_that_do_not_add_up_are_said() -> None:
    flow = CohortFlow(
        100,
        (("a", "CODE", "why"),),
        60,
        19,
        21,
        folds=(FoldCounts(0, 60, 19), FoldCounts(1, 60, 20)),
        labels=(LabelCounts("ER", "test", 10, 10, 1), LabelCounts("PR", "development", 1, 2, 3)),
    )
    first, fold, label = flow.mismatches
    assert "99 patients were included, but 100 are in the split's parts" in first
    assert "Fold 1 has 80 patients, but 79" in fold
    assert "PR has 6 labels" in label


def test_patients_in_no_part_of_the_split_are_drawn() -> None:
    flow = CohortFlow(10, (), 4, 2, 3)
    assert "1 of them in no part of the split" in texts(flow_svg(flow))
    assert len(flow.mismatches) == 1


def test_folds_and_labels_are_drawn() -> None:
    flow = CohortFlow(
        10,
        (),
        5,
        2,
        3,
        folds=(FoldCounts(0, 5, 2), FoldCounts(1, 4, 3)),
        labels=(LabelCounts("ER", "development", 3, 3, 1), LabelCounts("ER", "test", 1, 2, 0)),
    )
    lines = texts(flow_svg(flow))
    assert {
        "fold 0: 5 training, 2 validation",
        "fold 1: 4 training, 3 validation",
        "ER: 3 positive, 3 negative, 1 missing",
        "ER: 1 positive, 2 negative, 0 missing",
    } <= set(lines)
    assert flow.mismatches == ()
