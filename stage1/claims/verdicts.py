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
CONTRARY = (Verdict.NOT_SUPPORTED, Verdict.CONTRADICTED)
"""Verdicts that exclude an effect of the claimed size."""
DECISIVE = (Verdict.SUPPORTED, Verdict.NOT_SUPPORTED, Verdict.CONTRADICTED)
"""Verdicts after which a design need not grow."""
MEANINGS: dict[str, str] = {
    Verdict.SUPPORTED: "The whole interval lies at or above the lower end of what is claimed.",
    Verdict.DIRECTION_ONLY: "The effect is positive; how large it is stays open, or it is smaller "
    "than claimed.",
    Verdict.INCONCLUSIVE: "Neither no effect nor one of the claimed size is excluded: the study is "
    "too small for an answer. It is no sign of absence.",
    Verdict.NOT_SUPPORTED: "An effect of the claimed size is excluded; its direction is open. Or "
    "configurations lie closer together because all of them are worse, which is no merit.",
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
NOT_SHOWN = "not shown: the comparison with shuffled weights is open"
NOT_TESTED = "not tested"
NO_GAIN = "nothing to attribute"
NOT_IN_THIS_DESIGN = "not in this design"
"""How the reason begins where a study was not planned to speak to a claim."""


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


def decide(interval: Interval, *, claimed: float) -> Decision:
    """The verdict of an effect that is positive where the claim holds.

    Args:
        interval: The one that decides.
        claimed: Lower end of the claimed range, > 0.
    """
    estimate, low, high, _ = interval
    if math.isnan(estimate):
        return Decision(Verdict.NOT_EVALUABLE, "there is no estimate")
    if not interval.bounded:
        reason = "the interval has no end, since the comparison arm's number may be 0"
        return Decision(Verdict.INCONCLUSIVE, reason)
    if low >= claimed:
        return Decision(Verdict.SUPPORTED, "")
    if low > 0:
        size = "size compatible" if high >= claimed else "smaller than claimed"
        return Decision(Verdict.DIRECTION_ONLY, size)
    if high < 0:
        return Decision(Verdict.CONTRADICTED, "the effect is the other way")
    if high >= claimed:
        return Decision(Verdict.INCONCLUSIVE, "")
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
