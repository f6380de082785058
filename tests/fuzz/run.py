"""Reads changed files: each is read, or refused by an error of the product's own, within seconds."""

from __future__ import annotations

import random
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from preprocessing.common.errors import RadiotrainError
from tests.fuzz.formats import Format
from tests.fuzz.mutate import bytes_changed

_LIMIT_S = 20
_LONGEST_SENTENCE = 3000


@dataclass
class Count:
    """What came of the changed files of a kind."""

    tried: int = 0
    refused: int = 0
    findings: list[str] = field(default_factory=list)


class _TooSlowError(BaseException):
    """Not to be taken for an error of what is read."""


def fuzz(
    formats: Sequence[Format], num_inputs: int, seed: int, say: Callable[[str], Any]
) -> dict[str, Count]:
    """Read changed files of each kind in turn.

    Parameters
    ----------
    say
        Called with each finding once.
    """
    counts = {one.name: Count() for one in formats}
    wholes = {one.name: one.path.read_bytes() for one in formats}
    expected = {one.name: one.read() for one in formats}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turns = [one for one in formats for _ in range(one.weight)]
        for number in range(num_inputs):
            one = turns[number % len(turns)]
            rng = random.Random(f"{seed} {number}")
            change = rng.choice((bytes_changed, *one.changes, *one.changes))
            content = change(wholes[one.name], rng)
            must_match = one.has_checksum and change is bytes_changed
            one.path.write_bytes(content)
            count = counts[one.name]
            count.tried += 1
            finding = _try(one, count, expected[one.name], must_match)
            if finding is not None:
                _note(count, f"{one.name}, input {number} of seed {seed}: {finding}", say)
            one.path.write_bytes(wholes[one.name])
    return counts


def _try(one: Format, count: Count, expected: Any, must_match: bool) -> str | None:
    try:
        with _time_limit():
            found = one.read()
    except RadiotrainError as error:
        count.refused += 1
        text = str(error)
        if "\n" in text or len(text) > _LONGEST_SENTENCE:
            return f"not a sentence: {text[:300]!r}… of {len(text)} characters"
        return None
    except _TooSlowError:
        return f"took more than {_LIMIT_S} s"
    except Exception as error:  # noqa: BLE001 - what is looked for
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " ← ".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.lineno} {f.name}" for f in reversed(frames))  # fmt: skip
        return f"{type(error).__name__}: {str(error)[:200]} at {where}"
    if must_match and found != expected:
        return "was read as something else, without a word"
    return None


def _note(count: Count, finding: str, say: Callable[[str], Any]) -> None:
    kind = finding.split(": ", 1)[1]
    if all(kind != known.split(": ", 1)[1] for known in count.findings):
        say(finding)
    count.findings.append(finding)


@contextmanager
def _time_limit() -> Iterator[None]:
    def too_slow(number: int, frame: FrameType | None) -> None:
        raise _TooSlowError

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, _LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
