"""Claims 1 and 4: configurations and seeds lie less far apart.

Both ratios of spreads are studentised with the jackknife over configurations.

The spread between configurations has the seeds' noise taken out, so it may come out as nothing at
all; its interval is Fieller's, on the variances, which needs no logarithm. On the log scale a
strong reduction is lost: of 64 configurations, a spread that is truly 75 % smaller was found in
half of the studies, and in 99 % of them this way, at the same error rate.

The variance between seeds cannot be nothing and has heavy tails, so its ratio is taken on the log
scale. A variance is a mean of squares, whose jackknife error rests on fourth moments: the interval
takes half of the usual degrees of freedom, and fewer where a few configurations decide. With all
of them such ratios were called different twice as often as they may be. Both findings:
benchmarks/claims.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from stage1.claims.intervals import (
    NO_INTERVAL,
    Interval,
    Values,
    exponential,
    mean_interval,
    ratio_interval,
    student_interval,
)
from stage1.claims.scores import ArmScores, scored, share_diverged
from stage1.claims.verdicts import Decision, Finding, Verdict, advice, decide, not_evaluable

LEAST_RELIABILITY = 0.5
"""Below it the spread between configurations is mostly the seeds' noise."""
CONSTANT = 1e-12
"""Variance below this share of the largest square is rounding."""
_LARGEST_CORRELATION = 1 - 1e-7


def sensitivity(
    first: ArmScores, second: ArmScores, *, claimed: float, error_rate: float
) -> Finding:
    """1 - sigma of the first / sigma of the second, between configurations, seed noise removed.

    Of log val_loss at the horizon.
    """
    spread = spread_ratio(first.log_loss, second.log_loss, error_rate=error_rate)
    effect = spread.ratio.below(1.0)
    others = [
        1 - spread_ratio(*scores, error_rate=error_rate).ratio.estimate
        for scores in (
            (first.final, second.final),
            (_fisher(first.final), _fisher(second.final)),
        )
    ]
    shown = {
        f"spread of log val_loss, {first.name}": spread.sigmas[0],
        f"spread of log val_loss, {second.name}": spread.sigmas[1],
        f"share of the variance that is not seed noise, {second.name}": spread.reliability,
        "smaller by, on val_correlation": others[0],
        "smaller by, on Fisher's z": others[1],
    }
    if first.final.shape[1] < 2:
        return not_evaluable(effect, "needs two seeds to tell spread from noise", shown)
    if math.isnan(spread.reliability):
        return not_evaluable(effect, "needs three configurations with two seeds that vary", shown)
    if spread.reliability < LEAST_RELIABILITY:
        return not_evaluable(
            effect,
            f"only {max(spread.reliability, 0):.0%} of the variance between the comparison arm's "
            f"configurations is not seed noise, less than {LEAST_RELIABILITY:.0%}; more seeds "
            "would help",
            shown,
        )
    needed = advice(spread.difference, scored(first.final, second.final))
    decision = decide(effect, claimed=claimed, advice=needed)
    if decision.verdict is Verdict.SUPPORTED and spread.all_noise:
        reason = "the smaller spread is all noise, so its size is not known"
        decision = Decision(Verdict.DIRECTION_ONLY, reason)
    if decision.verdict is Verdict.SUPPORTED and not min(others) > 0:
        reason = "scale dependent: val_correlation does not agree with val_loss"
        decision = Decision(Verdict.INCONCLUSIVE, reason)
    return Finding(effect, decision, shown)


def _fisher(correlations: Values) -> Values:
    return np.arctanh(np.clip(correlations, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))


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
        return not_evaluable(effect, "needs two seeds", shown)
    if math.isnan(effect.estimate):
        return not_evaluable(
            effect, "needs three configurations with two seeds that differ in both arms", shown
        )
    needed = advice(log_ratio.below(0.0), len(losses[0]))
    decision = decide(effect, claimed=claimed, advice=needed)
    if decision.verdict is Verdict.SUPPORTED and shares[0] > shares[1]:
        decision = Decision(Verdict.DIRECTION_ONLY, "it diverges more often")
    return Finding(effect, decision, shown)


def losses_without_divergence(first: ArmScores, second: ArmScores) -> tuple[Values, Values]:
    """Both arms' log val_loss, of configurations that diverged in neither."""
    calm = ~(first.diverged | second.diverged).any(axis=1)
    return first.log_loss[calm], second.log_loss[calm]


class SpreadRatio(NamedTuple):
    """Two arms' spreads between configurations."""

    ratio: Interval
    """Of standard deviations, first / second, >= 0; may have no end."""
    difference: Interval
    """Second variance minus first, bounded."""
    sigmas: tuple[float, float]
    """Standard deviation of each arm's configurations, noise taken out; 0 where it is all noise."""
    reliability: float
    """Second arm: share of the observed variance that is not noise; <= 0 where all is noise."""
    all_noise: bool
    """Whether the first arm's spread is no larger than its noise alone would make it."""


def noise_corrected_variance(scores: Values) -> Values:
    """Variance between configurations, without what the seeds' noise adds to it.

    Var_c(mean over seeds) - mean_c(variance over seeds / seeds).

    Args:
        scores: (..., configurations, seeds), at least two of each; NaN seeds do not count, but
            every configuration has two that do.

    Returns:
        (...), negative where the noise explains more than there is.

    Source:
        The ANOVA estimator of a variance component; Searle, Casella, McCulloch 1992, chapter 3.
    """
    means, noise = _means_and_noise(scores)
    return np.asarray(means.var(axis=-1, ddof=1) - noise.mean(axis=-1))


