"""The page of commands: what ``--help`` says, of all of them."""

from __future__ import annotations

from typer.cli import get_docs_for_click

from radiotrain.cli import command_line


def commands_page() -> str:
    """Return the page, as Typer writes it, with a first sentence."""
    command = command_line()
    with command.make_context("radiotrain", [], resilient_parsing=True) as context:
        text = get_docs_for_click(obj=command, ctx=context, name="radiotrain")
    heading, _, rest = text.partition("\n")
    return (
        f"# Commands\n\nWhat `radiotrain COMMAND --help` says, of all commands.\n"
        f"{heading.replace('# ', '## ')}\n{_one_level_down(rest)}"
    )


def _one_level_down(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(f"#{line}" if line.startswith("##") else line for line in lines) + "\n"
