"""Results of a comparison of two reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from radiotrain.evaluation.results import Comparison, TargetResult
from radiotrain.statistics.auc import Interval

SCHEMA_VERSION = 2

VerdictKind = Literal["identical", "first", "second", "not shown", "not comparable"]

MarginVerdict = Literal["non-inferior", "not shown"]

_OF_EACH = (
    "run", "num_patients", "num_positive", "auc", "auc_ci95", "auc_ci95_delong", "threshold",
    "sensitivity", "sensitivity_ci95", "specificity", "specificity_ci95",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """A setting that differs; the texts are JSON, or say that it is not there."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class NonInferiority:
    """Whether the AUC of A is lower than that of B by less than a margin.

    A value that is not defined is None, and `reasons` says why under the value's name.

    Parameters
    ----------
    lower_limit
        One-sided 97.5 % limit of A − B, not corrected.
    p, p_holm
        One-sided; the latter corrected for all pairs.
    verdict
        ``non-inferior`` where `p_holm` is below 0.025.
    sentence
        The verdict in words, with what limits it.
    """

    lower_limit: float | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: MarginVerdict = "not shown"
    sentence: str = ""
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A run of the first report and one of the second, for one target. Differences: first less second.

    A value that is not defined is None, and `reasons`, or those of `comparison`, say why.

    Parameters
    ----------
    first, second
        What each does on its own.
    comparison
        Of the AUCs and the calls; p values corrected for all pairs.
    is_identical
        Whether every patient has the same probability in both.
    sensitivity_difference, specificity_difference
        Each at its own Youden threshold from validation.
    settings
        Settings of the two runs that differ.
    non_inferiority
        Of A to B, where a margin was given.
    """

    target: str
    first: TargetResult
    second: TargetResult
    comparison: Comparison
    is_identical: bool
    sensitivity_difference: float | None = None
    sensitivity_difference_ci95: Interval | None = None
    specificity_difference: float | None = None
    specificity_difference_ci95: Interval | None = None
    settings: tuple[Setting, ...] = ()
    verdict: VerdictKind = "not shown"
    sentence: str = ""
    non_inferiority: NonInferiority | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        comparison = asdict(self.comparison)
        reasons = {**comparison.pop("reasons"), **self.reasons}
        if self.non_inferiority is None:
            reasons["non_inferiority"] = "no margin was given"
        for name in ("target", "run", "other"):
            del comparison[name]
        each = {
            side: {name: getattr(result, name) for name in _OF_EACH}
            for side, result in (("first", self.first), ("second", self.second))
        }
        own = (
            "is_identical", "sensitivity_difference", "sensitivity_difference_ci95",
            "specificity_difference", "specificity_difference_ci95", "verdict", "sentence",
        )  # fmt: skip
        return {
            "target": self.target,
            **each,
            **comparison,
            **{name: getattr(self, name) for name in own},
            "settings": [asdict(setting) for setting in self.settings],
            "non_inferiority": (
                None if self.non_inferiority is None else asdict(self.non_inferiority)
            ),
            "reasons": reasons,
        }


@dataclass(frozen=True)
class ReportComparison:
    """Two reports beside each other.

    Parameters
    ----------
    first, second
        The reports, as they were given.
    settings
        What differs between the reports as wholes: preprocessing and software.
    warnings
        What to know before believing it.
    seed, num_resamples
        Of the bootstrap.
    margin
        Of non-inferiority, as it was given; None: not asked.
    equal_rate
        Share of patients that both runs of a pair call positive, as it was given; None: as many as
        are positive.
    """

    first: str
    second: str
    pairs: tuple[Pair, ...]
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...]
    seed: int
    num_resamples: int
    margin: float | None = None
    equal_rate: float | None = None

    @property
    def run_settings(self) -> tuple[tuple[str, str, tuple[Setting, ...]], ...]:
        """Each two runs whose settings differ, once, whatever targets they share."""
        found = {(p.first.run, p.second.run): p.settings for p in self.pairs if p.settings}
        return tuple((*runs, settings) for runs, settings in found.items())

    @property
    def each(self) -> tuple[tuple[str, TargetResult], ...]:
        """A or B and the result of each run and target, once."""
        found: dict[tuple[str, str, str], TargetResult] = {}
        for pair in self.pairs:
            for letter, result in (("A", pair.first), ("B", pair.second)):
                found.setdefault((pair.target, letter, result.run), result)
        return tuple((key[1], result) for key, result in found.items())
