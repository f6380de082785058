"""Which variables a report looks at, in which order, and how each makes groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from radiotrain.data.covariates import plain_name
from radiotrain.evaluation.baselines.covariates import as_number, kind_of
from radiotrain.evaluation.subgroups.cuts import (
    UNKNOWN,
    Cut,
    cut_ages,
    cut_fields,
    cut_numbers,
    cut_texts,
)
from radiotrain.evaluation.subgroups.facts import Facts, Value

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
