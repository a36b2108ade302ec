"""The claims: what each estimates from the scores of two arms, and when it cannot.

Every function takes the arm that is said to be better first, and gives an effect that is positive
where the claim holds. The same function compares the pretrained arm with the random one (the
claim), with the shuffled one (what the weights learned), and two random arms (a check).
"""

from __future__ import annotations

import math

import numpy as np

from stage1.claims.finding import (
    CLAIMED,
    EARLY_GAIN,
    EARLY_SIGNAL,
    FINAL_GAIN,
    LEAST_CEILING,
    LEAST_CONFIGURATIONS_FOR_RANKS,
    LEAST_RELIABILITY,
    SENSITIVITY,
    STABILITY,
    Definition,
    Finding,
    not_evaluable,
    scored,
    share_diverged,
)
from stage1.claims.gains import (
    early_error_reduction,
    early_gain,
    final_error_reduction,
    final_gain,
)
from stage1.claims.intervals import NO_INTERVAL, Interval, Values, exponential
from stage1.claims.ranks import (
    early_tau,
    same_seed_tau,
    selection_regret,
    tau_ceiling,
    tau_difference,
)
from stage1.claims.scores import ArmScores
from stage1.claims.spread import seed_variance_ratio, spread_ratio
from stage1.claims.verdicts import Decision, Verdict, advice, decide
from stage1.run.registration import ERROR_RATE

_RANK_SEED = 20260  # any number: the bootstrap of a table is always the same
_LARGEST_CORRELATION = 1 - 1e-7


