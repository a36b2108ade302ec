"""Aggregates over all runs of an arm: interquartile mean, performance profile, P(improvement).

Scores are (configurations, columns): a column is a seed or a timeframe, larger is better, and a
cell that is not finite does not count. Bands resample configurations whole, because a
configuration's columns belong together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.claims.intervals import Values

TRIMMED = 0.25
"""Share of the runs that an interquartile mean leaves out at each end."""
RESAMPLES = 2000
"""Bootstrap samples; ends of a 95 % band then vary by about a tenth of its half width."""


class Band(NamedTuple):
    """Estimates with a bootstrap band around each."""

    estimate: Values
    """NaN = there is none."""
    low: Values
    """NaN = there is none; a single configuration has no band."""
    high: Values


def percentile_band(estimate: Values, drawn: Values, *, error_rate: float) -> Band:
    """The percentile band of estimates from the same estimates on bootstrap samples.

    Args:
        estimate: (...), on all configurations.
        drawn: (samples, ...).
        error_rate: Probability outside the band at each point, two-sided, in (0, 1).

    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    low, high = np.quantile(drawn, [error_rate / 2, 1 - error_rate / 2], axis=0)
    return Band(estimate, low, high)


def no_band(estimate: Values) -> Band:
    """Estimates without a band."""
    nothing = np.full_like(estimate, np.nan)
    return Band(estimate, nothing, nothing)


def interquartile_mean(scores: Values) -> Values:
    """Mean of the middle half of all runs: a quarter is left out at each end.

    It moves less than the mean with a few bad runs, and uses more of the runs than the median.

    Args:
        scores: (configurations, columns, ...); cells that are not finite do not count.

    Returns:
        (...); NaN without any score.

    Source:
        Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
        section 4.3.
    """
    runs = scores.reshape(-1, *scores.shape[2:])
    return _middle_mean(np.moveaxis(runs, 0, -1))


def _middle_mean(runs: Values) -> Values:
    """Interquartile mean over the last axis, as `scipy.stats.trim_mean` where all are finite."""
    ordered = np.sort(np.where(np.isfinite(runs), runs, np.nan), axis=-1)  # NaN last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    cut = np.floor(TRIMMED * count)
    place = np.arange(runs.shape[-1])
    middle = (place >= cut) & (place < count - cut)
    total = np.where(middle, ordered, 0.0).sum(axis=-1)
    number = middle.sum(axis=-1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def interquartile_mean_band(
    scores: Values,
    *,
    generator: np.random.Generator,
    columns_together: bool = True,
    error_rate: float = 0.05,
    resamples: int = RESAMPLES,
) -> Band:
    """The interquartile mean with its bootstrap band.

    Args:
        scores: (configurations, columns, points), for instance one point per epoch; every point
            uses the same bootstrap samples. Without the last axis there is one point.
        generator: Of the samples.
        columns_together: Draw configurations with all their columns. False draws anew in every
            column (stratified by column), right only where columns are independent.
        error_rate: Probability outside the band at each point, two-sided, in (0, 1).
        resamples: Bootstrap samples.

    Returns:
        Arrays (points), or of shape () without that axis. No band below two configurations with a
        score.

    Source:
        Agarwal et al. 2021, section 4.1, for the stratified one; whole configurations are ours.
    """
    scores = _scored(scores)
    estimate = interquartile_mean(scores)
    count, columns = scores.shape[:2]
    if count < 2:
        return no_band(estimate)
    size = (resamples, count, 1 if columns_together else columns)
    rows = generator.integers(count, size=size)
    places = (rows, np.arange(columns))  # (samples, configurations, columns)
    points = scores.reshape(count, columns, -1)
    drawn = [
        _middle_mean(points[..., point][places].reshape(resamples, -1))
        for point in range(points.shape[-1])
    ]
    by_sample = np.stack(drawn, axis=-1).reshape(resamples, *estimate.shape)
    return percentile_band(estimate, by_sample, error_rate=error_rate)


def performance_profile(
    scores: Values,
    thresholds: Values,
    *,
    generator: np.random.Generator,
    error_rate: float = 0.05,
    resamples: int = RESAMPLES,
) -> Band:
    """Share of all runs above each threshold.

    Args:
        scores: (configurations, columns).
        thresholds: (points), in the unit of the score.
        generator: Of the bootstrap over configurations.
        error_rate: Probability outside the band at each threshold, two-sided, in (0, 1).
        resamples: Bootstrap samples.

    Returns:
        Arrays (points) in [0, 1]; NaN without any score, no band below two configurations with
        one.

    Source:
        Agarwal et al. 2021, section 4.2.
    """
    scores = _scored(scores)
    count = len(scores)
    if count == 0:
        return no_band(np.full(len(thresholds), np.nan))
    above = (scores[..., None] > thresholds).sum(axis=1)  # (configurations, points); NaN is not
    runs = np.isfinite(scores).sum(axis=1)  # (configurations), at least 1
    estimate = above.sum(axis=0) / runs.sum()
    if count < 2:
        return no_band(estimate)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    shares = (weights @ above) / (weights @ runs)[:, None]
    return percentile_band(estimate, shares, error_rate=error_rate)


def probability_of_improvement(first: Values, second: Values) -> float:
    """Probability that a run of the first arm beats one of the second, ties counted half.

    Args:
        first: (configurations, columns); not paired with the other's rows.
        second: (any number of configurations, the same columns).

    Returns:
        Mean over the columns, in [0, 1]; .5 = no difference. Columns in which an arm has no score
        do not count; NaN if none is left.

    Source:
        Agarwal et al. 2021, section 4.3: Mann and Whitney's U by the number of pairs.
    """
    shares = []
    for ours, theirs in zip(first.T, second.T, strict=True):
        ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
        if ours.size and theirs.size:
            signs: NDArray[np.float64] = np.sign(ours[:, None] - theirs)
            shares.append((float(signs.mean()) + 1) / 2)
    return float(np.mean(shares)) if shares else float("nan")


def _scored(scores: Values) -> Values:
    """Configurations with any score; cells that are not finite as NaN."""
    scores = np.where(np.isfinite(scores), scores, np.nan)
    anywhere = np.isfinite(scores).any(axis=tuple(range(1, scores.ndim)))
    return scores[anywhere]
