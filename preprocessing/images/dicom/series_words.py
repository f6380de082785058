"""What a series' name and its ImageType say: which kind of image it is, and which phase.

Names are read in words: ``_``, signs, digits and a change to capitals end a word, so that
``dyn_SUB``, ``dyn post 2`` and ``DynPost2`` are read alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import pairwise


class Kind(Enum):
    """What kind of image a series holds; the value is how it is called in messages."""

    ACQUIRED = "acquired"
    WATER = "water image"
    FAT = "fat image"
    IN_PHASE = "in-phase image"
    OPPOSED = "opposed-phase image"
    MOTION_CORRECTED = "motion-corrected copy"
    SUBTRACTION = "subtraction"
    PROJECTION = "projection"
    REFORMAT = "reformatted copy"
    MAP = "parametric map"
    NOT_MAGNITUDE = "phase, real or imaginary part"
    SCREENSHOT = "screenshot"
    SECONDARY = "derived secondary image"
    DERIVED = "derived image"
    STATIC = "not dynamic by its name"

    @property
    def is_phase(self) -> bool:
        """Whether such images may be phases without being asked for."""
        return self in (Kind.ACQUIRED, Kind.WATER, Kind.DERIVED)


@dataclass(frozen=True)
class PhaseName:
    """What a name says of the phase.

    Parameters
    ----------
    number
        0 pre-contrast, 1 … post-contrast; None where the name does not say.
    is_post
        Whether it says "post" at all, with a number or without.
    count
        A bare count (``phase 2``, ``dyn 3``), which may begin at 0, at 1, or with the first post.
    """

    number: int | None = None
    is_post: bool = False
    count: int | None = None


_WORD = re.compile(r"[^\W\d_]+|[0-9]+")
_CAMEL = re.compile(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Ý])")
# 1.5 min, 1:30: times and sizes, which count nothing.
_DECIMAL = re.compile(r"(?<![0-9])[0-9]+[.:,][0-9]+")
_PREFIX = re.compile(r"\s*ph\s*([0-9]{1,2})\s*/\s*", re.IGNORECASE)
# (Ph2/dyn) - (dyn), Ph2-Ph1, post - pre: one image less another.
_DIFFERENCE = re.compile(
    r"\)\s*[-–−]\s*\(|ph(?:ase)?\s*[0-9]+\s*[-–−]\s*(?:ph|pre)|post\w*\s*[0-9]*\s*[-–−]\s*pre"
    r"|\bminus\b",
    re.IGNORECASE,
)
_WITH_CONTRAST = re.compile(r"\bc\+|\+\s?c(?![a-z])", re.IGNORECASE)
_NO_CONTRAST = re.compile(r"\bc-(?=\s|$|_)|(?<![\w])-c(?![a-z])", re.IGNORECASE)
# No examination has more phases that are counted in names; larger numbers are seconds and dates.
_MOST_PHASES = 20

_SUBTRACTION = {
    "sub", "subs", "subt", "subtr", "subtract", "subtracted", "subtraction", "subtractions",
    "subtraktion", "soustraction", "substraction", "sustraccion", "subtrac", "sdyn", "sdynamic",
}  # fmt: skip
_PROJECTION = {
    "mip", "mips", "minip", "minmip", "thinmip", "avip", "aip", "pjn", "projection", "projections",
    "collapse", "rotating", "mipthin", "maxip",
}  # fmt: skip
_REFORMAT = {
    "mpr", "mprs", "mpvr", "reformat", "reformats", "reformatted", "reformation", "rfmt",
    "curved", "cpr", "vxtl", "mprthick", "resampled", "interpolated",
}  # fmt: skip
_MAP = {
    "map", "maps", "adc", "eadc", "washin", "washout", "pei", "ttp", "ktrans", "kep", "iauc",
    "iaugc", "parametric", "colormap", "colourmap", "color", "colour", "stddev", "pbv", "mtt",
    "tracew", "relcbv", "relcbf", "relmtt",
}  # fmt: skip
_SCREENSHOT = {
    "screen", "screenshot", "screensave", "capture", "saved", "report", "curve", "graph", "summary",
}  # fmt: skip
_MOTION_CORRECTED = {
    "moco", "registered", "registration", "reg", "coreg", "aligned", "elastix",
}  # fmt: skip
_STATIC = {
    "stir", "tirm", "dwi", "dti", "diff", "diffusion", "loc", "localizer", "localiser", "localizers",
    "scout", "survey", "calib", "calibration", "flair", "spectro", "spectroscopy", "haste", "swi",
    "testbolus", "smartprep", "carebolus",
}  # fmt: skip
# Said of dynamic series as well: how they were acquired, and the program that they are made for.
_STATIC_ALONE = {"cal", "asset", "shim", "silicone", "nonfs", "cad", "dynacad", "cadstream"}
_DYNAMIC = {"vibrant", "multiphase", "dce", "pass", "pas", "twist", "multiphasic"}
_PRE = {
    "pre", "precontrast", "pregad", "pregd", "prekm", "prekontrast", "prec", "nativ", "native",
    "unenhanced", "baseline", "basal", "preinj", "preinjection", "nocontrast", "noncontrast", "precontraste",
}  # fmt: skip
_POST = {
    "post", "posts", "postcontrast", "postgad", "postgd", "postkm", "postinj", "postinjection", "postc",
}  # fmt: skip
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
_ORDINAL_ENDS = {"st", "nd", "rd", "th"}
# A number before one of these is a size, a time or a dimension and counts nothing.
_UNITS = {
    "min", "mins", "minute", "minutes", "m", "sec", "secs", "second", "seconds", "s", "ms", "mm", "d",
    "t", "cm", "deg",
}  # fmt: skip
_CONTRAST = {
    "contrast", "gad", "gd", "gado", "gadolinium", "c", "km", "kontrast", "kontrastmittel",
    "contraste", "inj", "injection", "inyeccion", "iv",
}  # fmt: skip
_BEFORE = {"vor", "avant", "sans", "sin", "without", "before", "ohne", "no", "non", "wo"}
_AFTER = {"nach", "apres", "après", "avec", "con", "with", "after", "mit"}
# Before and after these is not before and after contrast agent.
_TREATMENT = {
    "tx", "treatment", "op", "operative", "chemo", "chemotherapy", "nac", "nact", "biopsy", "bx",
    "surgery", "therapy", "rt", "radiation",
}  # fmt: skip
_LEFT, _RIGHT = {"left", "lt", "links", "gauche"}, {"right", "rt", "rechts", "droite"}

# What ImageType's values beyond the second say.
_TYPE_KINDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    (Kind.SUBTRACTION, frozenset(("SUB", "SUBTRACTION", "SUBTRACTED"))),
    (
        Kind.PROJECTION,
        frozenset(("MIP", "MINIP", "MNIP", "PROJECTION IMAGE", "PROJECTION", "COLLAPSE", "MAX_IP", "MIN_IP",
                   "MEAN_IP", "MAXIMUM", "MINIMUM", "VOLUME_RENDERED")),
    ),
    (
        Kind.REFORMAT,
        frozenset(("MPR", "REFORMATTED", "CPR", "CURVED", "MPVR", "VXTL STATE", "RESAMPLED")),
    ),
    (
        Kind.MAP,
        frozenset(("ADC", "ADC_UNSPECIFIED", "EADC", "TRACEW", "TTP", "RELCBV", "RELCBF", "RELMTT", "PEI",
                   "WASHIN", "WASHOUT", "WASH_IN", "WASH_OUT", "KTRANS", "KEP", "VE", "IAUC", "MAP",
                   "T1 MAP", "T2 MAP", "T2_STAR MAP", "T1_MAP", "T2_MAP", "STDDEV", "STD_DEVIATION", "SD",
                   "MEAN", "MEDIAN", "ADDITION", "DIVISION", "MULTIPLICATION", "COLOR", "RGB", "B0 MAP",
                   "B1 MAP", "FA")),
    ),
    (Kind.SCREENSHOT, frozenset(("SCREEN SAVE", "SCREEN_SAVE", "SCREENSHOT", "REPORT", "CSA REPORT"))),
    (Kind.STATIC, frozenset(("LOCALIZER", "DIFFUSION", "T2", "T2_STAR", "PROTON_DENSITY"))),
    (Kind.MOTION_CORRECTED, frozenset(("MOCO", "MOTION_CORRECTED", "REGISTERED"))),
    (
        Kind.NOT_MAGNITUDE,
        frozenset(("P", "PHASE", "PHASE MAP", "VELOCITY MAP", "R", "REAL", "I", "IMAGINARY", "P_FFE", "R_FFE",
                   "I_FFE", "P_SE", "R_SE", "I_SE")),
    ),
    (Kind.FAT, frozenset(("FAT", "F"))),
    (Kind.IN_PHASE, frozenset(("IN_PHASE", "IP", "INPHASE", "IN", "IN PHASE"))),
    (
        Kind.OPPOSED,
        frozenset(("OPP_PHASE", "OP", "OOP", "OUT_PHASE", "OUTPHASE", "OPPOSED", "OPP", "OUT_OF_PHASE",
                   "OPPOSED_PHASE")),
    ),
    (Kind.WATER, frozenset(("WATER", "W"))),
)  # fmt: skip
_JOINED = frozenset(("SUB", "MIP", "MPR", "MOCO"))


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """Return the words and whole numbers of a name, in small letters."""
    text = _CAMEL.sub(" ", _DECIMAL.sub(" ", name))
    return tuple(w.casefold() for w in _WORD.findall(text))


@lru_cache(maxsize=4096)
def _all_words(name: str) -> frozenset[str]:
    """Return the words of a name, read with and without a change to capitals as a word's end."""
    return frozenset((*words(name), *(w.casefold() for w in _WORD.findall(name))))


