"""The words of a column's name, in the ways in which it can be read.

``ERstatus``, ``er_status``, ``ER-Status`` and ``erstatus`` are the same two words; ``ErVisits`` and
``Östrogenrezeptor`` are read, too. A name has several readings, as capitals do not say where a word ends
(``ERStatus``, ``ERstatus``), and umlauts are written in two ways.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Short forms that are written without a gap before or after another word.
_CODES = _words(
    "er pr pgr her her2 hr tn ar re rp neu esr erbb ihc fish cish sish dish rs ror os dfs ddfs pfs rfs efs"
    " idfs drfs bcss dmfs ttp pcr rcb irs nac nact allred lum arm event vital triple tripel hormone hormon"
    " receptor rezeptor surv recur death died alive residual distant fu bci tnbc basal treatment treating therapy"
    " pathologic pathological response trg odx dead new time last days months"
)
_BESIDE_CODES = _words(
    "status statut stat state pos neg positive negative positiv negativ positif negatif positivo negativo"
    " positief negatief percent percentage pct perc prozent score ihc expr expression level value result low"
    " high plus minus months month mos mo days day time years year event events cens censor censored free type"
    " class group cat category bin binary label code yn flag ratio indicator ind int a b disease"
    " burden tumor tumour breast size cell cellularity date cause patient follow contact seen known centre center"
    " hospital site room replacement contraception questionnaire survey rate frequency bc cancer specific study"
    " intensity stage prognostic group gene profile surgery code cr path index molecular recur class risk planning name"
)
# Between others only, and beside long ones: ``timetodeath``, but not ``prof``.
_LINKS = _words("to of is by in")
# Words of the language that are made of such parts by accident.
_WHOLE = _words("prevent prevents event events armpos hertype retype relabel relevel revalue")
_LIGATURES = str.maketrans(
    {"ß": "ss", "œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ø": "o", "Ø": "O"}
)
_LONGEST = 200


@cache
def readings(name: str) -> tuple[str, ...]:
    """Return the readings of a name: words in lower case without accents, a blank around each.

    Digits are words of their own, so that ``her2`` is read as ``her 2``.
    """
    plain = _without_accents(name[:_LONGEST])
    found: dict[str, None] = {}
    for text in (plain, _split_capitals(plain), _split_runs(plain)):
        for spelled in (text, re.sub(r"(?i)(?<=[oau])e(?=[a-z])", "", text)):
            words = re.findall(r"[a-z]+|\d+", spelled.lower())
            found[_join(words)] = None
            found[_join(part for word in words for part in _parts(word))] = None
    return tuple(found)


def _join(words: Iterator[str] | list[str]) -> str:
    # A blank on both sides of each word: two neighbours are matched with the blanks between.
    return f" {' '.join(words)} "


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_LIGATURES))
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def _split_capitals(text: str) -> str:
    """Split as programmers write: ``PatientAge``, ``ERStatus`` before ``Status``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])", " ", text)


def _split_runs(text: str) -> str:
    """Split where capitals end: ``ERstatus`` before ``status``."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.sub(r"(?<=[A-Z]{2})(?=[a-z]{2})", " ", text)


@cache
def _parts(word: str) -> tuple[str, ...]:
    """Return the short forms and their companions that make up a word; itself where it is none."""
    if len(word) < 4 or word in _WHOLE or word in _BESIDE_CODES:
        return (word,)
    return next((parts for parts in _divided(word) if _is_likely(parts)), (word,))


def _is_likely(parts: tuple[str, ...]) -> bool:
    codes = [len(part) for part in parts if part in _CODES]
    linked = any(part in _LINKS for part in parts)
    return bool(codes) and (max(codes) > 3 or not linked)


def _divided(word: str) -> Iterator[tuple[str, ...]]:
    if not word:
        yield ()
    for end in range(len(word), 0, -1):
        head = word[:end]
        if head in _CODES or head in _BESIDE_CODES or head in _LINKS:
            # One letter alone is a word after luminal only: luma, lumb.
            rest = (r for r in _divided(word[end:]) if len(head) > 1)
            yield from ((head, *r) for r in rest if head == "lum" or r[:1] not in (("a",), ("b",)))
            if len(head) == 1 and end == len(word):
                yield (head,)
