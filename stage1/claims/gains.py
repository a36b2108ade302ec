"""Claims 2 and 3: val_correlation is higher, at the early epoch and at the horizon.

Beside each stands the error reduction, how much less is missing to correlation 1: it can be read
also where a correlation near 1 leaves no room for a gain.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from stage1.claims.intervals import Interval, Values, mean_interval, ratio_interval
from stage1.claims.scores import ArmScores, both_scored, means_over_seeds
from stage1.claims.verdicts import CONTRARY, Finding, decide, not_evaluable

LEAST_CORRELATION = 0.05
"""A ratio of correlations needs a denominator that is clearly above this."""

Epoch = Literal["early", "final"]


def gain(
    first: ArmScores, second: ArmScores, *, epoch: Epoch, claimed: float, error_rate: float
) -> Finding:
    """Ratio of the arms' mean val_correlations - 1.

    Near 1 a correlation has no room for the claimed gain: then nothing is supported and nothing is
    left open, but a gain of that size can still be excluded.
    """
    scores = both_scored(_at(first, epoch), _at(second, epoch))
    ours, theirs = map(means_over_seeds, scores)
    ratio = ratio_interval(ours, theirs, error_rate=error_rate)
    effect = Interval(ratio.estimate - 1, ratio.low - 1, ratio.high - 1, ratio.p)
    level = mean_interval(theirs, error_rate=error_rate)
    difference = mean_interval(ours - theirs, error_rate=error_rate)
    shown = {
        f"mean val_correlation, {first.name}": _mean(ours),
        f"mean val_correlation, {second.name}": _mean(theirs),
        "difference": difference.estimate,
    }
    if math.isnan(effect.estimate) or math.isnan(level.low):
        return not_evaluable(effect, "needs two configurations", shown)
    if not level.low > LEAST_CORRELATION:
        return not_evaluable(
            effect,
            f"the comparison arm's val_correlation is not clearly above {LEAST_CORRELATION}: a "
            "ratio to it means nothing",
            shown,
        )
    decision = decide(effect, claimed=claimed)
    room = 1 / _mean(scores[1][~(first.diverged | second.diverged)]) - 1
    if room < 2 * claimed and decision.verdict not in CONTRARY:  # a ceiling hides no loss
        return not_evaluable(
            effect,
            f"at most {room:.1%} is possible, since a correlation ends at 1, and {2 * claimed:.0%} "
            "is needed, twice what is claimed; the error reduction is the line to read",
            shown,
        )
    return Finding(effect, decision, shown)


def error_reduction(
    first: ArmScores, second: ArmScores, *, epoch: Epoch, claimed: float, error_rate: float
) -> Finding:
    """1 - ratio of the arms' mean 1 - val_correlation."""
    scores = both_scored(_at(first, epoch), _at(second, epoch))
    ours, theirs = (1 - means_over_seeds(correlations) for correlations in scores)
    effect = ratio_interval(ours, theirs, error_rate=error_rate).below(1.0)
    shown = {f"1 - r, {first.name}": _mean(ours), f"1 - r, {second.name}": _mean(theirs)}
    if math.isnan(effect.estimate):
        return not_evaluable(effect, "needs two configurations", shown)
    return Finding(effect, decide(effect, claimed=claimed), shown)


def _at(arm: ArmScores, epoch: Epoch) -> Values:
    return arm.early if epoch == "early" else arm.final


def _mean(values: Values) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