def _number(word: str) -> int | None:
    """Return a word as a number that may count phases."""
    if not (word.isascii() and word.isdecimal()) or len(word) > 3:
        return None
    return int(word) if int(word) <= _MOST_PHASES else None


@lru_cache(maxsize=4096)
def kind_of(name: str, image_type: tuple[str, ...]) -> Kind:
    """Return the kind of a series: what ImageType says, else what the name says.

    Parameters
    ----------
    name
        SeriesDescription.
    image_type
        Values of ImageType in capitals.
    """
    values = frozenset(image_type[2:])
    # Vendors join some of these: MIP_SUB, DIS2D_MOCO.
    values |= {part for value in values for part in value.split("_") if part in _JOINED}
    by_type = next((kind for kind, known in _TYPE_KINDS if known & values), None)
    by_name = _kind_by_name(name)
    for found in (by_type, by_name):
        # What is no image of the tissue in one of the two is none, whatever the other says.
        if found is not None and not found.is_phase:
            return found
    if by_type is Kind.WATER or by_name is Kind.WATER:
        return Kind.WATER
    if image_type[:1] == ("DERIVED",):
        return Kind.SECONDARY if image_type[1:2] == ("SECONDARY",) else Kind.DERIVED
    return Kind.ACQUIRED


def _kind_by_name(name: str) -> Kind | None:
    found, ordered = _all_words(name), words(name)
    if _DIFFERENCE.search(name):
        return Kind.SUBTRACTION
    for kind, known in (
        (Kind.SUBTRACTION, _SUBTRACTION),
        (Kind.PROJECTION, _PROJECTION),
        (Kind.REFORMAT, _REFORMAT),
        (Kind.MAP, _MAP),
        (Kind.SCREENSHOT, _SCREENSHOT),
    ):
        if known & found:
            return kind
    if _has(ordered, "wash", "in") or _has(ordered, "wash", "out"):
        return Kind.MAP
    if _MOTION_CORRECTED & found or _has(ordered, "motion", "corrected"):
        return Kind.MOTION_CORRECTED
    return _dixon_by_name(ordered, found)


