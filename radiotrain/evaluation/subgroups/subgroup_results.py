"""Results in subgroups, with small counts withheld."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from radiotrain.statistics.auc import Interval

FEWEST_SHOWN = 5
"""A smaller count is printed as "<5": in a publication it would describe single patients."""

FEWEST_JUDGED = 10
"""With fewer positives or negatives a group has numbers, but no part in tests and verdicts."""

Standing = Literal["judged", "too few to say", "withheld"]
VerdictKind = Literal["differ", "no difference shown", "too few to say"]


@dataclass(frozen=True)
class Group:
    """How well one run reads one target in one group of test patients.

    A value that is not defined, or withheld, is None, and `reasons` says why under its name.

    Parameters
    ----------
    is_unknown
        Whether nothing is known of these patients; they are in no test.
    standing
        judged; too few to say, with fewer than `FEWEST_JUDGED` of a class; withheld, with fewer
        than `FEWEST_SHOWN`: then there are no numbers, since they would give the counts away.
    sensitivity, specificity
        At the threshold chosen on all validation patients.
    calibration_difference, calibration_difference_ci95
        Share of positives less the mean probability; above 0 probabilities are too low.
    auc_difference, auc_difference_ci95
        This group's AUC less that of the variable's other known patients.
    """

    name: str
    num_patients: int
    num_positive: int
    is_unknown: bool
    standing: Standing
    auc: float | None = None
    auc_ci95: Interval | None = None
    sensitivity: float | None = None
    sensitivity_ci95: Interval | None = None
    specificity: float | None = None
    specificity_ci95: Interval | None = None
    calibration_difference: float | None = None
    calibration_difference_ci95: Interval | None = None
    auc_difference: float | None = None
    auc_difference_ci95: Interval | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def patients_shown(self) -> str:
        """How many patients, as it may be printed."""
        return _shown(self.num_patients)

    @property
    def positives_shown(self) -> str:
        """How many positives, as it may be printed: few negatives are not given away either."""
        if self.num_positive < FEWEST_SHOWN:
            return _shown(self.num_positive)
        if self.num_patients - self.num_positive < FEWEST_SHOWN:
            return f">{self.num_patients - FEWEST_SHOWN}"
        return str(self.num_positive)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; a count that may not be printed is its text."""
        values = asdict(self)
        for name, shown in (
            ("num_patients", self.patients_shown),
            ("num_positive", self.positives_shown),
        ):
            values[name] = int(shown) if shown.isdigit() else shown
        return values


@dataclass(frozen=True)
class VariableResult:
    """The groups of one variable, for one run and target.

    Parameters
    ----------
    about
        How the groups were made, where that has to be said.
    q, degrees_of_freedom, p, p_holm
        Of the test that all judged groups have one AUC; `p_holm` is corrected for all tests of
        the report.
    detectable_difference
        By how much the AUC of one group has to lie below that of the others for four of five such
        test sets to show it, after the correction; of the group that shows it most easily.
    """

    run: str
    target: str
    variable: str
    about: str
    groups: tuple[Group, ...]
    q: float | None = None
    degrees_of_freedom: int | None = None
    p: float | None = None
    p_holm: float | None = None
    detectable_difference: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def judged(self) -> tuple[Group, ...]:
        """The groups that are in the test."""
        return tuple(g for g in self.groups if g.standing == "judged" and not g.is_unknown)


@dataclass(frozen=True)
class SubgroupConclusion:
    """What to make of one run and target: the kind colours the report, the sentences are for a person."""

    run: str
    target: str
    kind: VerdictKind
    sentence: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overall:
    """A run's AUC over all test patients, for the plot."""

    run: str
    target: str
    auc: float | None
    auc_ci95: Interval | None


@dataclass(frozen=True)
class Subgroups:
    """All that was looked at.

    Parameters
    ----------
    num_tests
        Tests that p values are corrected for.
    notes
        Sentences about what was left out, and why.
    """

    results: tuple[VariableResult, ...]
    overall: tuple[Overall, ...]
    verdicts: tuple[SubgroupConclusion, ...]
    num_tests: int
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Differences that were shown, for those who read no further than the warnings."""
        shown = (v for v in self.verdicts if v.kind == "differ")
        return tuple(f"{v.target}, run {v.run}: {v.sentence}" for v in shown)

    def of(self, run: str, target: str) -> tuple[VariableResult, ...]:
        """Return the variables of one run and target."""
        return tuple(r for r in self.results if (r.run, r.target) == (run, target))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without any small count."""
        results = []
        for result in self.results:
            groups = [group.to_json() for group in result.groups]
            results.append({**asdict(result), "groups": groups})
        return {
            "results": results,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "num_tests": self.num_tests,
            "notes": list(self.notes),
        }


def _shown(count: int) -> str:
    return f"<{FEWEST_SHOWN}" if count < FEWEST_SHOWN else str(count)
