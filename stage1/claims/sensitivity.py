"""Claim 1: tuning is worth less, so that an untuned configuration lies less far behind.

What decides is the gap of `tuning_value`. The plan's own word is spread; its ratio stands beside
the verdict, with the count of the cliffs that make it up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from stage1.claims.designs import FEWEST_CONFIGURATIONS
from stage1.claims.intervals import Interval, Values, mean_interval
from stage1.claims.scores import ArmScores, both_scored
from stage1.claims.tuning_value import FEWEST_CONFIGURATIONS as FEWEST_LEFT
from stage1.claims.tuning_value import (
    best_minus_mean,
    cliffs,
    paired_means,
    tuning_value,
)
from stage1.claims.verdicts import GAINS, Decision, Finding, Verdict, decide, not_evaluable

CLIFF_DEPTH = 0.1
"""In log val_loss: configurations so far beyond their arm's median are counted as cliffs."""
TRIES = 8
"""Of the user whose gain stands beside the verdict."""
_UNSEEN = 0.05
_LARGEST_CORRELATION = 1 - 1e-7


def sensitivity(
    first: ArmScores, second: ArmScores, *, claimed: float, error_rate: float
) -> Finding:
    """1 - what tuning is worth in the first arm / in the second one, by -log val_loss.

    An arm that learns nothing has nothing to tune: where the first one is clearly worse, a smaller
    gap is no merit. And a smaller gap in log val_loss that is a larger one in val_correlation
    depends on the scale.
    """
    losses = both_scored(-first.log_loss, -second.log_loss)
    value = tuning_value(*losses, error_rate=error_rate)
    effect = value.ratio.below(1.0)
    scales = [_smaller_by(first.final, second.final, scale) for scale in (np.asarray, _fisher)]
    means = paired_means(*losses)
    difference = mean_interval(means[0] - means[1], error_rate=error_rate)
    shown = {
        f"what tuning is worth, {first.name}": value.gaps[0],
        f"what tuning is worth, {second.name}": value.gaps[1],
        "smaller by, on val_correlation": scales[0],
        "smaller by, on Fisher's z": scales[1],
        **_with_ends(f"mean of -log val_loss, {first.name} - {second.name}", difference),
        **_second_lines(first.name, second.name, losses, error_rate=error_rate),
    }
    planned = len(first.log_loss)
    if planned < FEWEST_CONFIGURATIONS:
        reason = f"needs {FEWEST_CONFIGURATIONS} different configurations, got {planned}"
        return not_evaluable(effect, reason, shown)
    if value.configurations < FEWEST_LEFT:
        return not_evaluable(effect, value.obstacle, shown)
    if value.obstacle:
        return Finding(effect, Decision(Verdict.INCONCLUSIVE, value.obstacle), shown)
    decision = decide(effect, claimed=claimed)
    if decision.verdict in GAINS and difference.high < 0:
        reason = "flatter because worse: its mean score is lower"
        decision = Decision(Verdict.NOT_SUPPORTED, reason)
    elif decision.verdict in GAINS and not min(scales) > 0:
        reason = "scale dependent: val_correlation does not agree with val_loss"
        decision = Decision(Verdict.INCONCLUSIVE, reason)
    return Finding(effect, decision, shown)


def _smaller_by(first: Values, second: Values, scale: Callable[[Values], Values]) -> float:
    """The effect on another scale; NaN where it is not defined."""
    scores = both_scored(first, second)
    value = tuning_value(*(scale(arm) for arm in scores), error_rate=_UNSEEN)  # any: no interval
    return 1 - value.ratio.estimate


def _fisher(correlations: Values) -> Values:
    return np.arctanh(np.clip(correlations, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))


def _second_lines(
    first: str, second: str, losses: tuple[Values, Values], *, error_rate: float
) -> dict[str, float]:
    """What else there is to say of how far configurations lie apart; none of it decides."""
    gain = tuning_value(
        *losses, weights=partial(best_minus_mean, of=TRIES), error_rate=error_rate
    ).ratio
    means = paired_means(*losses)
    number = means.shape[1]
    lines = _with_ends(f"gain of {TRIES} tries, ratio", gain)
    if number < 2:
        return lines
    deviations = means.std(axis=1, ddof=1)
    ratio = deviations[0] / deviations[1] if deviations[1] > 0 else math.nan
    counts = cliffs(*losses, depth=CLIFF_DEPTH)
    cliff = f"cliffs, val_loss over {math.expm1(CLIFF_DEPTH):.1%} above the arm's median"
    return lines | {
        "ratio of standard deviations (the plan's spread; a cliff or two decide it)": float(ratio),
        f"{cliff}, in {first} only": float(counts.first_only),
        f"{cliff}, in {second} only": float(counts.second_only),
        f"{cliff}, in both": float(counts.both),
        "p that cliffs are equally frequent (McNemar)": counts.p,
        "failures rarer than this share of the space go unseen": 1 - _UNSEEN ** (1 / number),
    }


def _with_ends(name: str, interval: Interval) -> dict[str, float]:
    return {
        name: interval.estimate,
        f"{name}, from": interval.low,
        f"{name}, to": interval.high,
    }
