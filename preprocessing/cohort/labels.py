"""How tables write a receptor's status: 0 and 1, words of several languages, scores of IHC.

A column is judged as a whole: 1 beside 2 and 3, or beside ``2+``, may be a score, and is then asked
for instead of guessed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preprocessing.cohort.cohort import MISSING_LABEL, Finding
from preprocessing.cohort.values import is_missing, parse_number
from preprocessing.common.errors import InputError
from preprocessing.common.redaction import shown_cell

_POSITIVE_TEXT = "1 true yes ja oui si sí pos positive positiv positif positivo present vorhanden +"
_POSITIVE = frozenset(_POSITIVE_TEXT.split())
_NEGATIVE_TEXT = "0 false no nein non neg negative negativ négatif negatif negativo absent"
_NEGATIVE = frozenset(_NEGATIVE_TEXT.split())
# In HER2 the number of crosses is the score of IHC: 2+ is equivocal until FISH tells.
_HER2_POSITIVE, _HER2_NEGATIVE = frozenset({"3+", "+++"}), frozenset({"0+", "1+"})
_EQUIVOCAL = frozenset({"2+", "++", "equivocal", "borderline", "grenzwertig"})
_STAINED = frozenset({"2+", "3+", "++", "+++"})
_SCORES = frozenset({"0+", "1+", "2+", "3+", "++", "+++"})
_MISSING = frozenset({
    "?", "unknown", "unk", "unbekannt", "missing", "n.a", "n.d", "nd", "k.a", "keine angabe", "n.b",
    "nicht bestimmt", "not done", "not available", "not applicable", "not assessed", "not determined",
    "not known", "not tested", "not reported", "not performed", "unavailable", "pending", "<na>",
})  # fmt: skip
# Numbers that registries write where nothing is known; 77 and 88 may be percentages.
_MISSING_CODES_TEXT = "9 99 999 9999 -2 -9 -99 -999 -9999"
_MISSING_CODES = frozenset(_MISSING_CODES_TEXT.split())
_SIGNS = str.maketrans({"−": "-", "–": "-", "—": "-", "‐": "-", "＋": "+", "﹢": "+", "⁺": "+"})
_SCORE = re.compile(r"(?:ihc|score|ihc score)?[ :=]*\(?(?:([0-3]) ?\+|\+ ?([1-3]))\)?")
_SCALE = re.compile(r"[<>≤≥~]?\s*[-+]?\d")
_DAY = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}")
_EQUIVOCAL_LABEL = 2
_VALUES = {"0": 0, "1": 1, "missing": MISSING_LABEL}
_MOST_LISTED = 8


@dataclass(frozen=True)
class LabelColumn:
    """A column of labels.

    Parameters
    ----------
    labels
        0, 1 or -1 (missing) of each cell.
    findings
        Of each cell: why it is missing though it is not empty; None elsewhere.
    notes
        What a person should know of the whole column.
    """

    labels: tuple[int, ...]
    findings: tuple[Finding | None, ...]
    notes: tuple[str, ...] = ()


def parse_told(text: str) -> tuple[str, str, int]:
    """Return target, word and label of ``--label TARGET:WORD=0``, ``=1`` or ``=missing``.

    Raises
    ------
    InputError
        If it is not of that form.
    """
    left, equals, value = text.rpartition("=")
    target, colon, word = left.partition(":")
    if not (equals and colon and target.strip()) or value.strip().lower() not in _VALUES:
        raise InputError(
            f"--label is {text!r}, expected TARGET:WORD=0, TARGET:WORD=1 or TARGET:WORD=missing, e.g."
            " HER2:2+=missing"
        )
    return target.strip(), word.strip(), _VALUES[value.strip().lower()]


def read_label_column(
    cells: Sequence[str],
    target: str,
    title: str,
    *,
    told: Mapping[str, int] | None = None,
    equivocal: frozenset[str] = frozenset(),
    numbers: Sequence[int] | None = None,
) -> LabelColumn:
    """Read a column of labels as a whole.

    Parameters
    ----------
    title
        What messages call the table.
    told
        What words of this column mean, as the user says.
    equivocal
        Codes that the collection's code book explains as borderline.
    numbers
        Line or row of each cell, for messages.

    Raises
    ------
    InputError
        If 1 (or, in HER2, +) may be a score as well as a positive result.
    """
    known = {_word(word, target): label for word, label in (told or {}).items()}
    words = [_word(cell, target) for cell in cells]
    counts = Counter(word for word in words if word not in known)
    meaning = {word: _meaning(word, target, counts, equivocal) for word in counts} | known
    _refuse_ambiguous(counts, meaning, target, title)
    labels, findings = [], []
    for cell, word in zip(cells, words, strict=True):
        label = meaning[word]
        labels.append(label if label in (0, 1) else MISSING_LABEL)
        findings.append(_finding(cell, target, label))
    notes = _notes(words, cells, meaning, counts, target, numbers)
    unused = [w for w in (told or {}) if _word(w, target) not in words]
    notes += [f"{target}: --label {target}:{w} has no effect: no cell is that" for w in unused]
    return LabelColumn(tuple(labels), tuple(findings), tuple(notes))


def _word(cell: str, target: str) -> str:
    """Return a cell as a word to look up: case, blanks, dashes and the target's own name aside."""
    text = " ".join(str(cell).translate(_SIGNS).casefold().split()).rstrip(".")
    if score := _SCORE.fullmatch(text):
        return f"{score[1] or score[2]}+"
    if is_missing(text):
        return ""
    number = parse_number(text)
    if number is not None:
        return f"{number:.10g}"
    name = target.casefold()
    if text.startswith(name) and len(text) > len(name):
        rest = text[len(name) :].lstrip(" :=_")
        if rest == "-" or rest.lstrip("- ") in _NEGATIVE:
            return "neg"
        if rest.lstrip("- ") in _POSITIVE:
            return "pos"
    return text


