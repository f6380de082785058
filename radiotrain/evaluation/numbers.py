"""Number formats of pages, after the AMA Manual of Style.

Two digits for what lies between 0 and 1 (AUC 0.70), three for differences of such values and for Brier
scores; P without a leading zero, two digits, three below .01 (P = .03; P < .001). All digits are in
``metrics.json``.

References
----------
AMA Manual of Style, 11th edition, sections 18.7 and 19.5.
"""

from __future__ import annotations

from radiotrain.evaluation.results import TargetResult
from radiotrain.statistics.auc import Interval


def number(value: float | None, digits: int = 2) -> str:
    """Write a number; a dash where there is none."""
    return "–" if value is None else _minus(f"{value:.{digits}f}")


def interval(value: Interval | None, digits: int = 2) -> str:
    """Write the ends of an interval."""
    if value is None:
        return "no interval"
    return f"{number(value[0], digits)} to {number(value[1], digits)}"


def signed(value: float | None, digits: int = 3) -> str:
    """Write a difference with its sign."""
    return "–" if value is None else _minus(f"{value:+.{digits}f}")


def between(value: Interval | None) -> str:
    """Write the interval of a difference."""
    return interval(value, 3)


def p_value(value: float | None) -> str:
    """Write a P value; rounding never takes it across .05."""
    if value is None:
        return "–"
    if value < 0.001:
        return "<.001"
    if value > 0.99:
        return ">.99"
    digits = 3 if value < 0.01 or round(value, 2) == 0.05 else 2
    return f"{value:.{digits}f}".removeprefix("0")


def p_text(value: float) -> str:
    """Write a P value as a sentence has it: P = .03."""
    text = p_value(value)
    return f"P {text[0]} {text[1:]}" if text[0] in "<>" else f"P = {text}"


def percent(value: float | None) -> str:
    """Write a share in per cent."""
    return "–" if value is None else f"{100 * value:.0f}%"


def ci_text(value: float | None, ends: Interval | None, digits: int = 2) -> str:
    """Write a value with its confidence interval: 0.70 (95% CI, 0.61 to 0.78)."""
    if ends is None:
        return number(value, digits)
    return f"{number(value, digits)} (95% CI, {interval(ends, digits)})"


def auc_text(result: TargetResult) -> str:
    """Write a result's AUC with its confidence interval."""
    return ci_text(result.auc, result.auc_ci95)


def counted(num: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def _minus(text: str) -> str:
    """Write a minus sign as one; none before a zero."""
    is_zero = not text.strip("-+0.")
    return (text.lstrip("+-") if is_zero else text).replace("-", "−")
