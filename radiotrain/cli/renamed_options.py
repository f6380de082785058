"""Old names of options, accepted for one release with a warning."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from preprocessing.common.errors import InputError
from radiotrain.config.deprecation import warn_renamed

# New name by old name, for every command that has an option of the new name.
RENAMED_OPTIONS = {
    "--by": "--group-by",
    "--every": "--interval",
    "--how": "--strategy",
    "--on": "--backend",
    "--unfinished": "--allow-unfinished",
}


class Command(TyperCommand):
    """A command that also takes the old names of its options, which its help does not list."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """Return the context of a call, with new names in the place of old ones."""
        words, renamed = self._with_new_names(args)
        if not extra.get("resilient_parsing"):
            source = f"{parent.command_path} {info_name}" if parent else str(info_name)
            warn_renamed(source, renamed)
        return super().make_context(info_name, words, parent, **extra)

    def _with_new_names(self, args: list[str]) -> tuple[list[str], dict[str, str]]:
        own = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        end = args.index("--") if "--" in args else len(args)
        given = {word.partition("=")[0] for word in args[:end]}
        words, renamed = list(args), {}
        for number, word in enumerate(args[:end]):
            old, equals, value = word.partition("=")
            new = RENAMED_OPTIONS.get(old)
            if new is None or new not in own or old in own:
                continue
            if new in given:
                raise InputError(f"got {old} and {new}, two names of one option: leave out {old}")
            words[number] = f"{new}{equals}{value}"
            renamed[old] = new
        return words, renamed