def _dixon_by_name(ordered: Sequence[str], found: frozenset[str]) -> Kind | None:
    if "inphase" in found or _has_pair_uncounted(ordered, "in", "phase"):
        return Kind.IN_PHASE
    if (
        {"outphase", "opposed", "oop"} & found
        or _has(ordered, "out", "phase")
        or _has(ordered, "opp", "phase")
    ):
        return Kind.OPPOSED
    if {"dixon", "mdixon", "flex", "ideal"} & found:
        for kind, letters in (
            (Kind.FAT, {"f"}),
            (Kind.WATER, {"w"}),
            (Kind.IN_PHASE, {"in", "ip"}),
            (Kind.OPPOSED, {"opp", "op", "out"}),
        ):
            if letters & found:
                return kind
    if "water" in found and not _followed(ordered, "water", ("sat", "sup", "exc", "supp")):
        return Kind.WATER
    is_fat = "fat" in found and not _followed(ordered, "fat", ("sat", "sup", "sep", "free"))
    if is_fat and not ({"no", "non", "without"} & found):
        return Kind.FAT
    return None


def is_static(name: str) -> bool:
    """Tell whether a name is that of a series that is no dynamic phase: T2, diffusion, localiser."""
    found, ordered = _all_words(name), words(name)
    if _STATIC & found or any(w.startswith(("locali", "calib")) for w in found):
        return True
    if _has(ordered, "t", "2") or _has(ordered, "test", "bolus"):
        return True
    alone = _STATIC_ALONE & found or _has(ordered, "non", "fs") or _has(ordered, "non", "fat")
    return bool(alone) and not _is_named_dynamic(name) and _phase_of(name) == PhaseName()


def is_dynamic(name: str) -> bool:
    """Tell whether a series' name is one of a dynamic phase."""
    return not is_static(name) and _is_named_dynamic(name)


def _is_named_dynamic(name: str) -> bool:
    if _PREFIX.match(name):
        return True
    found = _all_words(name) - {"dynacad"}
    if any(w.startswith("dyn") for w in found) or _DYNAMIC & found:
        return True
    ordered = words(name)
    return _has(ordered, "multi", "phase") or _number_after(ordered, ("ph",)) is not None


