"""What the shortcut gate finds."""

from __future__ import annotations

from dataclasses import dataclass

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.shortcuts.stratified import Area
from radiotrain.evaluation.shortcuts.verdict import Fall, LeftOut, ShortcutVerdict


@dataclass(frozen=True)
class AcquisitionResult:
    """How well one source predicts a target, out of fold on development patients."""

    target: str
    source: str
    area: Area


@dataclass(frozen=True)
class ProbeResult:
    """How well one acquisition variable can be read from a network's features."""

    run: str
    variable: str
    question: str
    area: Area


@dataclass(frozen=True)
class ScannerResult:
    """How well a run does on the test patients of one scanner."""

    run: str
    target: str
    scanner: str
    area: Area


@dataclass(frozen=True)
class FallResult:
    """What is left of a run's AUC within scanners; None where it cannot be told."""

    run: str
    target: str
    fall: Fall | None


@dataclass(frozen=True)
class Shortcuts:
    """All that the gate found.

    Parameters
    ----------
    scanner
        The covariate that tells scanners apart; None where there is none.
    verdicts
        One for each network and target.
    """

    scanner: str | None
    acquisition: tuple[AcquisitionResult, ...]
    probes: tuple[ProbeResult, ...]
    by_scanner: tuple[ScannerResult, ...]
    falls: tuple[FallResult, ...]
    left_out: tuple[LeftOut, ...]
    verdicts: tuple[ShortcutVerdict, ...]

    @property
    def has_networks_left_out(self) -> bool:
        """Whether networks were trained without a scanner, beside baselines."""
        return any(not is_baseline(found.run) for found in self.left_out)
