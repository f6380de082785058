"""Subgroup variables and their cut points."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.data.covariates import plain_name
from radiotrain.evaluation.baselines.covariates import as_number, as_text, kind_of
from radiotrain.evaluation.baselines.features import measure_size
from radiotrain.evaluation.subgroups.covariates import Facts, Value
from radiotrain.split.split import Split, named_parts
from radiotrain.split.test_set_access import TestAccess, check_sealed

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


TUMOUR_SIZE = "tumour_size_mm"
"""Name of the longest side of the tumour's box."""

TEST_PART = "test_part"
"""Name of the part of the test set, where a split was extended."""

FIELD_STRENGTH = "field strength"
"""What a covariate of the magnet's field is called."""

MOST_VARIABLES = 12
"""Each test costs the others power, and among many something differs by chance."""

_MOST_CODES = 8
"""Numbers of no more values than this may be codes of categories."""

_AGE = r"^(patient_)?age(_years|_at_\w+)?$"
_FIELD = r"field_strength|^(field|tesla|b0)(_t)?$"
# What is looked at first, and what it is called.
_FIRST: tuple[tuple[str, str], ...] = (
    (rf"^{TEST_PART}$", "part of the test set"),
    (_AGE, "age (years)"),
    (r"menopaus", "menopausal status"),
    (r"^race", "race and ethnicity"),
    (r"^ethnicity", ""),
    (r"manufacturer$|vendor", "scanner manufacturer"),
    (r"^(model|scanner_model|manufacturer_model\w*)$", "scanner model"),
    (r"^scanner$", ""),
    (_FIELD, FIELD_STRENGTH),
    (rf"^{TUMOUR_SIZE}$", "tumour size (longest side)"),
    (r"^(tumou?r_)?(side|laterality)$", "tumour side"),
    (r"histolog", "histology"),
    (r"^(dataset|site|institution|hospital|cent(er|re))$", ""),
)
_UNITS = {"mm": " mm", "cm": " cm", "years": " years", "kg": " kg"}
# Derived from the receptors: network inputs refuse them, but HER2 among ER-positive patients is
# one of the first things that a reviewer asks for.
_RECEPTOR = re.compile(r"(^|_)(er|pr|pgr|her_?2|hr)(_|$)")
_SUBTYPE = re.compile(r"subtype|(mol|molecular|intrinsic)_?(type|class)")


