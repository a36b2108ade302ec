"""Claim 5: the early epoch ranks configurations more like the horizon does.

Rank correlations of early with final scores, their ceiling, and what is lost by choosing early.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stage1.claims.intervals import NO_INTERVAL, Interval, Values
from stage1.claims.scores import ArmScores
from stage1.claims.verdicts import (
    NOT_IN_THIS_DESIGN,
    Decision,
    Finding,
    Verdict,
    decide,
    not_evaluable,
)

Signs = NDArray[np.float32]
LEAST_CONFIGURATIONS = 32
"""Below it a bootstrap of rank correlations misses its error rate."""
LEAST_CEILING = 0.5
"""Below it the seeds do not agree on the ranking themselves."""
RESAMPLES = 4000
"""Bootstrap samples; the tails of the deciding interval hold 17 of them each."""
_SEED = 20260  # any number: the bootstrap of a table is always the same

Ranks = tuple[Values, Values]
"""Early and final scores of one arm, (configurations, seeds) each."""


def early_signal(
    first: ArmScores, second: ArmScores, *, claimed: float, error_rate: float
) -> Finding:
    """Difference of the arms' `early_tau`."""
    arrays = (first.early, first.final, second.early, second.final)
    whole = np.logical_and.reduce([np.isfinite(scores).all(axis=1) for scores in arrays])
    number = int(whole.sum())
    arms = [(arm.early[whole], arm.final[whole]) for arm in (first, second)]
    needs = f"it needs {LEAST_CONFIGURATIONS} configurations with two seeds each, got {number}"
    if first.final.shape[1] < 2 or number < 2:
        return not_evaluable(NO_INTERVAL, f"{NOT_IN_THIS_DESIGN}: {needs}", {})
    shown = _rank_numbers(*arms[0], first.name) | _rank_numbers(*arms[1], second.name)
    taus = [float(early_tau(*arm)) for arm in arms]
    if number < LEAST_CONFIGURATIONS:
        estimate = Interval(taus[0] - taus[1], math.nan, math.nan, math.nan)
        return not_evaluable(estimate, f"{NOT_IN_THIS_DESIGN}: {needs}", shown)
    generator = np.random.default_rng(_SEED)
    effect = tau_difference(*arms, error_rate=error_rate, generator=generator)
    ceilings = [tau_ceiling(final) for _, final in arms]
    if math.isnan(effect.estimate):
        return not_evaluable(effect, "all scores are tied, or the interval has no width", shown)
    if not min(ceilings) >= LEAST_CEILING:
        return not_evaluable(
            effect,
            f"final ranks agree between seeds by {min(ceilings):.2f} only, less than "
            f"{LEAST_CEILING}: nothing could predict them",
            shown,
        )
    decision = decide(effect, claimed=claimed)
    relative = [tau / ceiling for tau, ceiling in zip(taus, ceilings, strict=True)]
    if decision.verdict is Verdict.CONTRADICTED and relative[0] >= relative[1]:
        reason = "lower, but not relative to what the seeds' noise allows"
        decision = Decision(Verdict.NOT_SUPPORTED, reason)
    return Finding(effect, decision, shown)


def _rank_numbers(early: Values, final: Values, name: str) -> dict[str, float]:
    tau, ceiling = float(early_tau(early, final)), tau_ceiling(final)
    return {
        f"tau, {name}": tau,
        f"ceiling, {name}": ceiling,
        f"tau / ceiling, {name}": tau / ceiling if ceiling > 0 else math.nan,
        f"same-seed tau, {name}": same_seed_tau(early, final),
        f"regret, {name}": selection_regret(early, final),
    }


class Pairing(NamedTuple):
    """Two columns of scores, compared in all pairs of configurations."""

    concordance: Signs  # (..., configurations, configurations), in -1, 0, 1
    untied_first: Signs
    untied_second: Signs


def _pairing(first: Values, second: Values) -> Pairing:
    """Of columns (..., configurations)."""
    a, b = (
        np.sign(part[..., :, None] - part[..., None, :]).astype(np.float32)
        for part in (first, second)
    )
    return Pairing(a * b, a * a, b * b)


def _across_seeds(early: Values, final: Values) -> list[Pairing]:
    seeds = range(early.shape[-1])
    return [_pairing(early[..., one], final[..., other]) for one, other in permutations(seeds, 2)]


def _mean_tau(
    pairings: Sequence[Pairing], counts: Values | None = None, *, tied: float = math.nan
) -> Values:
    """Mean over the pairings of Kendall's tau-b.

    A bootstrap sample of configurations is a vector of counts w, and the parts of tau-b are
    quadratic forms in it: concordance w'Cw, untied pairs w'Aw and w'Bw. So thousands of samples are
    a few matrix products, of whole numbers that are exact in float32 for up to 4,096
    configurations.

    Args:
        pairings: Perhaps none.
        counts: (samples, configurations), how often each sample holds a configuration; None takes
            all configurations once.
        tied: In place of the tau of a pairing in which all are tied.

    Returns:
        (samples), or (...) without counts; NaN without a pairing.
    """
    taus = []
    for pairing in pairings:
        parts = [_sum_over_pairs(signs, counts) for signs in pairing]
        untied = np.sqrt(parts[1] * parts[2])
        taus.append(np.where(untied > 0, parts[0] / np.where(untied > 0, untied, 1.0), tied))
    return np.asarray(np.mean(taus, axis=0)) if taus else np.asarray(math.nan)


def _sum_over_pairs(signs: Signs, counts: Values | None) -> Values:
    if counts is None:
        return np.asarray(signs.sum(axis=(-2, -1), dtype=float))
    weights = counts.astype(np.float32)
    return np.asarray(np.einsum("si,si->s", weights @ signs, weights), dtype=float)


def early_tau(early: Values, final: Values, *, tied: float = math.nan) -> Values:
    """Rank agreement of early scores with final scores of other seeds.

    Mean of Kendall's tau-b over all ordered pairs of different seeds: an early and a final score of
    one seed share its luck, and would agree without saying anything of the configuration.

    Args:
        early: (..., configurations, seeds), finite.
        final: The same.
        tied: Agreement with a column that is constant.

    Returns:
        (...), in [-1, 1]; NaN with one seed.

    Source:
        Kendall 1945, "The treatment of ties in ranking problems"; across seeds: ours.
    """
    return _mean_tau(_across_seeds(early, final), tied=tied)


def tau_ceiling(final: Values) -> float:
    """Rank agreement of final scores between seeds: what no early score can be asked to exceed.

    Args:
        final: (configurations, seeds), finite.

    Returns:
        Mean Kendall's tau-b over pairs of seeds, in [-1, 1]; NaN with one seed, or where a column
        is constant.
    """
    return float(_mean_tau([_pairing(one, other) for one, other in combinations(final.T, 2)]))


def same_seed_tau(early: Values, final: Values) -> float:
    """Mean Kendall's tau-b of early and final scores of the same seed: what a scheduler sees.

    Args:
        early: (configurations, seeds), finite.
        final: The same.
    """
    columns = zip(early.T, final.T, strict=True)
    return float(_mean_tau([_pairing(one, other) for one, other in columns]))


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
    first: Ranks,
    second: Ranks,
    *,
    error_rate: float,
    resamples: int = RESAMPLES,
    generator: np.random.Generator,
) -> Interval:
    """Difference of two arms' `early_tau`, with a bootstrap over configurations.

    Percentile interval; configurations are drawn together for both arms, all seeds and both epochs.

    Args:
        first: Of one arm, finite.
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
