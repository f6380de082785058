"""Results and conclusions of the shortcut gate.

Thresholds and their reasons: docs/decisions/0010-shortcut-gate.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.statistics.auc import Interval
from radiotrain.statistics.stratified_auc import Area

ShortcutKind = Literal["pass", "not shown", "caution", "fail"]

CLEAR_ACQUISITION_AUC = 0.55
"""Acquisition alone predicts the target where its whole interval lies above this."""

LEAST_PROBE_AUC = 0.6
"""With a lower AUC of the probe, the scanner was not found in the network's features."""

CLEAR_FALL = 0.03
"""An AUC falls within scanners by this or more, and the interval of the fall is above 0."""

RULED_OUT_AUC = 0.65
"""A pass needs the power to fail: the interval of the acquisition's AUC lies below this, and that of the
fall below `RULED_OUT_FALL`. Else an effect of that size may be there, and the gate says "not shown"."""

RULED_OUT_FALL = 0.1


@dataclass(frozen=True)
class Fall:
    """AUC over all pairs of patients, and over pairs from the same scanner.

    Parameters
    ----------
    fall
        The first − the second.
    """

    overall: float
    within: float
    fall: float
    interval: Interval
    num_patients: int

    @property
    def is_clear(self) -> bool:
        """Whether the AUC falls beyond chance."""
        return self.fall >= CLEAR_FALL and self.interval[0] > 0


@dataclass(frozen=True)
class LeftOut:
    """How well a model does on the development patients of one scanner.

    Parameters
    ----------
    run
        A baseline, or the configuration of networks.
    scanner
        Its name, or `left_out.EACH_IN_TURN`: pairs of patients of the same scanner, over all of them.
    area
        Of a model fitted on the other scanners only.
    area_seen
        Of the cross-validation, whose models have seen this scanner's other patients: pairs of the same
        fold and scanner.
    """

    run: str
    target: str
    scanner: str
    area: Area
    area_seen: Area


@dataclass(frozen=True)
class ShortcutConclusion:
    """What to make of it: the kind colours the report, the sentences are for a person."""

    run: str
    target: str
    kind: ShortcutKind
    sentence: str
    details: tuple[str, ...] = ()


def judge_shortcut(
    run: str,
    target: str,
    acquisition: Area,
    background: Area,
    probe: Area | None,
    fall: Fall | None,
    without: LeftOut | None = None,
) -> ShortcutConclusion:
    """Judge one run and target.

    Parameters
    ----------
    acquisition
        How well all acquisition variables together predict the target, out of fold.
    background
        The same of the crop without the tumour.
    probe
        How well the scanner can be read from the network's features; None where that was not tried.
    fall
        What is left of the network's AUC within scanners; None where it cannot be told.
    without
        AUC of networks of its configuration that were trained without each scanner in turn; None where
        there are none. It is reported, and decides nothing: such networks had fewer patients.
    """
    predicts = _lies_above(acquisition, CLEAR_ACQUISITION_AUC)
    # The fall rests on many patients, the probe on few of them: it only has to agree.
    is_blind = probe is not None and probe.auc is not None and probe.auc < LEAST_PROBE_AUC
    falls = fall is not None and fall.is_clear
    details = tuple(_details(acquisition, background, probe, fall, without))
    if predicts and falls and not is_blind:
        kind: ShortcutKind = "fail"
        sentence = (
            f"Acquisition shortcut: part of the AUC for {target} comes from the scanner. The acquisition"
            " alone predicts the target, and within scanners the network's AUC falls."
        )
    elif falls:
        kind = "caution"
        sentence = (
            f"Within scanners the AUC for {target} falls: part of it is the difference between"
            " scanners."
        )
    elif predicts:
        kind = "caution"
        seen = "A fall of the network's AUC within scanners was not found."
        if fall is None or fall.interval[1] >= CLEAR_FALL:
            seen = "There are too few patients to show whether it does."
        sentence = (
            f"The acquisition alone predicts {target} in this cohort, so a network could use it."
            f" {seen}"
        )
    elif _lies_above(background, CLEAR_ACQUISITION_AUC):
        kind = "caution"
        sentence = (
            f"Images without the tumour predict {target}; the acquisition was not shown to. The reason may"
            " be the breast around it, or how the images were acquired."
        )
    elif acquisition.auc is None:
        kind = "caution"
        sentence = (
            f"Whether the acquisition predicts {target} cannot be judged: {acquisition.reason}."
        )
    elif fall is None:
        kind = "caution"
        sentence = (
            f"The acquisition was not shown to predict {target}, but too few patients share a scanner"
            " to compare the network within scanners."
        )
    elif not _rules_out(acquisition, fall):
        kind = "not shown"
        sentence = (
            f"No acquisition shortcut for {target} was found, but these patients are too few to rule out"
            f" one: an acquisition AUC of {RULED_OUT_AUC:.2f}, or a fall of {RULED_OUT_FALL:.2f} within"
            " scanners, would be compatible with them."
        )
    else:
        kind = "pass"
        sentence = (
            f"No acquisition shortcut for {target} was found; an acquisition AUC of"
            f" {RULED_OUT_AUC:.2f} and a fall of {RULED_OUT_FALL:.2f} within scanners are ruled out."
        )
    return ShortcutConclusion(run, target, kind, sentence, details)


def _lies_above(area: Area, value: float) -> bool:
    return area.interval is not None and area.interval[0] > value


def _rules_out(acquisition: Area, fall: Fall) -> bool:
    """Tell whether both intervals lie below what would matter."""
    return (
        acquisition.interval is not None
        and acquisition.interval[1] < RULED_OUT_AUC
        and fall.interval[1] < RULED_OUT_FALL
    )


def _details(
    acquisition: Area,
    background: Area,
    probe: Area | None,
    fall: Fall | None,
    without: LeftOut | None,
) -> list[str]:
    found: list[str] = []
    if acquisition.interval is not None:
        found.append(f"Acquisition alone: AUC {_words(acquisition)}.")
    if background.interval is not None:
        found.append(f"Images without the tumour: AUC {_words(background)}.")
    if probe is not None and probe.auc is not None:
        found.append(
            f"The scanner was not found in the network's features of {probe.num_patients} patients:"
            f" AUC {_words(probe)}."
            if probe.auc < LEAST_PROBE_AUC
            else f"The scanner can be predicted from the network's features with AUC {_words(probe)}."
            " That is common, and harmful only where scanner and target are associated."
        )
    if fall is not None:
        low, high = fall.interval
        found.append(
            f"AUC over all pairs of patients {fall.overall:.2f}, over pairs from the same scanner"
            f" {fall.within:.2f}: a fall of {_signed(fall.fall)} (95% CI, {_signed(low)} to"
            f" {_signed(high)})."
        )
    if without is not None and without.area.auc is not None:
        seen = without.area_seen
        beside = f", and {_words(seen)} if trained on it" if seen.auc is not None else ""
        found.append(
            "Networks trained without one scanner and tested on it: AUC"
            f" {_words(without.area)}{beside}."
        )
    return found


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _words(area: Area) -> str:
    if area.interval is None:
        return f"{area.auc:.2f}"
    return f"{area.auc:.2f} (95% CI, {area.interval[0]:.2f} to {area.interval[1]:.2f})"


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
    verdicts: tuple[ShortcutConclusion, ...]

    @property
    def has_networks_left_out(self) -> bool:
        """Whether networks were trained without a scanner, beside baselines."""
        return any(not is_baseline(found.run) for found in self.left_out)
