"""From an interval to a verdict, and in words what the verdicts and their reasons mean."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

from stage1.claims.intervals import Interval


class Verdict(StrEnum):
    """What a study says of a claim; `MEANINGS` says it in words."""

    SUPPORTED = "SUPPORTED"
    DIRECTION_ONLY = "DIRECTION ONLY"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_SUPPORTED = "NOT SUPPORTED"
    CONTRADICTED = "CONTRADICTED"
    NOT_EVALUABLE = "NOT EVALUABLE"


GAINS = (Verdict.SUPPORTED, Verdict.DIRECTION_ONLY)
"""Verdicts that say there is an effect in the claimed direction."""
MEANINGS: dict[str, str] = {
    Verdict.SUPPORTED: "The whole interval lies at or above the lower end of what is claimed.",
    Verdict.DIRECTION_ONLY: "The effect is positive; how large it is stays open, or it is smaller "
    "than claimed.",
    Verdict.INCONCLUSIVE: "Neither no effect nor one of the claimed size is excluded: the study is "
    "too small for an answer. It is no sign of absence.",
    Verdict.NOT_SUPPORTED: "An effect of the claimed size is excluded; its direction is open.",
    Verdict.CONTRADICTED: "The effect is the other way.",
    Verdict.NOT_EVALUABLE: "The study cannot speak to the claim; the reason says why.",
}
"""The glossary of the verdicts."""
ENDINGS = {
    Verdict.SUPPORTED: "The claim holds in this study.",
    Verdict.DIRECTION_ONLY: "The direction is shown, the claimed size ({claimed}) is not.",
    Verdict.INCONCLUSIVE: "That leaves open whether there is any effect.",
    Verdict.NOT_SUPPORTED: "So an effect of the claimed size is excluded ({claimed}).",
    Verdict.CONTRADICTED: "The claim is contradicted: the effect is the other way.",
}
"""How the sentence about an effect ends."""
COST_ENDINGS = {
    Verdict.SUPPORTED: "That is within what the plan allows",
    Verdict.CONTRADICTED: "That is more than the plan allows",
    Verdict.INCONCLUSIVE: "That is not clear enough to compare it with what the plan allows",
}
"""How the sentence about a cost ends, before the margin."""

ATTRIBUTABLE = "attributable to what the weights learned"
NOT_ATTRIBUTABLE = "not attributable to what the weights learned"
NOT_TESTED = "attribution not tested"
NO_GAIN = "no gain to attribute"


def cannot_tell(reason: str) -> str:
    """The sentence about a claim that is not evaluable."""
    return f"This study cannot tell: {reason}."


class Decision(NamedTuple):
    """A verdict and why."""

    verdict: Verdict
    reason: str


class Finding(NamedTuple):
    """What the scores of two arms say of a claim."""

    effect: Interval
    """Positive where the claim holds."""
    decision: Decision
    shown: dict[str, float]
    """Further numbers, by what they are."""


def not_evaluable(effect: Interval, reason: str, shown: dict[str, float]) -> Finding:
    """The finding where the scores cannot speak to the claim."""
    return Finding(effect, Decision(Verdict.NOT_EVALUABLE, reason), shown)


MOST_TIMES_LARGER = 10
"""A study that would have to be larger than this many times is not advised."""


def decide(interval: Interval, *, claimed: float, advice: str = "") -> Decision:
    """The verdict of an effect that is positive where the claim holds.

    Args:
        interval: The one that decides.
        claimed: Lower end of the claimed range, > 0.
        advice: What would decide an inconclusive claim.
    """
    estimate, low, high, _ = interval
    if math.isnan(estimate):
        return Decision(Verdict.NOT_EVALUABLE, "there is no estimate")
    if not interval.bounded:
        reason = "the interval has no end, since the comparison arm's number may be 0"
        return Decision(Verdict.INCONCLUSIVE, f"{reason}; {advice}" if advice else reason)
    if low >= claimed:
        return Decision(Verdict.SUPPORTED, "")
    if low > 0:
        size = "size compatible" if high >= claimed else "smaller than claimed"
        return Decision(Verdict.DIRECTION_ONLY, size)
    if high < 0:
        return Decision(Verdict.CONTRADICTED, "the effect is the other way")
    if high >= claimed:
        return Decision(Verdict.INCONCLUSIVE, advice)
    return Decision(Verdict.NOT_SUPPORTED, "an effect of the claimed size is excluded")


def decide_cost(interval: Interval, *, margin: float) -> Decision:
    """The verdict of a cost ratio that is to stay within a margin.

    Args:
        interval: Of the ratio, 1 = equal cost.
        margin: Largest ratio that the claim allows.
    """
    if math.isnan(interval.estimate):
        return Decision(Verdict.NOT_EVALUABLE, "there is no estimate")
    if interval.high <= margin:
        return Decision(Verdict.SUPPORTED, "")
    if interval.low > margin:
        return Decision(Verdict.CONTRADICTED, f"costs more than {margin:g} times as much")
    return Decision(Verdict.INCONCLUSIVE, "the timing is too noisy; time more rounds")


def configurations_needed(interval: Interval, configurations: int) -> int | None:
    """Configurations with which the interval would lie above 0, were the estimate the truth.

    The distance between estimate and lower end shrinks with the root of their number.

    Args:
        interval: Its lower end at or below 0.
        configurations: How many it rests on.

    Returns:
        None where no number up to `MOST_TIMES_LARGER` times as many would do.
    """
    if not (interval.estimate > 0 and math.isfinite(interval.low)):
        return None
    distance = interval.estimate - interval.low
    if distance > math.sqrt(MOST_TIMES_LARGER) * interval.estimate:
        return None
    times = (distance / interval.estimate) ** 2
    return max(math.ceil(configurations * times), configurations + 1)


def advice(interval: Interval, configurations: int) -> str:
    """What would decide an inconclusive claim, in words."""
    needed = configurations_needed(interval, configurations)
    if needed is None:
        return (
            f"cannot be decided with up to {MOST_TIMES_LARGER} times as many configurations at "
            "this estimate"
        )
    power = 2 ** math.ceil(math.log2(needed))
    return (
        f"about {needed} configurations (a design of {power}) would show the direction, if the "
        "estimate is right"
    )