def _means_and_noise(scores: Values) -> tuple[Values, Values]:
    """Mean over seeds and its error variance, (..., configurations) each."""
    counts = np.isfinite(scores).sum(axis=-1)
    return np.nanmean(scores, axis=-1), np.nanvar(scores, axis=-1, ddof=1) / counts


def spread_ratio(first: Values, second: Values, *, error_rate: float) -> SpreadRatio:
    """How the spread between configurations compares in two arms.

    Args:
        first: (configurations, seeds) of one arm; configurations with fewer than two scores in
            either arm are left out.
        second: The same of the other arm.
        error_rate: Probability outside the interval, two-sided, in (0, 1).

    Returns:
        `ratio` is `NO_INTERVAL` below three configurations, or where the second arm's spread is
        all noise; its `p` is for a ratio of 1.

    Source:
        Pseudo-values: Miller 1974, "The jackknife - a review"; Fieller's set of them: ours.
    """
    arms = _with_two_scores(first, second)
    if arms.shape[1] < 3:
        return SpreadRatio(NO_INTERVAL, NO_INTERVAL, (math.nan, math.nan), math.nan, False)
    values = pseudo_values(arms)
    rounding = _rounding(arms)
    variances = values.mean(axis=-1)
    observed = np.nanmean(arms[1], axis=-1).var(ddof=1)
    sigmas = np.sqrt(np.maximum(variances, 0.0))
    of_variances = ratio_interval(values[0], values[1], error_rate=error_rate)
    if not variances[1] > rounding:
        of_variances = NO_INTERVAL
    return SpreadRatio(
        ratio=_of_deviations(of_variances),
        difference=mean_interval(values[1] - values[0], error_rate=error_rate),
        sigmas=(float(sigmas[0]), float(sigmas[1])),
        reliability=float(variances[1] / observed) if observed > rounding else math.nan,
        all_noise=bool(variances[0] <= rounding),
    )


def _with_two_scores(first: Values, second: Values) -> Values:
    """(2, configurations, seeds), of configurations with two scores or more in both arms."""
    enough = (np.isfinite(first).sum(axis=1) >= 2) & (np.isfinite(second).sum(axis=1) >= 2)
    return np.stack([first[enough], second[enough]])


def _rounding(scores: Values) -> float:
    """Variance that equal numbers of this size may have by rounding."""
    return CONSTANT * float(np.nanmax(np.square(scores), initial=0.0))


def _of_deviations(variances: Interval) -> Interval:
    """The ratio of standard deviations from that of variances, which noise may make negative."""
    estimate, low, high, p = variances
    if low == -math.inf:
        return Interval(_root(estimate), low, high, p)  # no end, rather than an end at 0
    return Interval(_root(estimate), _root(low), _root(high), p)


def _root(variance_ratio: float) -> float:
    return math.nan if math.isnan(variance_ratio) else math.sqrt(max(variance_ratio, 0.0))


def pseudo_values(scores: Values) -> Values:
    """Jackknife pseudo-values of `noise_corrected_variance`, whose mean it is.

    Args:
        scores: (..., configurations, seeds), at least three configurations.

    Returns:
        (..., configurations).
    """
    means, noise = _means_and_noise(scores)
    n = means.shape[-1]
    whole = means.var(axis=-1, ddof=1) - noise.mean(axis=-1)
    return np.asarray(n * whole[..., None] - (n - 1) * _leave_one_out(means, noise))


def log_spread_ratio(first: Values, second: Values, *, error_rate: float) -> Interval:
    """The ratio of `spread_ratio` on the log scale; it never decides.

    Args:
        first: (configurations, seeds) of one arm.
        second: The same of the other arm.
        error_rate: Probability outside the interval, two-sided, in (0, 1).

    Returns:
        log(sigma of the first / sigma of the second), studentised with the jackknife;
        `NO_INTERVAL` below three configurations, or where a spread is all noise, with any one
        configuration left out too.

    Source:
        Miller 1968, "Jackknifing Variances".
    """
    arms = _with_two_scores(first, second)
    if arms.shape[1] < 3:
        return NO_INTERVAL
    means, noise = _means_and_noise(arms)
    whole = means.var(axis=-1, ddof=1) - noise.mean(axis=-1)
    rest = _leave_one_out(means, noise)
    if not min(whole.min(), rest.min()) > _rounding(arms):
        return NO_INTERVAL
    logs, each = 0.5 * np.log(whole), 0.5 * np.log(rest)
    return _jackknife_interval(float(logs[0] - logs[1]), each[0] - each[1], error_rate=error_rate)


def _leave_one_out(means: Values, noise: Values) -> Values:
    """Noise-corrected variance without each configuration in turn, same shape as `means`."""
    n = means.shape[-1] - 1
    shifted = means - means.mean(-1, keepdims=True)  # sums of squares lose digits far from 0
    squares = np.square(shifted).sum(-1, keepdims=True) - np.square(shifted)
    variance = (squares - np.square(shifted) / n) / (n - 1)  # the others sum to -shifted
    return np.asarray(variance - (noise.sum(-1, keepdims=True) - noise) / n)


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
    arms = _with_two_scores(first, second)
    if arms.shape[1] < 3:
        return NO_INTERVAL
    variances = np.nanvar(arms, axis=-1, ddof=1)
    totals = variances.sum(axis=-1)
    rest = totals[:, None] - variances
    if not min(totals.min(), rest.min()) > _rounding(arms):
        return NO_INTERVAL
    estimate = float(np.log(totals[0] / totals[1]))
    return _jackknife_interval(estimate, np.log(rest[0] / rest[1]), error_rate=error_rate)
