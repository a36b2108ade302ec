"""Claim 4: the seeds of a configuration lie less far apart.

The variance between seeds cannot be nothing and has heavy tails, so the ratio of two arms' is taken
on the log scale and studentised with the jackknife over configurations. A variance is a mean of
squares, whose jackknife error rests on fourth moments: the interval takes half of the usual degrees
of freedom, and fewer where a few configurations decide. With all of them such ratios were called
different twice as often as they may be (benchmarks/README.md).
"""

from __future__ import annotations

import math

import numpy as np

from stage1.claims.intervals import (
    NO_INTERVAL,
    Interval,
    Values,
    exponential,
    student_interval,
)
from stage1.claims.scores import ArmScores, share_diverged
from stage1.claims.verdicts import (
    NOT_IN_THIS_DESIGN,
    Decision,
    Finding,
    Verdict,
    decide,
    not_evaluable,
)

CONSTANT = 1e-12
"""Variance below this share of the largest square is rounding."""


def stability(first: ArmScores, second: ArmScores, *, claimed: float, error_rate: float) -> Finding:
    """1 - sum of the first's variances over seeds / sum of the second's.

    Of log val_loss at the horizon, on configurations that diverged in neither arm.
    """
    losses = losses_without_divergence(first, second)
    log_ratio = seed_variance_ratio(*losses, error_rate=error_rate)
    effect = exponential(log_ratio).below(1.0)
    shares = [share_diverged(arm) for arm in (first, second)]
    shown = {
        f"share of trials that diverged, {first.name}": shares[0],
        f"share of trials that diverged, {second.name}": shares[1],
        "configurations without divergence": float(len(losses[0])),
    }
    if first.final.shape[1] < 2:
        return not_evaluable(effect, f"{NOT_IN_THIS_DESIGN}: it needs two seeds", shown)
    if math.isnan(effect.estimate):
        return not_evaluable(
            effect, "needs three configurations with two seeds that differ in both arms", shown
        )
    decision = decide(effect, claimed=claimed)
    if decision.verdict is Verdict.SUPPORTED and shares[0] > shares[1]:
        decision = Decision(Verdict.DIRECTION_ONLY, "it diverges more often")
    return Finding(effect, decision, shown)


def losses_without_divergence(first: ArmScores, second: ArmScores) -> tuple[Values, Values]:
    """Both arms' log val_loss, of configurations that diverged in neither."""
    calm = ~(first.diverged | second.diverged).any(axis=1)
    return first.log_loss[calm], second.log_loss[calm]


def seed_variance_ratio(first: Values, second: Values, *, error_rate: float) -> Interval:
    """Log of the ratio of two arms' variances across seeds, pooled over configurations.

    Args:
        first: (configurations, seeds) of one arm; configurations with fewer than two scores in
            either arm are left out.
        second: The same of the other arm.
        error_rate: Probability outside the interval, two-sided, in (0, 1).

    Returns:
        log(sum of the first's variances / sum of the second's); `NO_INTERVAL` below three
        configurations, or where an arm does not vary with the seed.

    Source:
        Miller 1968, "Jackknifing Variances"; Satterthwaite 1946, "An Approximate Distribution of
        Estimates of Variance Components"; the half is ours.
    """
    enough = (np.isfinite(first).sum(axis=1) >= 2) & (np.isfinite(second).sum(axis=1) >= 2)
    arms = np.stack([first[enough], second[enough]])
    if arms.shape[1] < 3:
        return NO_INTERVAL
    variances = np.nanvar(arms, axis=-1, ddof=1)
    totals = variances.sum(axis=-1)
    rest = totals[:, None] - variances
    rounding = CONSTANT * np.nanmax(np.square(arms))
    if not min(totals.min(), rest.min()) > rounding:
        return NO_INTERVAL
    estimate = float(np.log(totals[0] / totals[1]))
    return _jackknife_interval(estimate, np.log(rest[0] / rest[1]), error_rate=error_rate)


def _jackknife_interval(estimate: float, each: Values, *, error_rate: float) -> Interval:
    """Student's interval with the jackknife's error.

    Degrees of freedom: half the usual ones, and at most Satterthwaite's 2 v^2 / Var(v) of the
    error's variance v, which is 2 n / (kurtosis - 1) of the values without each configuration.
    """
    n = len(each)
    squares = np.square(each - each.mean())
    total = float(squares.sum())
    kurtosis = n * float(np.square(squares).sum()) / total**2 if total > 0 else 1.0
    degrees = min((n - 1) / 2, 2 * n / max(kurtosis - 1, 1e-9))
    error = math.sqrt((n - 1) / n * total)
    return student_interval(estimate, error, degrees=degrees, error_rate=error_rate)
