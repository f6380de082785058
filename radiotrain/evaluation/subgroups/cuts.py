"""Groups from one covariate: by fixed cuts, by tertiles of development patients, or by its texts."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from radiotrain.evaluation.baselines.covariates import as_number, as_text
from radiotrain.evaluation.subgroups.facts import Value

UNKNOWN = "not known"
OTHERS = "all others"

_FEWEST_FOR_TERTILES = 9
_MOST_VALUES_AS_THEY_ARE = 4
_MOST_CATEGORIES = 8
_FEWEST_OF_A_CATEGORY = 5
_FIELDS_T = (0.2, 0.35, 0.5, 1.0, 1.5, 3.0, 7.0)
_AGES = (40.0, 50.0, 60.0)
_SIDES = {"l": "left", "r": "right"}


@dataclass(frozen=True)
class Cut:
    """How patients are grouped by one covariate.

    Parameters
    ----------
    groups
        Names in their order; `UNKNOWN` is not among them.
    group_of
        Patient to a name, or to `UNKNOWN`.
    about
        How the groups were made, where that has to be said.
    """

    groups: tuple[str, ...]
    group_of: Mapping[str, str]
    about: str = ""


def cut_ages(values: Mapping[str, Value]) -> Cut:
    """Group by decades of age, under 40 and from 60 on together."""
    return _at_edges(values, _AGES, ("under 40", "40 to 49", "50 to 59", "60 and over"), "")


def cut_fields(values: Mapping[str, Value]) -> Cut:
    """Group by the field strength nearest in ratio: headers say 1.494 for 1.5 T, 2.8936 for 3 T."""
    found: dict[str, str] = {}
    for patient, value in values.items():
        number = as_number(re.sub(r"\s*t(esla)?\s*$", "", value, flags=re.IGNORECASE)
                           if isinstance(value, str) else value)  # fmt: skip
        if not number > 0:
            found[patient] = UNKNOWN
            continue
        nominal = min(_FIELDS_T, key=lambda t: abs(math.log(t / number)))
        found[patient] = f"{nominal:g} T"
    present = set(found.values())
    return Cut(tuple(n for t in _FIELDS_T if (n := f"{t:g} T") in present), found)


def cut_numbers(values: Mapping[str, Value], development: Sequence[str], unit: str) -> Cut | str:
    """Group by tertiles of development patients, or by the values where there are few.

    Returns
    -------
    The cut, or one clause that says why there is none.
    """
    numbers = {patient: as_number(value) for patient, value in values.items()}
    different = sorted({n for n in numbers.values() if not math.isnan(n)})
    if len(different) <= _MOST_VALUES_AS_THEY_ARE:
        return cut_texts(values)
    known = [n for i in development if not math.isnan(n := numbers.get(i, math.nan))]
    if len(known) < _FEWEST_FOR_TERTILES:
        return (
            f"it is known of {len(known)} development patients, fewer than {_FEWEST_FOR_TERTILES},"
            " and tertiles of test patients would be chosen by the test"
        )
    # Rounded first, so that a name says exactly where its group ends.
    thirds = np.quantile(known, [1 / 3, 2 / 3])
    edges = tuple(dict.fromkeys(float(f"{edge:.3g}") for edge in thirds))
    words = [f"{edge:g}" for edge in edges]
    names = (
        f"below {words[0]}{unit}",
        *(f"{low} to {high}{unit}" for low, high in pairwise(words)),
        f"{words[-1]}{unit} and over",
    )
    about = f"tertiles of {len(known)} development patients"
    return _at_edges(values, edges, names, about)


def cut_texts(values: Mapping[str, Value]) -> Cut | str:
    """Group by the values themselves; rare ones go together.

    Texts that differ in capitals only are one. Which are rare is counted without any label; the
    name of a rare one could tell who it is.

    Returns
    -------
    The cut, or one clause that says why there is none.
    """
    texts = {patient: as_text(value) for patient, value in values.items()}
    spelt: dict[str, Counter[str]] = {}
    for text in filter(None, texts.values()):
        spelt.setdefault(text.casefold(), Counter())[text] += 1
    counts = {key: spellings.total() for key, spellings in spelt.items()}
    if len(counts) > 2 and sum(c >= _FEWEST_OF_A_CATEGORY for c in counts.values()) < 2:
        return f"its {len(counts)} values are each shared by few patients"
    kept = sorted(counts, key=lambda key: (-counts[key], key))
    kept = [k for k in kept if counts[k] >= _FEWEST_OF_A_CATEGORY] or kept
    if len(kept) > _MOST_CATEGORIES:
        kept = kept[: _MOST_CATEGORIES - 1]
    is_side = set(counts) <= set(_SIDES)
    named = {k: _SIDES[k] if is_side else spelt[k].most_common(1)[0][0] for k in kept}
    found = {
        patient: named.get(text.casefold(), OTHERS) if text else UNKNOWN
        for patient, text in texts.items()
    }
    others = (OTHERS,) if len(kept) < len(counts) else ()
    return Cut((*sorted(named.values(), key=_in_order), *others), found)


def _at_edges(
    values: Mapping[str, Value], edges: Sequence[float], names: tuple[str, ...], about: str
) -> Cut:
    """Group numbers; each group holds its lower edge."""
    found = {}
    for patient, value in values.items():
        number = as_number(value)
        place = int(np.searchsorted(edges, number, side="right"))
        found[patient] = UNKNOWN if math.isnan(number) else names[place]
    return Cut(names, found, about)


def _in_order(name: str) -> tuple[float, str]:
    number = as_number(name)
    return (math.inf if math.isnan(number) else number, name)