@dataclass(frozen=True)
class Variable:
    """One way to divide patients.

    Parameters
    ----------
    target
        The target whose labels it is, which is not divided by itself; often None.
    """

    label: str
    cut: Cut
    target: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One thing that is known of patients, before it is asked whether it tells them apart.

    Parameters
    ----------
    name
        Of the covariate; None of a target's labels.
    cut
        How it divides patients, or one clause that says why it cannot.
    """

    label: str
    target: str | None
    cut: Cut | str
    name: str | None = None


def choose_variables(
    facts: Facts, tested: Sequence[str], development: Sequence[str]
) -> tuple[tuple[Variable, ...], tuple[str, ...]]:
    """Return the variables that tell test patients apart, and sentences on what is left out.

    Neither a label of the target nor a probability takes part in the choice.

    Parameters
    ----------
    tested
        Test patients.
    development
        All others of whom something is known.
    """
    chosen: list[Variable] = []
    alike: list[str] = []
    notes: list[str] = []
    for found in candidates(facts, (*development, *tested), development):
        label, cut = found.label, found.cut
        if isinstance(cut, str):
            notes.append(f"No groups by {label}: {cut}.")
        elif len({cut.group_of.get(i, UNKNOWN) for i in tested} - {UNKNOWN}) < 2:
            alike.append(label)
        else:
            chosen.append(Variable(label, cut, found.target))
    late = sorted({n for i in tested for n in facts.covariates.get(i, {}) if _kind(n) == "refused"})
    if late:
        notes.append(f"Known only after treatment, and left out: {', '.join(late)}.")
    if alike:
        notes.append(f"All test patients are alike, or not known, in: {', '.join(alike)}.")
    if len(chosen) > MOST_VARIABLES:
        names = ", ".join(variable.label for variable in chosen[MOST_VARIABLES:])
        notes.append(
            f"{MOST_VARIABLES} variables are looked at, the first by a fixed order; left out,"
            f" whatever they would have shown: {names}."
        )
    return tuple(chosen[:MOST_VARIABLES]), tuple(notes)


def candidates(facts: Facts, ids: Sequence[str], development: Sequence[str]) -> Iterator[Candidate]:
    """Yield everything that is known of patients and may divide them, what matters first."""
    names = sorted({n for i in ids for n in facts.covariates.get(i, {})})
    places = {name: _place(name) for name in names}
    for name in sorted(names, key=lambda n: (places[n], n)):
        if places[name] < len(_FIRST):
            yield _covariate(facts, name, ids, development)
    for target, labels in facts.labels.items():
        words = {0: "negative", 1: "positive"}
        cut = Cut(("negative", "positive"), {i: words.get(labels.get(i, -1), UNKNOWN) for i in ids})
        yield Candidate(f"{target} status", target, cut)
    receptors = {target.lower() for target in facts.labels}
    for wanted in ("receptor", "clinical", "acquisition"):
        for name in names:
            if places[name] == len(_FIRST) and _kind(name) == wanted and name not in receptors:
                yield _covariate(facts, name, ids, development)


def is_continuous(facts: Facts, name: str, ids: Sequence[str]) -> bool:
    """Tell whether a covariate is a number of many values, such as an age."""
    values = {i: facts.covariates.get(i, {}).get(name) for i in ids}
    return _is_numeric(values) and len(set(values.values())) > _MOST_CODES


def _covariate(
    facts: Facts, name: str, ids: Sequence[str], development: Sequence[str]
) -> Candidate:
    values = {i: facts.covariates.get(i, {}).get(name) for i in ids}
    plain, label = plain_name(name), shown_name(name)
    if re.search(_AGE, plain):
        return Candidate(label, None, cut_ages(values), name)
    if re.search(_FIELD, plain):
        return Candidate(label, None, cut_fields(values), name)
    if receptor := _RECEPTOR.search(plain):
        target = receptor[2].upper().replace("_", "")
        if not _is_binary(values):
            return Candidate(label, target, cut_texts(values), name)
        words = {0.0: "negative", 1.0: "positive"}
        group_of = {i: words.get(as_number(v), UNKNOWN) for i, v in values.items()}
        return Candidate(f"{target} status", target, Cut(("negative", "positive"), group_of), name)
    if _is_numeric(values):
        unit = _UNITS.get(plain.rpartition("_")[2], "")
        cut = cut_numbers(values, development, unit)
        return Candidate(label.removesuffix(unit), None, cut, name)
    return Candidate(label, None, cut_texts(values), name)


def shown_name(name: str) -> str:
    """Return what a covariate is called in tables: one name for the ways in which columns write it."""
    place, plain = _place(name), plain_name(name)
    return (_FIRST[place][1] if place < len(_FIRST) else "") or plain.replace("_", " ")


def _place(name: str) -> int:
    plain = plain_name(name)
    found = (k for k, (pattern, _) in enumerate(_FIRST) if re.search(pattern, plain))
    return next(found, len(_FIRST))


def _kind(name: str) -> str:
    is_receptor = _RECEPTOR.search(plain_name(name)) or _SUBTYPE.search(plain_name(name))
    return "receptor" if is_receptor else kind_of(name)


def _is_numeric(values: Mapping[str, Value]) -> bool:
    known = [v for v in values.values() if v is not None and str(v).strip()]
    return bool(known) and all(as_number(v) == as_number(v) for v in known)


def _is_binary(values: Mapping[str, Value]) -> bool:
    known = [v for v in values.values() if v is not None and str(v).strip()]
    return bool(known) and {as_number(v) for v in known} <= {0.0, 1.0, -1.0}


_READERS = 4


def facts_of_split(store: Store, split: Split, access: TestAccess) -> Facts:
    """Return what is known of a split's patients.

    Raises
    ------
    SealedTestSetError
        If the access is to another split's test set.
    """
    ids = (*split.development_ids, *split.test_ids)
    check_sealed(split, ids, access)
    facts, parts = facts_of_patients(store, ids), named_parts(split)
    if len(parts) < 2:
        return facts
    of_part = {i: {TEST_PART: f"part {n}"} for n, part in parts for i in part}
    return facts.beside(Facts(of_part, {}, facts.source))


def facts_of_store(store: Store, tested: Sequence[str]) -> Facts:
    """Return what a store knows of its patients, for a predictions table that is already there.

    No test set is opened by it: whoever has the table has the predictions. No image is read, only
    where the tumour is.

    Raises
    ------
    InputError
        If the store knows none of the tested patients.
    """
    if not set(store.patient_ids) & set(tested):
        raise InputError(
            f"store {store.url} holds none of the {len(tested)} test patients of the table (first:"
            f" {min(tested, default='none')!r}): give the store whose patients were predicted"
        )
    return facts_of_patients(store, store.patient_ids)


def facts_of_patients(store: Store, ids: Sequence[str]) -> Facts:
    """Return what a store knows of some patients; the caller has asked the seal."""
    rows = [store.index_of(patient_id) for patient_id in ids]
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = list(pool.map(lambda row: measure_size(store, row)["longest_mm"], rows))
    covariates = {
        patient_id: {
            **store.records[row].covariates,
            TUMOUR_SIZE: None if math.isnan(size) else size,
        }
        for patient_id, row, size in zip(ids, rows, sizes, strict=True)
    }
    labels = {
        target: {i: int(store.labels[row, column]) for i, row in zip(ids, rows, strict=True)}
        for column, target in enumerate(store.targets)
    }
    return Facts(covariates, labels, f"store {store.url}")
