"""What tuning buys: the best of n configurations, regrets, learning rates, and sample sizes.

Scores are one number per configuration, larger is better; those that are not finite are left out.
"""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
from scipy import stats

from stage1.claims.aggregates import RESAMPLES, Band, no_band, percentile_band
from stage1.claims.intervals import Values


def expected_best(scores: Values, *, draws: int, replacement: bool = False) -> Values:
    """Expected best of n configurations drawn at random, n = 1 .. `draws`.

    Read it only up to a quarter of the configurations: beyond, it rests on the few best ones. It
    means something for independent or Sobol configurations only, not for those that a search chose.

    Args:
        scores: One per configuration.
        draws: Largest n, from 1 to the number of scores.
        replacement: Draw from the scores as if they were all there is. That is for n > 1 below the
            truth on average, because a draw may repeat another; without it there is no bias.

    Returns:
        (draws), never falling.

    Raises:
        ValueError: `draws` is out of its range.

    Source:
        Without replacement Tang et al. 2020, "Showing Your Work Doesn't Always Work"; with it Dodge
        et al. 2019, "Show Your Work", section 3.
    """
    ordered = _ordered(scores, draws)
    number = len(ordered)
    if not replacement:
        return _chances_without_replacement(number, draws) @ ordered
    share = np.arange(number + 1) / number
    return np.diff(share ** np.arange(1, draws + 1)[:, None], axis=1) @ ordered


def _ordered(scores: Values, draws: int) -> Values:
    """The finite scores, worst first."""
    ordered = np.sort(scores[np.isfinite(scores)])
    if not 1 <= draws <= len(ordered):
        raise ValueError(f"draws must be in 1 .. {len(ordered)}, the number of scores, got {draws}")
    return ordered


def _chances_without_replacement(number: int, draws: int) -> Values:
    """Chance that the best of n is the i-th worst, (draws, number).

    All n lie among the i worst with chance i/N (i-1)/(N-1) .. (i-n+1)/(N-n+1).
    """
    before = np.arange(draws)[:, None]
    factors = np.maximum(np.arange(number + 1) - before, 0) / (number - before)
    return np.diff(np.cumprod(factors, axis=0), axis=1)


def expected_best_band(
    scores: Values,
    *,
    draws: int,
    generator: np.random.Generator,
    error_rate: float = 0.05,
    resamples: int = RESAMPLES,
) -> Band:
    """`expected_best` with a bootstrap band over configurations.

    Args:
        scores: One per configuration.
        draws: Largest n, from 1 to the number of scores; the band is too narrow above a quarter of
            it, since no sample holds a better configuration than the best one seen.
        generator: Of the bootstrap samples.
        error_rate: Probability outside the band at each n, two-sided, in (0, 1).
        resamples: Bootstrap samples.

    Returns:
        Arrays (draws); no band with a single score.

    Raises:
        ValueError: `draws` is out of its range.

    Source:
        Tang et al. 2020; percentile bootstrap.
    """
    ordered = _ordered(scores, draws)
    number = len(ordered)
    chances = _chances_without_replacement(number, draws)
    estimate = chances @ ordered
    if number < 2:
        return no_band(estimate)
    # Sorted places pick sorted scores.
    places = np.sort(generator.integers(number, size=(resamples, number)), axis=1)
    return percentile_band(estimate, ordered[places] @ chances.T, error_rate=error_rate)


def median_regret(scores: Values) -> float:
    """Best score minus the median one: what an untuned configuration typically loses.

    Args:
        scores: One per configuration.

    Returns:
        >= 0, in the unit of the score; NaN without a score.
    """
    known = scores[np.isfinite(scores)]
    return float(known.max() - np.median(known)) if known.size else math.nan


def share_near_best(scores: Values, *, delta: float) -> float:
    """Share of the configurations within `delta` of the best, the best one included.

    Args:
        scores: One per configuration.
        delta: Distance that does not matter, >= 0, in the unit of the score.

    Returns:
        In (0, 1]; NaN without a score.
    """
    known = scores[np.isfinite(scores)]
    return float((known >= known.max() - delta).mean()) if known.size else math.nan


def lr_sensitivity(losses: Values, *, initial_loss: float) -> float:
    """Mean loss over a ladder of learning rates, above the best one's.

    A run that ended above where it began, or diverged, counts as if it had not trained.

    Args:
        losses: Final loss at each rate; rates evenly spaced in the exponent. NaN or inf = diverged.
        initial_loss: Before the first step, finite.

    Returns:
        In [0, initial loss - best loss]; 0 = every rate is as good as the best (or none trained).
        NaN without a rate.

    Raises:
        ValueError: `initial_loss` is not finite.

    Source:
        Wortsman et al. 2023, "Small-scale proxies for large-scale Transformer training
        instabilities", section 2.
    """
    if not math.isfinite(initial_loss):
        raise ValueError(f"initial_loss must be finite, got {initial_loss}")
    if losses.size == 0:
        return math.nan
    counted = np.minimum(np.where(np.isfinite(losses), losses, initial_loss), initial_loss)
    return float((counted - counted.min()).mean())


def select_on_one_seed(scores: Values) -> float:
    """Score of the best configuration, chosen on one seed and scored on another.

    A best score is partly luck of its seed; on another seed the luck is gone.

    Args:
        scores: (configurations, seeds); configurations with a score that is not finite are left
            out.

    Returns:
        Mean over all ordered pairs of seeds (choose, score); configurations tied for the best
        count equally. NaN with one seed or without a configuration.

    Source:
        Ours: cross-validation over seeds.
    """
    known = scores[np.isfinite(scores).all(axis=1)]
    seeds = known.shape[1]
    if seeds < 2 or len(known) == 0:
        return math.nan
    chosen = known == known.max(axis=0)  # (configurations, seeds)
    pairs = permutations(range(seeds), 2)
    return float(np.mean([known[chosen[:, one], other].mean() for one, other in pairs]))


def sample_size(
    probability: float, *, paired: bool, alpha: float = 0.05, beta: float = 0.05
) -> int:
    """Runs for a one-sided test to see that a run of the first arm beats one of the second.

    Args:
        probability: That it does, in [0, 1], not .5.
        paired: Count pairs for the sign test; else runs per arm for the rank test.
        alpha: Error rate where there is no difference, in (0, .5).
        beta: Chance to miss it, in (0, .5).

    Raises:
        ValueError: `probability` is out of its range.

    Source:
        Noether 1987, "Sample Size Determination for Some Common Nonparametric Tests", the rank test
        for arms of equal size; Bouthillier et al. 2021, appendix.
    """
    if not 0 <= probability <= 1 or probability == 0.5:
        raise ValueError(f"probability must be in [0, 1] and not .5, got {probability}")
    quantiles = float(stats.norm.isf(alpha) + stats.norm.isf(beta))
    return math.ceil((quantiles / (probability - 0.5)) ** 2 / (4 if paired else 6))
