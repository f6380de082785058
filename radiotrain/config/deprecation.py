"""Warn about old names of settings and options."""

from __future__ import annotations

import logging
from collections.abc import Mapping

_log = logging.getLogger(__name__)


def warn_renamed(source: str, renamed: Mapping[str, str]) -> None:
    """Warn about old names, in one sentence for all in one place.

    Parameters
    ----------
    source
        Where they stand: a file, or a command.
    renamed
        New name by old name.
    """
    if renamed:
        names = ", ".join(f"{old} is now {new}" for old, new in renamed.items())
        _log.warning("%s: %s; the next release refuses the old name", source, names)
