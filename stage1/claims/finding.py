"""What every claim's function shares: its result, and the thresholds fixed for all studies."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from stage1.claims.intervals import Interval, Values
from stage1.claims.scores import ArmScores
from stage1.claims.verdicts import Decision, Verdict
from stage1.run import registration as preregistration
from stage1.run.registration import ERROR_RATE

CLAIMED = preregistration.CLAIMED
SENSITIVITY, EARLY_GAIN, FINAL_GAIN, STABILITY, EARLY_SIGNAL = CLAIMED
COST = "cost"
LEAST_RELIABILITY = 0.5
"""Below it the spread between configurations is mostly the seeds' noise."""
LEAST_CORRELATION = 0.05
"""A ratio of correlations needs a denominator that is clearly above this."""
LEAST_CEILING = 0.5
"""Below it the seeds do not agree on the ranking themselves."""
LEAST_CONFIGURATIONS_FOR_RANKS = 32
"""Below it a bootstrap of rank correlations misses its error rate."""
MOST_NOT_FINITE = 0.20
"""More diverged trials than this in both arms leave nothing to compare."""


class Finding(NamedTuple):
    """What the scores of two arms say of a claim."""

    effect: Interval
    """Positive where the claim holds."""
    decision: Decision
    shown: dict[str, float]
    """Further numbers, by what they are."""


class Definition(Protocol):
    """A claim as a function of two arms' scores, the one said to be better first."""

    def __call__(
        self, first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE
    ) -> Finding:
        """What the scores say, by an interval with this probability outside it, two-sided."""


def not_evaluable(effect: Interval, reason: str, shown: dict[str, float]) -> Finding:
    """The finding of a claim that the scores cannot speak to."""
    return Finding(effect, Decision(Verdict.NOT_EVALUABLE, reason), shown)


def scored(*scores: Values) -> int:
    """Configurations that have a score in all of them."""
    return int(np.logical_and.reduce([np.isfinite(part).any(axis=1) for part in scores]).sum())


def share_diverged(arm: ArmScores) -> float:
    """Share of the trials that count which diverged, in [0, 1]; 0 where none counts."""
    counted = np.isfinite(arm.final)
    return float(arm.diverged[counted].mean()) if counted.any() else 0.0


def too_few_finite(first: ArmScores, second: ArmScores) -> str:
    """Why too much has diverged to compare two arms; empty if it has not."""
    shares = [share_diverged(arm) for arm in (first, second)]
    if min(shares) <= MOST_NOT_FINITE:
        return ""
    return (
        f"{shares[0]:.0%} and {shares[1]:.0%} of the trials diverged, more than "
        f"{MOST_NOT_FINITE:.0%} in both arms"
    )
