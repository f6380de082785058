"""What every HTML page of the program shares: how its templates are rendered, and its pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def make_environment(
    loader: jinja2.BaseLoader, filters: Mapping[str, Callable[..., Any]]
) -> jinja2.Environment:
    """Return where templates are rendered: all text is escaped, undefined values raise."""
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= dict(filters)
    return environment


def figure_svg(figure: Figure, **settings: Any) -> str:
    """Return a figure as SVG text without the date: the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, **settings)
    return buffer.getvalue().decode("utf-8")


def data_uri(picture: bytes, kind: str = "svg+xml") -> str:
    """Return a picture as an address that holds the picture itself."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
