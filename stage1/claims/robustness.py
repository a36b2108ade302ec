"""Second opinions beside the deciding intervals: label swaps, blocks of time, exact counts.

None of these decides a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from stage1.claims.intervals import Values

EXACT_CONFIGURATIONS = 14
"""Up to here every swap is tried: 16,384 of them."""
DRAWS = 4999
"""Random swaps where there are too many to try all."""
FEWEST_BLOCKS = 10
"""Blocks of time below which a bootstrap over them means little."""
CONSTANT = 1e-12
"""Variance below this share of the mean square is rounding."""
CHUNK = 4_000_000
"""Numbers handled at once, 32 MB."""


class LabelSwap(NamedTuple):
    """A label-swap test."""

    p: float
    """Two-sided; NaN = there is none."""
    smallest: float
    """Smallest p that so many configurations and swaps can give; NaN without a configuration."""
    configurations: int
    """How many took part."""
    exact: bool
    """Whether all swaps were tried."""


def label_swap_p(
    first: Values,
    second: Values,
    statistic: Callable[[Values, Values], Values],
    *,
    generator: np.random.Generator,
    draws: int = DRAWS,
) -> LabelSwap:
    """How often a statistic is as extreme when arms are exchanged at random.

    If the arms do not differ, either could have been the other in every configuration, each for
    itself; what belongs to a configuration (seeds, epochs) is exchanged together. Where the claim
    is not about them, take means and scales of the arms out first: `centred_and_scaled`.

    Args:
        first: (configurations, ...) of one arm; a configuration with a value that is not finite in
            either arm is left out.
        second: Of the other arm, same shape.
        statistic: From both arms, (swaps, configurations, ...) each, to (swaps).
        generator: Of the random swaps.
        draws: Random swaps above `EXACT_CONFIGURATIONS` configurations; then the observed
            labelling counts as one more.

    Returns:
        p is twice the smaller tail, at most 1, as `scipy.stats.permutation_test`; NaN without a
        configuration, or where the statistic is not finite for some swap.

    Source:
        Phipson and Smyth 2010, "Permutation P-values Should Never Be Zero".
    """
    inner = tuple(range(1, first.ndim))
    known = np.isfinite(first).all(axis=inner) & np.isfinite(second).all(axis=inner)
    first, second = first[known], second[known]
    number = len(first)
    exact = number <= EXACT_CONFIGURATIONS
    if number == 0:
        return LabelSwap(math.nan, math.nan, 0, exact)
    if exact:
        swaps = (np.arange(2**number)[:, None] >> np.arange(number)) & 1 == 1
    else:
        swaps = generator.integers(2, size=(draws, number)) == 1
        swaps = np.concatenate([np.zeros((1, number), dtype=bool), swaps])
    values = _swapped_statistics(first, second, statistic, swaps)  # the first is the observed one
    return LabelSwap(_two_sided(values), min(2 / len(values), 1.0), number, exact)


def _swapped_statistics(
    first: Values,
    second: Values,
    statistic: Callable[[Values, Values], Values],
    swaps: NDArray[np.bool_],
) -> Values:
    step = max(1, CHUNK // (first.size * len(first)))  # ranks compare all pairs of them
    values = []
    for start in range(0, len(swaps), step):
        chunk = swaps[start : start + step]
        exchanged = chunk.reshape(*chunk.shape, *[1] * (first.ndim - 1))
        values.append(
            statistic(np.where(exchanged, second, first), np.where(exchanged, first, second))
        )
    return np.concatenate(values)


def _two_sided(values: Values) -> float:
    """Twice the smaller tail beyond the first value, itself included."""
    if not np.isfinite(values).all():
        return math.nan
    rounding = 1e-9 * np.abs(values).max()  # equal statistics may differ in their last digits
    below = (values <= values[0] + rounding).mean()
    above = (values >= values[0] - rounding).mean()
    return min(2 * float(min(below, above)), 1.0)


def centred_and_scaled(scores: Values, *, scale: bool = True) -> Values:
    """An arm's scores with mean 0, and standard deviation 1, at each epoch.

    For label swaps of claims about ranks: arms with different means or scales, exchanged as they
    are, would mix two scales, which is no null. For a claim about the spread itself, centre only
    (`scale=False`). For a claim about the mean use neither.

    Args:
        scores: (configurations, seeds, ...), or (configurations); NaN cells do not count.
        scale: Divide by the standard deviation too.

    Returns:
        Same shape; all 0 where the scores are constant. Cells that are not finite become NaN.
    """
    axes = (0, 1) if scores.ndim > 1 else (0,)
    finite = np.isfinite(scores)
    count = np.maximum(finite.sum(axis=axes, keepdims=True), 1)
    known = np.where(finite, scores, 0.0)
    centred = np.where(finite, known - known.sum(axis=axes, keepdims=True) / count, 0.0)
    deviation = np.sqrt(np.square(centred).sum(axis=axes, keepdims=True) / count)
    largest = np.abs(known).max(axis=axes, keepdims=True, initial=0.0)
    varies = deviation > CONSTANT * largest
    centred = np.where(varies, centred, 0.0)
    if scale:
        centred = centred / np.where(varies, deviation, 1.0)
    return np.where(finite, centred, np.nan)


class BlockInterval(NamedTuple):
    """An interval over blocks of validation time."""

    estimate: float
    """On all blocks; NaN = there is none."""
    low: float
    """NaN = not available, and `reason` says why."""
    high: float
    blocks: int
    """Blocks with scored bars."""
    reason: str
    """Why there is no interval; empty where there is one."""


def correlation_from_sums(sums: Values) -> Values:
    """val_correlation from summed products.

    Args:
        sums: (..., series, 6): number of bars, sums of truth, decoded, truth squared, decoded
            squared and their product, one series per timeframe and price.

    Returns:
        (...), mean over the series of Pearson's correlation, in [-1, 1]; a series counts 0 where
        truth or decoded is constant or there is no bar.
    """
    number, truth, decoded, truth_squared, decoded_squared, product = np.moveaxis(sums, -1, 0)
    number = np.maximum(number, 1)
    truth_variance = truth_squared - truth**2 / number
    decoded_variance = decoded_squared - decoded**2 / number
    varies = (truth_variance > CONSTANT * truth_squared) & (
        decoded_variance > CONSTANT * decoded_squared
    )
    size = np.sqrt(np.where(varies, truth_variance * decoded_variance, 1.0))
    correlations = np.where(varies, (product - truth * decoded / number) / size, 0.0)
    return np.asarray(np.clip(correlations, -1, 1).mean(axis=-1))


def block_bootstrap(
    sums: Values,
    statistic: Callable[[Values], Values],
    *,
    generator: np.random.Generator,
    error_rate: float = 0.05,
    resamples: int = 2000,
) -> BlockInterval:
    """How a statistic of many trials varies with the stretch of time they are scored on.

    Blocks of time are drawn with replacement, the same for all trials; every val_correlation is
    computed anew from the drawn blocks.

    Args:
        sums: (trials, blocks, series, 6), as in `correlation_from_sums`; trials of several epochs
            are further trials. All 0 where a block is absent; a series with a sum that is not
            finite counts 0.
        statistic: From val_correlations, (samples, trials), to (samples).
        generator: Of the samples.
        error_rate: Probability outside the interval, two-sided, in (0, 1).
        resamples: Bootstrap samples.

    Returns:
        Percentile interval. Not available below `FEWEST_BLOCKS` blocks, or where the statistic is
        not finite on some sample.

    Source:
        Carlstein 1986, "The Use of Subseries Values for Estimating the Variance of a General
        Statistic"; Künsch 1989 for the bootstrap of blocks.
    """
    finite = np.isfinite(sums).all(axis=(1, 3), keepdims=True)
    sums = np.where(finite, sums, 0.0)
    sums = sums[:, (sums[..., 0] > 0).any(axis=(0, 2))]
    trials, blocks, series, _ = sums.shape
    if trials == 0 or blocks == 0:
        return BlockInterval(math.nan, math.nan, math.nan, blocks, "no scored bars are recorded")
    estimate = float(statistic(correlation_from_sums(sums.sum(axis=1))[None])[0])
    none = BlockInterval(estimate, math.nan, math.nan, blocks, "")
    if blocks < FEWEST_BLOCKS:
        short = f"{blocks} blocks of validation time, at least {FEWEST_BLOCKS} are needed"
        return none._replace(reason=short)
    by_block = np.moveaxis(sums, 1, 0).reshape(blocks, -1)
    counts = generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    step = max(1, CHUNK // by_block.shape[1])
    drawn = []
    for start in range(0, resamples, step):
        resampled = counts[start : start + step].astype(float) @ by_block
        drawn.append(statistic(correlation_from_sums(resampled.reshape(-1, trials, series, 6))))
    values = np.concatenate(drawn)
    undefined = int((~np.isfinite(values)).sum())
    if undefined:
        return none._replace(reason=f"undefined in {undefined} of {resamples} samples of blocks")
    low, high = np.quantile(values, [error_rate / 2, 1 - error_rate / 2])
    return none._replace(low=float(low), high=float(high))


def mcnemar_p(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Exact two-sided p-value that a yes/no outcome is equally frequent in paired trials.

    Args:
        first: Outcome of each trial of one arm.
        second: Of its partner in the other arm, same shape.

    Returns:
        In (0, 1]; 1 where no pair differs.

    Source:
        McNemar 1947, as the exact binomial test of the pairs that differ.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    return float(stats.binomtest(only_first, differ).pvalue) if differ else 1.0


def holm(p_values: Values) -> Values:
    """P-values adjusted for their number.

    Args:
        p_values: In [0, 1]; NaN = a test that could not be made. It counts towards the number.

    Returns:
        Same order, at most 1, NaN where they were.

    Source:
        Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    order = np.argsort(p_values)  # NaN last
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(steps)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
