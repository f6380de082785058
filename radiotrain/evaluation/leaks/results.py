"""What the search for leaks finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["clear", "found", "not done"]


@dataclass(frozen=True)
class LeakCheck:
    """One question that is asked each time a test set is opened or a table judged.

    Parameters
    ----------
    question
        What would be a leak.
    outcome
        ``not done`` where what it needs was not given.
    sentence
        What was looked at, or why nothing could be.
    findings
        A sentence for each thing found, the worst first.
    """

    question: str
    outcome: Outcome
    sentence: str
    findings: tuple[str, ...] = ()

    @classmethod
    def of(cls, question: str, looked_at: str, findings: tuple[str, ...]) -> LeakCheck:
        """Return a check that was done."""
        return cls(question, "found" if findings else "clear", looked_at, findings)
