"""What the shortcut gate finds."""

from __future__ import annotations

from dataclasses import dataclass

from radiotrain.evaluation.shortcuts.stratified import Area
from radiotrain.evaluation.shortcuts.verdict import Fall, ShortcutVerdict


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
class LeftOut:
    """How well a baseline does on the development patients of one scanner.

    Parameters
    ----------
    area
        Of a model fitted on the other scanners only.
    area_seen
        Of the cross-validation, whose models have seen this scanner's other patients.
    """

    run: str
    target: str
    scanner: str
    area: Area
    area_seen: Area


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
