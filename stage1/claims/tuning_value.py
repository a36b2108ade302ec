"""What tuning is worth in an arm, and how two arms compare in it.

A user who tries three configurations keeps the best of them. How far the middle one lies behind it
is what the choice was worth: the gap. An arm that depends less on its hyperparameters has a smaller
gap. The gap weighs the good half of the configurations: the spread over a whole search space is
the number of one cliff, and no interval of it is both finite and honest.

Scores are higher where better, such as -log val_loss.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np
from scipy import stats

from stage1.claims.intervals import NO_INTERVAL, Interval, Values, exponential, student_interval

FEWEST_CONFIGURATIONS = 12
"""Of a design that was planned with enough and has lost some; fewer give no interval."""

OrderWeights = Callable[[int], Values]
"""Weights of n sorted scores, worst first; they sum to 0."""


@lru_cache(maxsize=64)
def best_minus_middle(configurations: int, *, of: int = 3) -> Values:
    """Weights of E[best of k] - E[middle of k], k configurations drawn without replacement.

    Of n sorted scores the one at place i (from 0) is the best of C(i, k - 1) samples and the middle
    of C(i, j) C(n - 1 - i, j), j = (k - 1) / 2.

    Args:
        configurations: n, at least k.
        of: k, odd.

    Returns:
        (n,), worst score first.

    Source:
        The smallest budget of Probst, Boulesteix, Bischl 2019, "Tunability", that chance does not
        hide; the middle in place of the mean is ours.
    """
    n, half = configurations, of // 2
    best = [comb(i, of - 1) for i in range(n)]
    middle = [comb(i, half) * comb(n - 1 - i, half) for i in range(n)]
    difference = np.array(best, float) - np.array(middle, float)
    return _unchanging(difference / comb(n, of))


@lru_cache(maxsize=64)
def best_minus_mean(configurations: int, *, of: int = 8) -> Values:
    """Weights of E[best of k] - E[one], k configurations drawn without replacement.

    Args:
        configurations: n, at least k.
        of: k.

    Returns:
        (n,), worst score first.

    Source:
        The expected best of k: Tang et al. 2020, "Showing Your Work Doesn't Always Work".
    """
    best = [comb(i, of - 1) for i in range(configurations)]
    return _unchanging(np.array(best, float) / comb(configurations, of) - 1 / configurations)


def _unchanging(weights: Values) -> Values:
    """As every caller gets the same array."""
    weights.flags.writeable = False
    return weights


def weighted_order(scores: Values, weights: OrderWeights) -> tuple[Values, Values]:
    """A weighted sum of sorted scores, and the same without each configuration in turn.

    Args:
        scores: (..., configurations), finite.
        weights: By the number of configurations.

    Returns:
        (...), and (..., configurations) in the order of `scores`. Equal scores may be sorted either
        way: they are exchanged for each other.
    """
    n = scores.shape[-1]
    order = np.argsort(scores, axis=-1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=-1)
    fewer = weights(n - 1)
    # Who is worse than the one left out keeps its place, who is better moves down by one.
    worse = np.zeros_like(ranked)
    better = np.zeros_like(ranked)
    worse[..., 1:] = np.cumsum(ranked[..., :-1] * fewer, axis=-1)
    better[..., :-1] = np.cumsum((ranked[..., 1:] * fewer)[..., ::-1], axis=-1)[..., ::-1]
    without = np.empty_like(ranked)
    np.put_along_axis(without, order, worse + better, axis=-1)
    return ranked @ weights(n), without


class TuningValue(NamedTuple):
    """What tuning is worth in two arms."""

    ratio: Interval
    """First arm's gap / second arm's; its p is for a ratio of 1."""
    gaps: tuple[float, float]
    """Of each arm, in the unit of the scores; NaN without a reason to have one."""
    configurations: int
    """That have a score in both arms."""
    obstacle: str
    """Why there is no interval; empty if there is one."""


def tuning_value(
    first: Values,
    second: Values,
    *,
    weights: OrderWeights = best_minus_middle,
    error_rate: float,
) -> TuningValue:
    """Compare what tuning is worth in two arms.

    Student's interval with n - 1 degrees of freedom on log(gap / gap), its error from the jackknife
    over configurations, each left out in both arms at once.

    Seeds of a configuration are averaged and their noise is not taken out: that lifts both gaps a
    little and draws the ratio towards 1, while a variance from a few repeated configurations breaks
    the error rate.

    Args:
        first: (configurations, seeds) or (configurations,), higher is better, NaN = no score; a
            diverged training stays in with the score it was given.
        second: The same configurations in the other arm.
        weights: Of the sorted scores.
        error_rate: Probability outside the interval, two-sided, in (0, 1).

    Source:
        Miller 1974, "The jackknife - a review"; the estimand and the interval: ours.
    """
    scores = paired_means(first, second)
    n = scores.shape[1]
    nothing = (NO_INTERVAL, (np.nan, np.nan), n)
    if n < FEWEST_CONFIGURATIONS:
        return TuningValue(
            *nothing,
            f"{n} configurations have a score in both arms, {FEWEST_CONFIGURATIONS} needed",
        )
    if scores.var(axis=1).min() <= 0:
        return TuningValue(*nothing, "all configurations of an arm have the same score")
    gaps, without = weighted_order(scores, weights)
    if min(gaps.min(), without.min()) <= 0:
        return TuningValue(*nothing, "too many configurations of an arm have the same score")
    log_ratio = float(np.log(gaps[0] / gaps[1]))
    each = np.log(without[0] / without[1])
    error = float(np.sqrt((n - 1) / n * np.square(each - each.mean()).sum()))
    logs = student_interval(log_ratio, error, degrees=n - 1, error_rate=error_rate)
    return TuningValue(exponential(logs), (float(gaps[0]), float(gaps[1])), n, "")


def paired_means(first: Values, second: Values) -> Values:
    """Means over seeds of the configurations that both arms have, (2, configurations).

    Args:
        first: (configurations, seeds) or (configurations,); NaN = no score.
        second: The same configurations in the other arm.
    """
    arms = [scores if scores.ndim > 1 else scores[:, None] for scores in (first, second)]
    both = np.logical_and.reduce([np.isfinite(arm).any(axis=1) for arm in arms])
    return np.stack([np.nanmean(arm[both], axis=1) for arm in arms])


class Cliffs(NamedTuple):
    """Configurations that fall far below their arm's median, counted in two arms."""

    first_only: int
    second_only: int
    both: int
    p: float
    """That both arms fall equally often: McNemar's exact test, two-sided."""


def cliffs(first: Values, second: Values, *, depth: float) -> Cliffs:
    """Count the configurations that lie more than `depth` below the median of their arm.

    Args:
        first: (configurations, seeds) or (configurations,), higher is better, NaN = no score.
        second: The same configurations in the other arm.
        depth: In the unit of the scores, > 0.

    Source:
        McNemar 1947; the counting: ours.
    """
    scores = paired_means(first, second)
    low = scores < np.median(scores, axis=1, keepdims=True) - depth
    only = [int((low[arm] & ~low[1 - arm]).sum()) for arm in (0, 1)]
    p = float(stats.binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0
    return Cliffs(only[0], only[1], int(low.all(axis=0).sum()), p)