def _meaning(
    word: str, target: str, counts: Mapping[str, int], equivocal: frozenset[str]
) -> int | None:
    """Return 0, 1, -1 (missing), 2 (equivocal), or None where the word is not understood."""
    if not word or word in _MISSING:
        return MISSING_LABEL
    if word in equivocal:
        return _EQUIVOCAL_LABEL
    is_her2 = "her2" in target.casefold() or "erbb2" in target.casefold()
    if word in _POSITIVE or word in (_HER2_POSITIVE if is_her2 else _STAINED):
        return 1
    if word in _NEGATIVE or (is_her2 and word in _HER2_NEGATIVE):
        return 0
    if word in _EQUIVOCAL and (is_her2 or "+" not in word):
        return _EQUIVOCAL_LABEL
    if word == "-" and "+" in counts and not _NEGATIVE & set(counts):
        return 0
    return None


def _refuse_ambiguous(
    counts: Mapping[str, int], meaning: Mapping[str, int | None], target: str, title: str
) -> None:
    is_her2 = "her2" in target.casefold()
    scores = {w for w in counts if w in _SCORES}
    scales = {
        w for w in counts
        if meaning[w] is None and w not in _MISSING_CODES and _SCALE.match(w) and not _DAY.match(w)
    }  # fmt: skip
    for word, beside in (("1", scores | scales), ("+", scores if is_her2 else set())):
        if counts.get(word) and beside:
            others = sorted(beside)
            raise InputError(
                f"column {target} of {title} has {word} ({_cells(counts[word])}) beside"
                f" {_listed([(w, counts[w]) for w in others])}: {word} may be positive or a score, say"
                f" which by --label {target}:{word}=1 or --label {target}:{word}=0, and map the others"
            )


def _finding(cell: str, target: str, label: int | None) -> Finding | None:
    if label == _EQUIVOCAL_LABEL:
        message = f"{target} is {shown_cell(cell)}, which is equivocal: taken as missing"
        return Finding("label-unknown", message, excludes=False)
    if label is None:
        message = f"{target} is {shown_cell(cell)}, expected 0, 1 or empty: taken as missing"
        return Finding("label-unknown", message, excludes=False)
    return None


def _notes(
    words: Sequence[str],
    cells: Sequence[str],
    meaning: Mapping[str, int | None],
    counts: Mapping[str, int],
    target: str,
    numbers: Sequence[int] | None,
) -> list[str]:
    notes = []
    unknown: dict[str, list[int]] = {}
    for i, word in enumerate(words):
        if meaning[word] is None or meaning[word] == _EQUIVOCAL_LABEL:
            unknown.setdefault(word, []).append(i)
    if unknown:
        entries = []
        for places in sorted(unknown.values(), key=len, reverse=True)[:_MOST_LISTED]:
            shown = shown_cell(cells[places[0]])
            # Of a text that may be anybody's name, the place tells which it is.
            where = (
                f", first in line {numbers[places[0]]}" if numbers and "text of" in shown else ""
            )
            entries.append(f"{shown} ({_cells(len(places))}{where})")
        more = (
            f" and {len(unknown) - _MOST_LISTED} other words" if len(unknown) > _MOST_LISTED else ""
        )
        num_cells = sum(map(len, unknown.values()))
        notes.append(
            f"{target}: {_cells(num_cells)} neither positive nor negative, taken as missing:"
            f" {', '.join(entries)}{more}; map a word with --label {target}:WORD=0, =1 or =missing"
        )
    codes = [c for c in cells if str(c).translate(_SIGNS).strip() in ("-1", "-1.0")]
    if codes and 1 in meaning.values() and 0 not in meaning.values():
        notes.append(
            f"{target}: -1 is taken as missing ({_cells(len(codes))}), and no cell is negative; if it means"
            " negative, replace it with 0"
        )
    if counts.get("-") and meaning["-"] == 0:
        notes.append(
            f"{target}: - is taken as negative, as it stands beside + ({_cells(counts['-'])})"
        )
    return notes


def _listed(entries: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{shown_cell(word)} ({_cells(n)})" for word, n in entries[:_MOST_LISTED])
    return shown + (
        f" and {len(entries) - _MOST_LISTED} more" if len(entries) > _MOST_LISTED else ""
    )


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
