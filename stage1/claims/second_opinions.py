"""Lines beside the verdicts that never decide: label swaps, and blocks of validation time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from stage1.claims.finding import (
    EARLY_GAIN,
    EARLY_SIGNAL,
    FINAL_GAIN,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.intervals import Values, exponential
from stage1.claims.robustness import (
    DRAWS,
    BlockInterval,
    LabelSwap,
    block_bootstrap,
    centred_and_scaled,
    holm,
    label_swap_p,
)
from stage1.claims.scores import ArmScores, Scores
from stage1.claims.sentences import signed_share
from stage1.claims.spread import log_spread_ratio, noise_corrected_variance
from stage1.run.columns import BLOCK_SUMS

_SEED = 4711
_FLOOR = 0.01
"""A spread that is all noise counts as this share of the observed variance."""
_RANK_DRAWS = 999
"""Random swaps for ranks, which take the longest."""


class _Swap(NamedTuple):
    """What a claim's label swap exchanges and measures."""

    first: Values
    second: Values
    statistic: Callable[[Values, Values], Values]


def log_scale(first: ArmScores, second: ArmScores, *, error_rate: float) -> dict[str, str]:
    """Claim 1 on the log scale, studentised with the jackknife, in words.

    It has an end where the deciding interval has none, and is wide where a spread nearly vanishes.

    Args:
        first: The arm said to be better.
        second: The comparison arm.
        error_rate: Probability outside the interval, two-sided, in (0, 1).
    """
    ratio = exponential(log_spread_ratio(first.log_loss, second.log_loss, error_rate=error_rate))
    if not ratio.bounded:
        return {SENSITIVITY: "not available"}
    less = [1 - end for end in (ratio.estimate, ratio.high, ratio.low)]
    return {SENSITIVITY: "{} ({} to {})".format(*map(signed_share, less))}


def label_swaps(first: ArmScores, second: ArmScores) -> dict[str, str]:
    """Label-swap p-values of claims 1 to 5, in words, adjusted for their number (Holm)."""
    tests: dict[str, LabelSwap] = {}
    for name, swap in _swaps(first, second).items():
        draws = _RANK_DRAWS if name == EARLY_SIGNAL else DRAWS
        tests[name] = label_swap_p(*swap, generator=np.random.default_rng(_SEED), draws=draws)
    adjusted = holm(np.array([test.p for test in tests.values()]))
    return {
        name: _swap_words(test, float(p))
        for (name, test), p in zip(tests.items(), adjusted, strict=True)
    }


def _swaps(first: ArmScores, second: ArmScores) -> dict[str, _Swap]:
    swaps = {
        EARLY_GAIN: _Swap(first.early, second.early, _difference),
        FINAL_GAIN: _Swap(first.final, second.final, _difference),
    }
    whole = np.isfinite(first.final + second.final).all(axis=1).sum()
    if min(whole, first.final.shape[1]) < 2:  # spreads and ranks need two of each
        return swaps
    centred = (
        centred_and_scaled(first.log_loss, scale=False),
        centred_and_scaled(second.log_loss, scale=False),
    )
    return swaps | {
        SENSITIVITY: _Swap(*centred, _log_spread_ratio),
        STABILITY: _Swap(*_calm(first, second), _log_noise_ratio),
        EARLY_SIGNAL: _Swap(_ranked(first), _ranked(second), _tau_difference),
    }


def _calm(first: ArmScores, second: ArmScores) -> tuple[Values, Values]:
    """Log val_loss of configurations that diverged in neither arm, as claim 4 takes them."""
    calm = ~(first.diverged | second.diverged).any(axis=1)
    return first.log_loss[calm], second.log_loss[calm]


def _ranked(arm: ArmScores) -> Values:
    """Early and final scores on one scale, (configurations, seeds, 2)."""
    return np.stack([centred_and_scaled(arm.early), centred_and_scaled(arm.final)], axis=-1)


def _difference(first: Values, second: Values) -> Values:
    return np.asarray((first - second).mean(axis=(1, 2)))


def _log_spread_ratio(first: Values, second: Values) -> Values:
    logs = []
    for scores in (first, second):  # (swaps, configurations, seeds)
        observed = scores.mean(axis=-1).var(axis=-1)
        logs.append(_log(np.maximum(noise_corrected_variance(scores), _FLOOR * observed)))
    return np.asarray(logs[0] - logs[1])


def _log_noise_ratio(first: Values, second: Values) -> Values:
    noise = [scores.var(axis=-1, ddof=1).sum(axis=-1) for scores in (first, second)]
    return np.asarray(_log(noise[0]) - _log(noise[1]))


def _log(values: Values) -> Values:
    """log, with a floor in place of 0, so that constant scores compare as equal."""
    return np.asarray(np.log(np.maximum(values, np.finfo(float).tiny)))


def _tau_difference(first: Values, second: Values) -> Values:
    return np.asarray(_tau_across_seeds(first) - _tau_across_seeds(second))


def _tau_across_seeds(scores: Values) -> Values:
    """Mean tau-b of early with final scores of other seeds, per swap.

    Args:
        scores: (swaps, configurations, seeds, 2), early and final.
    """
    seeds = scores.shape[2]
    taus = np.zeros(len(scores))
    for early in range(seeds):
        for final in range(seeds):
            if early != final:
                taus += _tau(scores[:, :, early, 0], scores[:, :, final, 1])
    return np.asarray(taus / (seeds * (seeds - 1)))


def _tau(first: Values, second: Values) -> Values:
    """Kendall's tau-b, (swaps); 0 where one is constant."""
    a, b = (np.sign(part[:, :, None] - part[:, None, :]) for part in (first, second))
    untied = np.sqrt((a != 0).sum(axis=(1, 2)) * (b != 0).sum(axis=(1, 2)))
    return np.asarray((a * b).sum(axis=(1, 2)) / np.maximum(untied, 1))


def _swap_words(test: LabelSwap, adjusted: float) -> str:
    if np.isnan(test.p):
        return "not available"
    how = "exact" if test.exact else "random swaps"
    return f"p = {test.p:.3g} ({how}; smallest possible {test.smallest:.2g}; Holm {adjusted:.3g})"


def block_intervals(
    blocks: pd.DataFrame, scores: Scores, arms: tuple[str, str], *, error_rate: float
) -> dict[str, str]:
    """Gains of claims 2 and 3 with a bootstrap over blocks of validation time, in words.

    Args:
        blocks: blocks.parquet, perhaps without rows.
        scores: Says which trials count.
        arms: The pair.
        error_rate: Probability outside the interval, two-sided, in (0, 1).
    """
    epochs = {EARLY_GAIN: scores.early_epoch, FINAL_GAIN: int(scores.epochs[-1])}
    return {
        name: _block_words(_block_gain(blocks, scores, arms, epoch=epoch, error_rate=error_rate))
        for name, epoch in epochs.items()
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
    counted = _counted(scores)
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


def _counted(scores: Scores) -> pd.MultiIndex:
    finite = np.isfinite(next(iter(scores.correlation.values()))[:, :, -1])
    configurations, seeds = np.nonzero(finite)
    return pd.MultiIndex.from_arrays(
        [np.array(scores.configurations)[configurations], np.array(scores.seeds)[seeds]]
    )


def _block_words(interval: BlockInterval) -> str:
    if interval.reason:
        return f"not available: {interval.reason}"
    return (
        f"{signed_share(interval.low)} to {signed_share(interval.high)} over {interval.blocks} "
        "blocks of validation time"
    )