def sensitivity(first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE) -> Finding:
    """Claim 1: the spread between configurations is smaller.

    Effect: 1 - sigma_first / sigma_second of log val_loss at the horizon, the seeds' noise removed.
    """
    spread = spread_ratio(first.log_loss, second.log_loss, error_rate=error_rate)
    effect = _less(spread.ratio)
    others = [
        _less(spread_ratio(scale(first.final), scale(second.final)).ratio).estimate
        for scale in (_raw, _fisher)
    ]
    shown = {
        "spread of log val_loss, first arm": spread.sigmas[0],
        "spread of log val_loss, second arm": spread.sigmas[1],
        "share of the variance that is not seed noise, second arm": spread.reliability,
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
    decision = decide(
        effect,
        claimed=CLAIMED[SENSITIVITY],
        advice=advice(spread.difference, scored(first.final, second.final)),
    )
    if decision.verdict is Verdict.SUPPORTED and spread.all_noise:
        decision = Decision(
            Verdict.DIRECTION_ONLY, "the smaller spread is all noise, so its size is not known"
        )
    if decision.verdict is Verdict.SUPPORTED and not min(others) > 0:
        decision = Decision(
            Verdict.INCONCLUSIVE, "scale dependent: val_correlation does not agree with val_loss"
        )
    return Finding(effect, decision, shown)


def _raw(correlations: Values) -> Values:
    return correlations


def _fisher(correlations: Values) -> Values:
    return np.arctanh(np.clip(correlations, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))


def _less(ratio: Interval) -> Interval:
    """1 - ratio."""
    return Interval(1 - ratio.estimate, 1 - ratio.high, 1 - ratio.low, ratio.p)


def stability(first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE) -> Finding:
    """Claim 4: seeds differ less inside a configuration.

    Effect: 1 - sum of the first's variances over seeds / sum of the second's, of log val_loss at
    the horizon, on configurations that diverged in neither arm.
    """
    calm = ~(first.diverged | second.diverged).any(axis=1)
    log_ratio = seed_variance_ratio(
        first.log_loss[calm], second.log_loss[calm], error_rate=error_rate
    )
    effect = _less(exponential(log_ratio))
    shares = [share_diverged(arm) for arm in (first, second)]
    shown = {
        "share of trials that diverged, first arm": shares[0],
        "share of trials that diverged, second arm": shares[1],
        "configurations without divergence": float(calm.sum()),
    }
    if first.final.shape[1] < 2:
        return not_evaluable(effect, "needs two seeds", shown)
    if math.isnan(effect.estimate):
        return not_evaluable(
            effect, "needs three configurations with two seeds that differ in both arms", shown
        )
    logs = Interval(-log_ratio.estimate, -log_ratio.high, -log_ratio.low, log_ratio.p)
    decision = decide(effect, claimed=CLAIMED[STABILITY], advice=advice(logs, int(calm.sum())))
    if decision.verdict is Verdict.SUPPORTED and shares[0] > shares[1]:
        decision = Decision(Verdict.DIRECTION_ONLY, "it diverges more often")
    return Finding(effect, decision, shown)


def early_signal(first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE) -> Finding:
    """Claim 5: the early epoch ranks configurations more like the horizon does.

    Effect: difference of the two arms' `early_tau`.
    """
    arrays = (first.early, first.final, second.early, second.final)
    whole = np.logical_and.reduce([np.isfinite(scores).all(axis=1) for scores in arrays])
    mine = (first.early[whole], first.final[whole])
    others = (second.early[whole], second.final[whole])
    if first.final.shape[1] < 2:
        return not_evaluable(NO_INTERVAL, "needs two seeds: one shares its luck", {})
    if whole.sum() < 2:
        return not_evaluable(NO_INTERVAL, "needs two configurations with every seed", {})
    shown = {
        **_ranks(mine, "first arm"),
        **_ranks(others, "second arm"),
    }
    if whole.sum() < LEAST_CONFIGURATIONS_FOR_RANKS:
        estimate = early_tau(*mine) - early_tau(*others)
        return not_evaluable(
            Interval(estimate, math.nan, math.nan, math.nan),
            f"needs {LEAST_CONFIGURATIONS_FOR_RANKS} configurations, got {whole.sum()}",
            shown,
        )
    effect = tau_difference(
        mine, others, error_rate=error_rate, generator=np.random.default_rng(_RANK_SEED)
    )
    ceilings = [tau_ceiling(final) for _, final in (mine, others)]
    if math.isnan(effect.estimate):
        return not_evaluable(effect, "all scores are tied, or the interval has no width", shown)
    if not min(ceilings) >= LEAST_CEILING:
        return not_evaluable(
            effect,
            f"final ranks agree between seeds by {min(ceilings):.2f} only, less than "
            f"{LEAST_CEILING}: nothing could predict them",
            shown,
        )
    decision = decide(
        effect, claimed=CLAIMED[EARLY_SIGNAL], advice=advice(effect, int(whole.sum()))
    )
    relative = [early_tau(*arm) / top for arm, top in zip((mine, others), ceilings, strict=True)]
    if decision.verdict is Verdict.CONTRADICTED and relative[0] >= relative[1]:
        decision = Decision(
            Verdict.NOT_SUPPORTED, "lower, but not relative to what the seeds' noise allows"
        )
    return Finding(effect, decision, shown)


def _ranks(arm: tuple[Values, Values], name: str) -> dict[str, float]:
    tau, ceiling = early_tau(*arm), tau_ceiling(arm[1])
    return {
        f"tau, {name}": tau,
        f"ceiling, {name}": ceiling,
        f"tau / ceiling, {name}": tau / ceiling if ceiling > 0 else math.nan,
        f"same-seed tau, {name}": same_seed_tau(*arm),
        f"regret, {name}": selection_regret(*arm),
    }


DEFINITIONS: dict[str, Definition] = {
    SENSITIVITY: sensitivity,
    EARLY_GAIN: early_gain,
    FINAL_GAIN: final_gain,
    STABILITY: stability,
    EARLY_SIGNAL: early_signal,
}
"""Claims 1 to 5 in order; the sixth, cost, has no scores."""
BESIDE: dict[str, Definition] = {
    EARLY_GAIN: early_error_reduction,
    FINAL_GAIN: final_error_reduction,
}
"""The line to read where a ratio of correlations has no room; ours, with the same claimed size."""
