"""What an early score says of the final one: rank correlations, their ceiling, and regret.

A bootstrap sample of configurations is a vector of counts w, and the parts of Kendall's tau-b are
quadratic forms in it: concordance w'Cw, untied pairs w'Aw and w'Bw. So thousands of samples are a
few matrix products, of whole numbers that are exact in float32 for up to 4,096 configurations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.claims.intervals import NO_INTERVAL, Interval, Values
from stage1.run.registration import ERROR_RATE

Signs = NDArray[np.float32]
RESAMPLES = 4000
"""Bootstrap samples; the tails of the deciding interval hold 17 of them each."""


class Pairing(NamedTuple):
    """Signs of all differences between configurations in two columns of scores."""

    concordance: Signs  # (configurations, configurations), in -1, 0, 1
    untied_first: Signs
    untied_second: Signs


def _pairing(first: Values, second: Values) -> Pairing:
    a = np.sign(first[:, None] - first[None, :]).astype(np.float32)
    b = np.sign(second[:, None] - second[None, :]).astype(np.float32)
    return Pairing(a * b, a * a, b * b)


def _tau(pairing: Pairing, counts: Values) -> Values:
    """Kendall's tau-b under each row of counts (samples, configurations); NaN if all are tied."""
    weights = counts.astype(np.float32)
    parts = [np.einsum("si,si->s", weights @ matrix, weights).astype(float) for matrix in pairing]
    untied = np.sqrt(parts[1] * parts[2])
    defined = untied > 0
    return np.where(defined, parts[0] / np.where(defined, untied, 1.0), np.nan)


def _mean_tau(pairings: Iterable[Pairing], counts: Values) -> Values:
    return np.asarray(np.mean([_tau(pairing, counts) for pairing in pairings], axis=0))


def early_tau(early: Values, final: Values) -> float:
    """Rank agreement of early scores with final scores of other seeds.

    Mean of Kendall's tau-b over all ordered pairs of different seeds: an early and a final score of
    one seed share its luck, and would agree without saying anything of the configuration.

    Args:
        early: (configurations, seeds), finite.
        final: The same.

    Returns:
        In [-1, 1]; NaN with one seed, or where a column is constant.

    Source:
        Kendall 1945, "The treatment of ties in ranking problems"; across seeds: ours.
    """
    pairings = _across_seeds(early, final)
    return float(_mean_tau(pairings, np.ones((1, len(early))))[0]) if pairings else math.nan


def _across_seeds(early: Values, final: Values) -> list[Pairing]:
    seeds = range(early.shape[1])
    return [_pairing(early[:, one], final[:, other]) for one, other in permutations(seeds, 2)]


def tau_ceiling(final: Values) -> float:
    """Rank agreement of final scores between seeds: what no early score can be asked to exceed.

    Args:
        final: (configurations, seeds), finite.

    Returns:
        Mean Kendall's tau-b over pairs of seeds, in [-1, 1]; NaN with one seed, or where a column
        is constant.
    """
    pairings = [
        _pairing(final[:, one], final[:, other])
        for one, other in combinations(range(final.shape[1]), 2)
    ]
    return float(_mean_tau(pairings, np.ones((1, len(final))))[0]) if pairings else math.nan


def same_seed_tau(early: Values, final: Values) -> float:
    """Mean Kendall's tau-b of early and final scores of the same seed: what a scheduler sees.

    Args:
        early: (configurations, seeds), finite.
        final: The same.
    """
    pairings = [_pairing(early[:, seed], final[:, seed]) for seed in range(early.shape[1])]
    return float(_mean_tau(pairings, np.ones((1, len(early))))[0])


def selection_regret(early: Values, final: Values) -> float:
    """What is lost by choosing the configuration with the best early score.

    Args:
        early: (configurations, seeds), finite; larger is better.
        final: The same.

    Returns:
        Best mean final score minus that of the configuration chosen, mean over the seeds that
        choose; >= 0, in the unit of the score. Ties choose the first.
    """
    means = final.mean(axis=1)
    return float(np.mean(means.max() - means[early.argmax(axis=0)]))


def tau_difference(
    first: tuple[Values, Values],
    second: tuple[Values, Values],
    *,
    error_rate: float = ERROR_RATE,
    resamples: int = RESAMPLES,
    generator: np.random.Generator,
) -> Interval:
    """Difference of two arms' `early_tau`, with a bootstrap over configurations.

    Percentile interval; configurations are drawn together for both arms, all seeds and both epochs.

    Args:
        first: Early and final scores of one arm, (configurations, seeds) each, finite.
        second: Of the other arm, the same configurations.
        error_rate: Probability outside, two-sided, in (0, 1).
        resamples: Bootstrap samples; those with a constant column are left out.
        generator: Of the samples.

    Returns:
        `NO_INTERVAL` with one seed, where a column is constant, or where the interval has no width.

    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
    """
    pairings = [_across_seeds(*first), _across_seeds(*second)]
    n = len(first[0])
    if not all(pairings):
        return NO_INTERVAL
    counts = generator.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    counts = np.concatenate([np.ones((1, n)), counts])  # the sample itself comes first
    taus = [_mean_tau(arm, counts) for arm in pairings]
    estimate, *drawn = taus[0] - taus[1]
    differences = np.array(drawn)[np.isfinite(drawn)]
    if not math.isfinite(estimate) or len(differences) < resamples / 2:
        return NO_INTERVAL
    low, high = np.quantile(differences, [error_rate / 2, 1 - error_rate / 2])
    if low == high:
        return NO_INTERVAL
    tail = min((differences <= 0).mean(), (differences >= 0).mean())
    p = min(2 * max(float(tail), 1 / len(differences)), 1.0)
    return Interval(float(estimate), float(low), float(high), p)
