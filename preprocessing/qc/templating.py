"""How the pages' templates are filled in. All text is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

from preprocessing.page import make_environment

_LABELS = {0: "negative", 1: "positive"}
_SIGNS = {0: "−", 1: "+"}


def render(template: str, **values: Any) -> str:
    """Return a template of this package with its values filled in."""
    page = _environment().get_template(template).render(**values)
    # Ids may hold what UTF-8 cannot, such as the halves of a badly decoded letter.
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _environment() -> jinja2.Environment:
    filters = {
        "label": lambda value: _LABELS.get(value, "missing"),
        "sign": lambda value: _SIGNS.get(value, "?"),
        "short": short_number,
        "signed": lambda value: f"{value:+.0f} %".replace("-", "−"),
    }
    return make_environment(jinja2.PackageLoader("preprocessing.qc"), filters)


def short_number(value: object, digits: int = 4) -> str:
    """Return a covariate's or intensity's value with no more digits than help."""
    if isinstance(value, float):
        text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
        return text.replace("-", "−")
    return "–" if value is None else str(value)
