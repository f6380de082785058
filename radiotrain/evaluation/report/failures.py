"""Where a run fails: false negatives and false positives by group, as counts and without patients."""

from __future__ import annotations

from dataclasses import dataclass

from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.subgroups.results import Group, Subgroups


@dataclass(frozen=True)
class GroupFailures:
    """The errors of one run and target in one group of test patients, at the operating point."""

    variable: str
    group: str
    num_positive: int
    false_negatives: int
    num_negative: int
    false_positives: int


@dataclass(frozen=True)
class Failures:
    """The errors of one run and target in all groups that may be shown.

    Parameters
    ----------
    withheld
        Variables of which no group may be shown: fewer than 5 patients of a class in each.
    """

    groups: tuple[GroupFailures, ...] = ()
    withheld: tuple[str, ...] = ()


def find_failures(result: TargetResult, subgroups: Subgroups | None) -> Failures:
    """Return false negatives and false positives by group; none without threshold or groups.

    Parameters
    ----------
    subgroups
        Measured at the same threshold; groups that are withheld there are withheld here.
    """
    if subgroups is None or result.confusion is None:
        return Failures()
    found: list[GroupFailures] = []
    withheld: list[str] = []
    for variable in subgroups.of(result.run, result.target):
        shown = [_failures(variable.variable, group) for group in variable.groups]
        known = [group for group in shown if group is not None]
        found += known
        if not known:
            withheld.append(variable.variable)
    return Failures(tuple(found), tuple(withheld))


def _failures(variable: str, group: Group) -> GroupFailures | None:
    if group.standing == "withheld" or group.sensitivity is None or group.specificity is None:
        return None
    num_negative = group.num_patients - group.num_positive
    return GroupFailures(
        variable,
        group.name,
        group.num_positive,
        round((1 - group.sensitivity) * group.num_positive),
        num_negative,
        round((1 - group.specificity) * num_negative),
    )
