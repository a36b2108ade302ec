"""Robustness: lines beside the verdicts that never decide.

Label swaps inside configurations, blocks of validation time, and what a statistic does not feel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from stage1.claims.catalogue import (
    ABOUT_SCORES,
    EARLY_GAIN,
    EARLY_SIGNAL,
    FINAL_GAIN,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.claim import signed_share
from stage1.claims.intervals import Values
from stage1.claims.ranks import early_tau
from stage1.claims.scores import ArmScores, Scores, both_scored, floored_log, means_over_seeds
from stage1.claims.stability import losses_without_divergence
from stage1.claims.tuning_value import best_minus_middle, paired_means
from stage1.run.columns import BLOCK_SUMS

EXACT_CONFIGURATIONS = 14
"""Up to here every swap is tried: 16,384 of them."""
DRAWS = 4999
"""Random swaps where there are too many to try all."""
_RANK_DRAWS = 999
"""The same for ranks, which take the longest."""
FEWEST_BLOCKS = 10
"""Blocks of time below which a bootstrap over them means little."""
CONSTANT = 1e-12
"""Variance below this share of the mean square is rounding."""
CHUNK = 4_000_000
"""Numbers handled at once, 32 MB."""
_SEED = 4711

LEAST_OF_A_GAP = 3
"""Configurations: the best of three and the middle one."""

Lines = dict[str, str]
"""A line by the number of its claim."""


def robustness_lines(
    blocks: pd.DataFrame,
    scores: Scores,
    arms: tuple[str, str],
    *,
    fixed: str | None,
    error_rate: float,
) -> dict[str, dict[str, str]]:
    """All lines, by the claim's number and by what they are.

    Args:
        blocks: blocks.parquet, perhaps without rows.
        scores: Of the design.
        arms: The pair, the one said to be better first.
        fixed: The arm of claim 4 in place of the second, if the design has it.
        error_rate: Probability outside an interval, two-sided, in (0, 1).
    """
    pair = (scores.arm(arms[0]), scores.arm(arms[1]))
    kinds = {
        "what it leaves out": left_out(*pair),
        "label swap": label_swaps(*pair, scores.arm(fixed) if fixed else None),
        "blocks of validation time": block_intervals(blocks, scores, arms, error_rate=error_rate),
    }
    return {
        definition.number: {
            kind: lines[definition.number]
            for kind, lines in kinds.items()
            if definition.number in lines
        }
        for definition in ABOUT_SCORES
    }


def left_out(first: ArmScores, second: ArmScores) -> Lines:
    """What the deciding statistics of claims 1 and 4 do not feel, in words."""
    number = len(paired_means(first.log_loss, second.log_loss)[0])
    unseen = f"{1 - 0.05 ** (1 / number):.0%}" if number else "any share"
    return {
        SENSITIVITY.number: "the gap weighs the good half of the configurations, so a rare cliff "
        "alone moves it little: cliffs are counted beside it; failures rarer than "
        f"1 - .05^(1/N) = {unseen} of the configurations go unseen",
        STABILITY.number: "where the noise of one arm alone differs between configurations, the "
        "interval errs in up to 3 % of studies",
    }


# Label swaps ----------------------------------------------------------------------------------


_Swap = tuple[Values, Values, Callable[[Values, Values], Values]]
"""What a claim's label swap exchanges, and the statistic that it measures."""


def label_swaps(first: ArmScores, second: ArmScores, fixed: ArmScores | None) -> Lines:
    """Label-swap p-values of claims 1 to 5, in words, adjusted for their number (Holm).

    Args:
        first: The arm said to be better.
        second: The comparison arm.
        fixed: That of claim 4; None = the claim has no line.
    """
    tests: dict[str, LabelSwap] = {}
    for number, swap in _swaps(first, second, fixed).items():
        draws = _RANK_DRAWS if number == EARLY_SIGNAL.number else DRAWS
        tests[number] = label_swap_p(*swap, generator=np.random.default_rng(_SEED), draws=draws)
    adjusted = holm(np.array([test.p for test in tests.values()]))
    return {
        number: _swap_words(test, float(p))
        for (number, test), p in zip(tests.items(), adjusted, strict=True)
    }


def _swaps(first: ArmScores, second: ArmScores, fixed: ArmScores | None) -> dict[str, _Swap]:
    early, final = _means(first.early, second.early), _means(first.final, second.final)
    swaps: dict[str, _Swap] = {
        EARLY_GAIN.number: (*early, _difference),
        FINAL_GAIN.number: (*final, _difference),
    }
    losses = _means(-first.log_loss, -second.log_loss)
    if np.isfinite(losses[0]).sum() >= LEAST_OF_A_GAP:
        centred = [centred_and_scaled(arm, scale=False) for arm in losses]
        swaps[SENSITIVITY.number] = (centred[0], centred[1], _log_gap_ratio)
    whole = np.isfinite(first.final + second.final).all(axis=1).sum()
    if min(whole, first.final.shape[1]) < 2:  # noise and ranks need two of each
        return swaps
    if fixed:
        losses = losses_without_divergence(first, fixed)
        swaps[STABILITY.number] = (*losses, _log_noise_ratio)
    return swaps | {
        EARLY_SIGNAL.number: (_ranked(first), _ranked(second), _tau_difference),
    }


