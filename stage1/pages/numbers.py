"""How numbers are written in a report: one rule each, NaN always as a dash."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from stage1.claims.catalogue import Unit
from stage1.claims.claim import MOST_TOLD, Claim

SAMENESS = {False: "to the last bit", True: "up to the last digits"}
"""How far the same training gives the same numbers again, by whether a GPU computes them."""
UNDEFINED = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_INFINITY = "\N{INFINITY}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_ROUNDING = 1e-12
_MOST_EXTRA = 2
"""Digits that are added at most to tell a number from the one that a verdict compares it with."""


def number(value: Any, *, digits: int = 4) -> str:
    """A number with so many digits after the point; a dash where it is not finite."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:.{digits}f}".replace("-", _MINUS)


def significant(value: float) -> str:
    """Four significant digits; whole numbers without a point, what rounding leaves of 0 as 0."""
    if not math.isfinite(value):
        return UNDEFINED
    if abs(value) < _ROUNDING:
        return "0"
    return f"{value:.4g}".replace("-", _MINUS)


def share(value: float) -> str:
    """A share of a whole in per cent, without a sign."""
    return f"{value:.1%}" if math.isfinite(value) else UNDEFINED


def p_value(p: float) -> str:
    """A p-value with three digits."""
    if math.isnan(p):
        return UNDEFINED
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def effect(claim: Claim, value: float) -> str:
    """An effect in the unit of its claim: per cent, a difference, or a ratio.

    With up to two digits more than usual where rounding would make it what is claimed, or no
    effect: a verdict may hang on the difference. NaN is undefined, an infinite value has no end.
    """
    if math.isnan(value):
        return UNDEFINED
    if math.isinf(value):
        return _INFINITY if value > 0 else _MINUS + _INFINITY
    is_ratio = claim.definition.unit is Unit.RATIO
    if abs(value) > MOST_TOLD and not is_ratio:
        return f"{'<' + _MINUS if value < 0 else '>'}{MOST_TOLD:.0%}"
    none = (1.0,) if is_ratio else (0.0, -0.0)  # which is written with either sign
    marks = (claim.claimed, *none)
    for extra in range(_MOST_EXTRA):
        text = _written(claim, value, extra)
        if all(value == mark or text != _written(claim, mark, extra) for mark in marks):
            return text
    return _written(claim, value, _MOST_EXTRA)


def _written(claim: Claim, value: float, extra: int) -> str:
    """With so many digits more than usual."""
    if claim.definition.unit is Unit.RATIO:
        return f"{_TIMES}{value:.{2 + extra}f}"
    is_share = claim.definition.unit is Unit.SHARE
    signed = f"{value:+.{1 + extra}%}" if is_share else f"{value:+.{2 + extra}f}"
    return signed.replace("-", _MINUS)


def effect_interval(claim: Claim) -> str:
    """The interval that decides, in the unit of its claim."""
    return interval_text(claim, claim.interval.low, claim.interval.high)


def interval_text(claim: Claim, low: float, high: float) -> str:
    """Any interval in the unit of a claim."""
    if math.isnan(low) or math.isnan(high):
        return UNDEFINED
    return f"[{effect(claim, low)}, {effect(claim, high)}]"


def claimed_effect(claim: Claim) -> str:
    """What is claimed, as a bound."""
    if claim.definition.unit is Unit.RATIO:
        return f"\N{LESS-THAN OR EQUAL TO} {ratio(claim.claimed)}"
    is_share = claim.definition.unit is Unit.SHARE
    size = f"{claim.claimed:+.0%}" if is_share else f"{claim.claimed:+.2f}"
    return f"\N{GREATER-THAN OR EQUAL TO} {size}"


def ratio(value: float) -> str:
    """A ratio; 1 = equal."""
    return f"{_TIMES}{value:.2f}" if math.isfinite(value) else UNDEFINED


def ratio_interval(low: float, high: float) -> str:
    """The two ends of an interval of a ratio."""
    if math.isnan(low) or math.isnan(high):
        return UNDEFINED
    return f"[{ratio(low)}, {ratio(high)}]"


def moment(time: datetime | None) -> str:
    """A time to the minute, UTC; a dash where there is none."""
    if time is None or pd.isna(time):
        return UNDEFINED
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
