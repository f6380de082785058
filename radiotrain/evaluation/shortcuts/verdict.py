"""Whether a network may have learnt the scanner in place of the tumour, in words.

Thresholds and their reasons: docs/decisions/0010-shortcut-gate.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from radiotrain.evaluation.shortcuts.stratified import Area
from radiotrain.evaluation.statistics.auc import Interval

ShortcutKind = Literal["pass", "caution", "fail"]

CLEAR_ACQUISITION_AUC = 0.55
"""Acquisition alone predicts the target where its whole interval lies above this."""

LEAST_PROBE_AUC = 0.6
"""With a lower AUC of the probe, the network cannot be said to know the scanner."""

CLEAR_FALL = 0.03
"""An AUC falls within scanners by this or more, and the interval of the fall is above 0."""


@dataclass(frozen=True)
class Fall:
    """AUC over all pairs of patients, and over pairs from the same scanner.

    Parameters
    ----------
    fall
        The first less the second.
    """

    overall: float
    within: float
    fall: float
    interval: Interval
    num_patients: int

    @property
    def is_clear(self) -> bool:
        """Whether the AUC falls by more than chance would have it."""
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
class ShortcutVerdict:
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
) -> ShortcutVerdict:
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
        What networks of its configuration are worth that were trained without each scanner in turn;
        None where there are none. It is told, and decides nothing: such networks had fewer patients.
    """
    predicts = _lies_above(acquisition, CLEAR_ACQUISITION_AUC)
    # A fall is told by many patients, the probe by few of them: it only has to agree.
    is_blind = probe is not None and probe.auc is not None and probe.auc < LEAST_PROBE_AUC
    falls = fall is not None and fall.is_clear
    details = tuple(_details(acquisition, background, probe, fall, without))
    if predicts and falls and not is_blind:
        kind: ShortcutKind = "fail"
        sentence = (
            f"The network reads {target} from the scanner, at least in part: the acquisition alone"
            " predicts it, and among patients of the same scanner the network's AUC falls."
        )
    elif falls:
        kind = "caution"
        sentence = (
            f"Among patients of the same scanner the AUC for {target} falls: part of it is the"
            " difference between scanners."
        )
    elif predicts:
        kind = "caution"
        seen = "It was not seen to do so."
        if fall is None or fall.interval[1] >= CLEAR_FALL:
            seen = "Whether it does, these patients are too few to show."
        sentence = (
            f"The acquisition alone predicts {target} in this cohort, so a network could read it"
            f" from the scanner. {seen}"
        )
    elif _lies_above(background, CLEAR_ACQUISITION_AUC):
        kind = "caution"
        sentence = (
            f"Images without the tumour predict {target}, the acquisition was not seen to: that may"
            " be the breast around it, or how the images were made."
        )
    elif acquisition.auc is None:
        kind = "caution"
        sentence = (
            f"Whether {target} is read from the scanner cannot be judged: {acquisition.reason}."
        )
    elif fall is None:
        kind = "caution"
        sentence = (
            f"The acquisition was not seen to predict {target}, but too few patients share a scanner"
            " to compare the network within scanners."
        )
    else:
        kind = "pass"
        sentence = f"Nothing here suggests that {target} is read from the scanner."
    return ShortcutVerdict(run, target, kind, sentence, details)


def _lies_above(area: Area, value: float) -> bool:
    return area.interval is not None and area.interval[0] > value


def _details(
    acquisition: Area,
    background: Area,
    probe: Area | None,
    fall: Fall | None,
    without: LeftOut | None,
) -> list[str]:
    found: list[str] = []
    if acquisition.interval is not None:
        high = acquisition.interval[1]
        found.append(
            f"Acquisition alone: AUC {_words(acquisition)}; up to {high:.2f} cannot be ruled out."
        )
    if background.interval is not None:
        found.append(f"Images without the tumour: AUC {_words(background)}.")
    if probe is not None and probe.auc is not None:
        found.append(
            f"The scanner was not found in the network's features of {probe.num_patients} patients:"
            f" AUC {_words(probe)}."
            if probe.auc < LEAST_PROBE_AUC
            else f"The scanner can be read from the network's features with AUC {_words(probe)}."
            " That is the rule, and does harm only where the scanner goes with the target."
        )
    if fall is not None:
        low, high = fall.interval
        found.append(
            f"AUC over all pairs of patients {fall.overall:.3f}, over pairs from the same scanner"
            f" {fall.within:.3f}: a fall of {_signed(fall.fall)} (95 % CI {_signed(low)} to"
            f" {_signed(high)})."
        )
    if without is not None and without.area.auc is not None:
        seen = without.area_seen
        beside = f", against {_words(seen)} where they knew it" if seen.auc is not None else ""
        found.append(
            "Networks trained without one scanner and tried on it: AUC"
            f" {_words(without.area)}{beside}."
        )
    return found


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _words(area: Area) -> str:
    if area.interval is None:
        return f"{area.auc:.3f}"
    return f"{area.auc:.3f} (95 % CI {area.interval[0]:.3f} to {area.interval[1]:.3f})"