def _ranked(arm: ArmScores) -> Values:
    """Early and final scores on one scale, (configurations, seeds, 2)."""
    return np.stack([centred_and_scaled(arm.early), centred_and_scaled(arm.final)], axis=-1)


def _means(first: Values, second: Values) -> tuple[Values, Values]:
    """Over the seeds that both arms have, (configurations) each."""
    scores = both_scored(first, second)
    return means_over_seeds(scores[0]), means_over_seeds(scores[1])


def _difference(first: Values, second: Values) -> Values:
    return np.asarray((first - second).mean(axis=1))


def _log_gap_ratio(first: Values, second: Values) -> Values:
    weights = best_minus_middle(first.shape[1])
    gaps = [np.sort(scores, axis=1) @ weights for scores in (first, second)]
    return np.asarray(floored_log(gaps[0]) - floored_log(gaps[1]))


def _log_noise_ratio(first: Values, second: Values) -> Values:
    noise = [scores.var(axis=-1, ddof=1).sum(axis=-1) for scores in (first, second)]
    return np.asarray(floored_log(noise[0]) - floored_log(noise[1]))


def _tau_difference(first: Values, second: Values) -> Values:
    taus = [early_tau(arm[..., 0], arm[..., 1], tied=0.0) for arm in (first, second)]
    return np.asarray(taus[0] - taus[1])


def _swap_words(test: LabelSwap, adjusted: float) -> str:
    if np.isnan(test.p):
        return "not available"
    how = "exact" if test.exact else "random swaps"
    return f"p = {test.p:.3g} ({how}; smallest possible {test.smallest:.2g}; Holm {adjusted:.3g})"


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


# Blocks of validation time --------------------------------------------------------------------


def block_intervals(
    blocks: pd.DataFrame, scores: Scores, arms: tuple[str, str], *, error_rate: float
) -> Lines:
    """Gains of claims 2 and 3 with a bootstrap over blocks of validation time, in words.

    Args:
        blocks: blocks.parquet, perhaps without rows.
        scores: Says which trials count.
        arms: The pair.
        error_rate: Probability outside the interval, two-sided, in (0, 1).
    """
    epochs = {EARLY_GAIN.number: scores.early_epoch, FINAL_GAIN.number: int(scores.epochs[-1])}
    return {
        number: _block_words(_block_gain(blocks, scores, arms, epoch=epoch, error_rate=error_rate))
        for number, epoch in epochs.items()
    }


def _block_gain(
    blocks: pd.DataFrame,
    scores: Scores,
    arms: tuple[str, str],
    *,
    epoch: int,
    error_rate: float,
) -> BlockInterval:
    rows = blocks[(blocks["epoch"] == epoch) & blocks["arm"].isin(arms)]
    finite = np.isfinite(next(iter(scores.correlation.values()))[:, :, -1])
    configuration, seed = np.nonzero(finite)
    counted = pd.MultiIndex.from_arrays(
        [np.array(scores.configurations)[configuration], np.array(scores.seeds)[seed]]
    )
    rows = rows[pd.MultiIndex.from_frame(rows[["config_id", "seed"]]).isin(counted)]
    trial, trials = pd.factorize(rows["trial_id"])
    series, names = pd.factorize(rows["timeframe"] + " " + rows["channel"])
    block = rows["block"].to_numpy(dtype=int)
    sums = np.zeros((len(trials), block.max(initial=-1) + 1, len(names), len(BLOCK_SUMS)))
    sums[trial, block, series] = rows[list(BLOCK_SUMS)].to_numpy(dtype=float, na_value=np.nan)
    arm = rows.drop_duplicates("trial_id")["arm"].to_numpy(dtype=object)
    groups = [arm == name for name in arms]
    if not all(group.any() for group in groups):
        return BlockInterval(np.nan, np.nan, np.nan, 0, "no sums per block are recorded")

    def gain(correlations: Values) -> Values:
        # Sums: both arms count equally many trials, and a diverged one without sums counts 0.
        first, second = (correlations[:, group].sum(axis=1) for group in groups)
        return np.asarray(first / np.where(second == 0, np.nan, second) - 1)

    return block_bootstrap(
        sums, gain, generator=np.random.default_rng(_SEED), error_rate=error_rate
    )


def _block_words(interval: BlockInterval) -> str:
    if interval.reason:
        return f"not available: {interval.reason}"
    return (
        f"{signed_share(interval.low)} to {signed_share(interval.high)} over {interval.blocks} "
        "blocks of validation time"
    )


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