def bare_name(name: str) -> str | None:
    """Return what follows ``Ph1/`` in a name: the name of the series that has the pre-contrast."""
    match = _PREFIX.match(name)
    return name[match.end() :].strip().casefold() if match else None


def side_of(name: str) -> tuple[str, ...]:
    """Return which breast and which position a name tells: series that differ in it are two sets."""
    found = set(words(name))
    sides = {"left": _LEFT & found, "right": _RIGHT & found}
    told = [side for side, said in sides.items() if said]
    position = found & {"prone", "supine"}
    return (*(told if len(told) == 1 else ()), *(position if len(position) == 1 else ()))


@lru_cache(maxsize=4096)
def phase_of(name: str) -> PhaseName:
    """Return what a name says of the phase; nothing where it says two things."""
    return _phase_of(name)


def _phase_of(name: str) -> PhaseName:
    if match := _PREFIX.match(name):
        return PhaseName(_number(match[1]), is_post=True)
    found, ordered = _all_words(name), _without_treatment(words(name))
    is_pre = bool(_PRE & set(ordered)) or bool(_PRE & found - {"pre"})
    is_pre = is_pre or _beside_contrast(ordered, _BEFORE) or bool(_NO_CONTRAST.search(name))
    is_post = bool(_POST & set(ordered)) or bool(_POST & found - {"post", "posts"})
    is_post = is_post or _beside_contrast(ordered, _AFTER) or bool(_WITH_CONTRAST.search(name))
    if is_pre and is_post:
        return PhaseName()
    if is_pre:
        return PhaseName(0)
    number = _number_after(ordered, tuple(_POST))
    if number is None:
        number = _ordinal(ordered)
    if number is None:
        number = _number_after(
            ordered, ("pass", "pas", "c", *_AFTER) if is_post else ("pass", "pas")
        )
    if number is None and is_post:
        number = _number_before(ordered, tuple(_POST))
    if number is not None:
        return PhaseName(number, is_post=number > 0)
    counted = ("phase", "ph", "dyn", "dynamic", "dynamik", "measurement", "rep", "c")
    count = _number_after(ordered, counted)
    return PhaseName(None, is_post=is_post, count=count)


def _without_treatment(ordered: Sequence[str]) -> tuple[str, ...]:
    """Leave out ``pre`` and ``post`` that are said of a treatment."""
    return tuple(
        word
        for word, following in zip(ordered, (*ordered[1:], ""), strict=False)
        if word not in ("pre", "post", "posts") or following not in _TREATMENT
    )


def _has(ordered: Sequence[str], *wanted: str) -> bool:
    count = len(wanted)
    return any(tuple(ordered[i : i + count]) == wanted for i in range(len(ordered) - count + 1))


def _followed(ordered: Sequence[str], word: str, beginnings: tuple[str, ...]) -> bool:
    return any(a == word and b.startswith(beginnings) for a, b in pairwise(ordered))


def _has_pair_uncounted(ordered: Sequence[str], first: str, second: str) -> bool:
    """Tell whether two words follow each other, and no number that counts comes next."""
    return any(
        a == first and b == second and not following.isdecimal()
        for a, b, following in zip(ordered, ordered[1:], (*ordered[2:], ""), strict=False)
    )


def _beside_contrast(ordered: Sequence[str], before: set[str]) -> bool:
    """Tell whether a word such as ``without`` stands before a word for contrast agent."""
    for i, word in enumerate(ordered):
        rest = ordered[i + 1 : i + 3]
        if word in before and rest and rest[0] in _CONTRAST:
            return True
        if (
            before is _BEFORE
            and word == "w"
            and len(rest) == 2
            and rest[0] == "o"
            and rest[1] in _CONTRAST
        ):
            return True
    return False


def _ordinal(ordered: Sequence[str]) -> int | None:
    previous = ""
    for word, following in zip(ordered, (*ordered[1:], ""), strict=False):
        if word in _ORDINALS and not previous.isdecimal():
            return _ORDINALS[word]
        if following in _ORDINAL_ENDS and (number := _number(word)) is not None:
            return number
        previous = word
    return None


def _number_after(ordered: Sequence[str], before: tuple[str, ...]) -> int | None:
    """Return the number that follows one of some words, with a word for contrast between at most."""
    for i, word in enumerate(ordered):
        if word not in before:
            continue
        rest = [w for w in ordered[i + 1 : i + 4] if w not in _CONTRAST]
        if rest and (len(rest) < 2 or rest[1] not in _UNITS):
            number = _number(rest[0])
            if number is not None:
                return number
    return None


def _number_before(ordered: Sequence[str], after: tuple[str, ...]) -> int | None:
    for i, (word, following) in enumerate(pairwise(ordered)):
        dimension = i > 0 and ordered[i - 1] in ("t", "fl", "b")
        if following in after and not dimension and (number := _number(word)) is not None:
            return number
    return None
