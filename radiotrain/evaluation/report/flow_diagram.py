"""Flow diagram of patients.

References
----------
After the flow diagram of STARD 2015 (Bossuyt et al., BMJ 351 (2015) h5527).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from radiotrain.evaluation.report.context import CohortFlow, LabelCounts

_WIDTH = 760
_LINE = 19
_PADDING = 12
_GAP = 34
_MOST_LINES = 12
_MOST_CHARACTERS = 46

_LEFT, _RIGHT = 10, 400
"""Where the two columns begin."""

_COLUMN = 350


@dataclass(frozen=True)
class _Box:
    x: int
    y: int
    kind: str
    heading: str
    lines: tuple[str, ...]

    @property
    def height(self) -> int:
        return 2 * _PADDING + _LINE * (1 + len(self.lines))

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def middle(self) -> int:
        return self.x + _COLUMN // 2

    def draw(self) -> str:
        top = self.y + _PADDING + 14
        texts = [f'<text class="head" x="{self.x + 14}" y="{top}">{_safe(self.heading)}</text>']
        texts += [
            f'<text x="{self.x + 14}" y="{top + _LINE * k}">{_safe(line)}</text>'
            for k, line in enumerate(self.lines, start=1)
        ]
        return (
            f'<rect class="{self.kind}" x="{self.x}" y="{self.y}" width="{_COLUMN}"'
            f' height="{self.height}" rx="6"/>{"".join(texts)}'
        )


def flow_svg(flow: CohortFlow) -> str:
    """Draw the flow of patients as SVG text; all text in it is escaped.

    Parameters
    ----------
    flow
        Of more reasons for exclusion than there is room for, the rarest are summed up.

    Returns
    -------
    One ``<svg>`` element, to stand in a page whose style knows its classes.
    """
    came = _Box(_LEFT, 10, "in", f"Cohort: {_patients(flow.num_patients)}", ())
    out = _Box(_RIGHT, 10, "out", f"Excluded: {len(flow.excluded)}", _reasons(flow))
    # The box below begins where both above have ended, so that nothing overlaps.
    y = max(came.bottom, out.bottom) + _GAP
    included = _Box(_LEFT, y, "in", f"Included: {_patients(flow.num_included)}", _unused(flow))
    y = included.bottom + _GAP
    development = _Box(
        _LEFT, y, "in", f"Development: {_patients(flow.num_development)}", _development(flow)
    )
    test = _Box(_RIGHT, y, "test", f"Sealed test: {_patients(flow.num_test)}", _test(flow))
    boxes: tuple[_Box, ...] = (came, out, included, development, test)
    if flow.outer:
        # No patient is for development only: one box in the place of two.
        test = _Box(_LEFT, y, "test", f"Cross-validated test: {flow.num_test}", _outer(flow))
        development, boxes = test, (came, out, included, test)
    height = max(development.bottom, test.bottom) + 10
    return (
        f'<svg class="flow" role="img" aria-labelledby="flow-title flow-desc"'
        f' viewBox="0 0 {_WIDTH} {height}">'
        f'<title id="flow-title">Flow of patients</title>'
        f'<desc id="flow-desc">{_safe(flow_text(flow), None)}</desc>'
        f"{_arrows(came, out, included, test, development)}"
        f"{''.join(box.draw() for box in boxes)}</svg>"
    )


def flow_text(flow: CohortFlow) -> str:
    """Return what the diagram shows, in one sentence."""
    reasons = ", ".join(f"{code} {num}" for code, num in flow.excluded_by_code)
    why = f" ({reasons})" if reasons else ""
    return (
        f"{_patients(flow.num_patients)} in the cohort, {len(flow.excluded)} excluded{why},"
        f" {flow.num_included} included: {flow.divided}."
    )


def _arrows(came: _Box, out: _Box, included: _Box, test: _Box, development: _Box) -> str:
    across = came.y + came.height // 2
    fork = included.bottom + _GAP // 2
    return "".join(
        (
            _arrow((came.middle, came.bottom), (came.middle, included.y)),
            _arrow((_LEFT + _COLUMN, across), (out.x, across)),
            _arrow((included.middle, included.bottom), (included.middle, development.y)),
            *(
                [_arrow((included.middle, fork), (test.middle, fork), (test.middle, test.y))]
                if test is not development
                else []
            ),
        )
    )


def _arrow(*points: tuple[int, int]) -> str:
    """Draw a line with a head at its last point; markers are left out, as they need an address."""
    path = " ".join(f"{x},{y}" for x, y in points)
    (x0, _), (x, y) = points[-2:]
    down = x0 == x
    head = f"{x - 5},{y - 8} {x + 5},{y - 8}" if down else f"{x - 8},{y - 5} {x - 8},{y + 5}"
    return f'<polyline class="line" points="{path}"/><polygon points="{x},{y} {head}"/>'


def _reasons(flow: CohortFlow) -> tuple[str, ...]:
    reasons = flow.excluded_by_code
    shown = reasons if len(reasons) <= _MOST_LINES else reasons[: _MOST_LINES - 1]
    lines = [f"{num} × {code}" for code, num in shown]
    rest = reasons[len(shown) :]
    if rest:
        lines.append(f"{sum(num for _, num in rest)} for {len(rest)} other reasons")
    return tuple(lines) or ("none",)


def _unused(flow: CohortFlow) -> tuple[str, ...]:
    rest = flow.num_included - flow.num_development - flow.num_test
    return (f"{rest} of them in no part of the split",) if rest > 0 else ()


def _development(flow: CohortFlow) -> tuple[str, ...]:
    return (*_folds(flow), *_labels([c for c in flow.labels if c.part == "development"]))


def _folds(flow: CohortFlow) -> tuple[str, ...]:
    if not flow.folds:
        return (f"{flow.num_train} training, {flow.num_validation} validation",)
    if len(flow.folds) > _MOST_LINES:
        return (f"{len(flow.folds)} folds for cross-validation",)
    return tuple(
        f"fold {f.fold}: {f.num_train} training, {f.num_validation} validation" for f in flow.folds
    )


def _test(flow: CohortFlow) -> tuple[str, ...]:
    return _labels([counts for counts in flow.labels if counts.part == "test"])


def _outer(flow: CohortFlow) -> tuple[str, ...]:
    lines = tuple(
        f"part {c.number}: {c.num_test} of {c.num_test + c.num_development}" for c in flow.outer
    )
    if len(lines) > _MOST_LINES:
        lines = (f"{len(lines)} outer parts, each tested by its own models",)
    return (*lines, *_test(flow))


def _labels(counts: Sequence[LabelCounts]) -> tuple[str, ...]:
    return tuple(
        f"{c.target}: {c.num_positive} positive, {c.num_negative} negative, {c.num_missing} missing"
        for c in counts
    )


def _patients(num: int) -> str:
    return f"{num} patient{'' if num == 1 else 's'}"


def _safe(text: str, most: int | None = _MOST_CHARACTERS) -> str:
    if most is not None and len(text) > most:
        text = f"{text[: most - 1]}…"
    return escape(text, {'"': "&quot;"})
