"""What MkDocs calls: pages and pictures that are made, and links that lead out of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from radiotrain.evaluation.published import PUBLISHED
from website.commands import commands_page
from website.configuration import configuration_pages
from website.docstrings import insert_docstrings
from website.flow_picture import draw_flow
from website.imports_picture import draw_imports
from website.python_page import python_page

ROOT = Path(__file__).parents[1]
# Files outside docs/ that are pages of the site, too.
BROUGHT_IN = {
    "CONTRIBUTING.md": "generated/contributing.md",
    "SECURITY.md": "generated/security.md",
    "CHANGELOG.md": "generated/changes.md",
    "cluster/monitoring/README.md": "generated/monitoring.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add what is made."""
    made: dict[str, str | bytes] = {
        "generated/commands.md": commands_page(),
        "generated/decisions.md": decisions_page(),
        "generated/python.md": python_page(),
        **configuration_pages(),
        "images/imports.svg": draw_imports(),
        "images/data-flow.svg": draw_flow(),
    }
    made |= {page: (ROOT / source).read_text() for source, page in BROUGHT_IN.items()}
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Put docstrings in their places, and let links lead to where their pages are here."""
    made = markdown.replace("<!-- published -->", published_table())
    return link_here(insert_docstrings(made), page.file.src_uri)


def published_table() -> str:
    """Return the rows of the literature that reports show."""
    lines = [
        "| target | method | source | AUC (95 % CI) | sensitivity | specificity |",
        "|---|---|---|---|---|---|",
    ]
    for row in PUBLISHED:
        calls = ["" if v is None else f"{v:.3f}" for v in (row.sensitivity, row.specificity)]
        auc = f"{row.auc:.3f} ({row.auc_ci95[0]:.3f}–{row.auc_ci95[1]:.3f})"
        lines.append(
            f"| {row.target} | {row.method} | {row.source} | {auc} | {' | '.join(calls)} |"
        )
    return "\n".join(lines)


def decisions_page() -> str:
    """Return the list of decisions, by their own headings."""
    lines = [
        "# Decisions",
        "",
        "Half a page each: context, options, choice, what would change it.",
        "",
    ]
    for path in sorted((ROOT / "docs/decisions").glob("*.md")):
        number, title = re.fullmatch(r"# (\d+)\. (.+)", path.read_text().split("\n")[0]).groups()  # type: ignore[union-attr]
        lines.append(f"{number}. [{title}](../decisions/{path.name})")
    return "\n".join(lines) + "\n"


def link_here(markdown: str, page: str) -> str:
    """Rewrite links between files of the repository as links between pages of the site.

    Parameters
    ----------
    page
        Where the text is in the site.
    """
    source = {place: name for name, place in BROUGHT_IN.items()}.get(page, f"docs/{page}")

    def rewrite(found: re.Match[str]) -> str:
        target, hash_sign, anchor = found[1].partition("#")
        if not target or "://" in target:
            return found[0]
        named = (ROOT / source).parent.joinpath(target).resolve()
        if not named.is_relative_to(ROOT) or not named.exists():
            return found[0]
        inside = named.relative_to(ROOT).as_posix()
        place = BROUGHT_IN.get(inside, inside.removeprefix("docs/"))
        up = "../" * page.count("/")
        return f"]({up}{place}{hash_sign}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", rewrite, markdown)
