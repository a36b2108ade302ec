"""Further numbers beside the claims: what else the same scores say, none of it a test."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

from stage1.base.metric_table import CORRELATION
from stage1.claims.catalogue import (
    EARLY_GAIN,
    EARLY_SIGNAL,
    ERROR_RATE,
    FINAL_GAIN,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.designs import told_apart
from stage1.claims.importance import cross_seed_sensitivity
from stage1.claims.intervals import Values
from stage1.claims.ranks import early_tau
from stage1.claims.scores import RunTables, Scores, means_over_seeds
from stage1.claims.tuning import expected_best, median_regret, share_near_best
from stage1.run.columns import (
    COMPLETED,
    CONFIRM,
    DESIGN,
    DIVERGED,
    PRETRAINED,
    RANDOM,
    SEARCH,
)
from stage1.run.resolved_space import ResolvedSpace

NEAR = 0.01
"""Configurations within so much of the best val_correlation count as near it."""
CLEAR_SIGNAL = 0.8
"""Rank agreement from which an epoch tells the final ranking."""
_FREEZE = "transfer_learning.freeze_lm_epochs"


def further_numbers(
    tables: RunTables, scores: Scores, arms: tuple[str, str], *, fixed: str | None
) -> dict[str, dict[str, float]]:
    """Further numbers by the claim's number and by what they are; NaN where there is none.

    `fixed` is the arm whose random weights are the same for every seed, if there is one.
    """
    return {
        SENSITIVITY.number: _by_arm(_tuning_numbers, scores, arms),
        EARLY_GAIN.number: _speed(tables, scores, arms),
        FINAL_GAIN.number: _after_tuning(tables, arms) | _never_frozen(tables.space, scores, arms),
        STABILITY.number: {
            **_by_arm(_roughness, scores, arms),
            **_divergence(scores, arms),
            **(_from_the_draw(scores, arms[1], fixed) if fixed else {}),
        },
        EARLY_SIGNAL.number: _by_arm(_first_clear_epoch, scores, arms),
    }


def _by_arm(numbers: Any, scores: Scores, arms: tuple[str, str]) -> dict[str, float]:
    return {f"{name}, {arm}": value for arm in arms for name, value in numbers(scores, arm).items()}


def _means(scores: Values) -> Values:
    """Over the seeds that have a score, of configurations that have any."""
    means = means_over_seeds(scores)
    return means[np.isfinite(means)]


def _tuning_numbers(scores: Scores, arm: str) -> dict[str, float]:
    means = _means(scores.arm(arm).final)
    draws = len(means) // 4
    best = expected_best(means, draws=draws) if draws >= 1 else np.array([math.nan])
    by_environment = np.moveaxis(scores.timeframes[arm], 2, 1)  # configurations, timeframes, seeds
    return {
        f"expected best of {max(draws, 1)} minus mean (val_correlation)": float(best[-1] - best[0]),
        "regret of the median configuration (val_correlation)": median_regret(means),
        f"share of configurations within {NEAR} of the best": share_near_best(means, delta=NEAR),
        "Phi (chosen on one seed, scored on another)": cross_seed_sensitivity(by_environment).phi,
    }


def _speed(tables: RunTables, scores: Scores, arms: tuple[str, str]) -> dict[str, float]:
    """When the first arm is where the second one ends."""
    curves = [_mean_curve(scores, arm) for arm in arms]
    reached = np.flatnonzero(curves[0] >= curves[1][-1])
    epoch = float(reached[0]) if len(reached) else math.nan
    seconds = [_seconds_at(tables, arms[0], epoch), _seconds_at(tables, arms[1], scores.epochs[-1])]
    return {
        f"epoch at which {arms[0]} reaches {arms[1]}'s final val_correlation": epoch,
        "seconds to get there": seconds[0],
        f"seconds that {arms[1]} took": seconds[1],
    }


def _mean_curve(scores: Scores, arm: str) -> Values:
    curves = scores.correlation[arm]
    whole = curves[np.isfinite(curves).all(axis=2)]  # (trials, epochs)
    return whole.mean(axis=0) if len(whole) else np.full(len(scores.epochs), np.nan)


def _seconds_at(tables: RunTables, arm: str, epoch: float) -> float:
    design = tables.curves[tables.curves["stage"] == DESIGN]
    rows = design[(design["arm"] == arm) & (design["epoch"] == epoch)]
    return float(rows["seconds"].mean())


def _after_tuning(tables: RunTables, arms: tuple[str, str]) -> dict[str, float]:
    """Each arm's best search point, trained again on seeds that did not choose it."""
    tuned = {arm: _tuned(tables, arm) for arm in arms}
    return {f"tuned, on fresh seeds, {arm}": value for arm, value in tuned.items()} | {
        "tuned against tuned, difference": tuned[arms[0]] - tuned[arms[1]]
    }


def _tuned(tables: RunTables, arm: str) -> float:
    trials, objective = tables.trials, tables.space.objective
    if objective.metric not in trials:
        return math.nan
    rows = trials[trials["arm"] == arm]
    again = rows[(rows["stage"] == CONFIRM) & rows["status"].isin([COMPLETED, DIVERGED])]
    points = rows[(rows["stage"] == SEARCH) & rows["config_id"].isin(again["config_id"])]
    points = points.dropna(subset=[objective.metric])
    if points.empty:
        return math.nan
    ascending = objective.mode == "min"
    best = points.sort_values(objective.metric, ascending=ascending, kind="stable").iloc[0]
    chosen = again[again["config_id"] == best["config_id"]]
    return float(chosen[CORRELATION].where(chosen["status"] == COMPLETED, 0.0).mean())


def _never_frozen(space: ResolvedSpace, scores: Scores, arms: tuple[str, str]) -> dict[str, float]:
    """The gain where the T5 was never frozen: freezing a random one is a handicap.

    Left out where the design cannot tell freezing from another setting.
    """
    if _FREEZE not in scores.values or told_apart(space, scores.values):
        return {}
    free = (scores.values[_FREEZE] == 0).to_numpy(dtype=bool, na_value=False)
    means = [_means(scores.arm(arm).final[free]) for arm in arms]
    usable = all(len(arm) for arm in means)
    gain = means[0].mean() / means[1].mean() - 1 if usable and means[1].mean() else math.nan
    return {
        "gain where the T5 was never frozen": float(gain),
        "configurations that never froze it": float(len(means[0])),
    }


def _roughness(scores: Scores, arm: str) -> dict[str, float]:
    """Mean absolute second difference of log val_loss from epoch to epoch."""
    curves = scores.log_loss[arm]
    whole = curves[np.isfinite(curves).all(axis=2)]
    bends = np.abs(np.diff(whole, n=2, axis=1))
    roughness = float(bends.mean()) if bends.size else math.nan
    return {"roughness of the curve of log val_loss": roughness}


def _divergence(scores: Scores, arms: tuple[str, str]) -> dict[str, float]:
    """McNemar's exact p (1947), of the pairs of trials that differ; 1 where none does."""
    first, second = (scores.diverged[arm] for arm in arms)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    p = float(stats.binomtest(only_first, differ).pvalue) if differ else 1.0
    return {"p that both diverge equally often (McNemar)": p}


def _from_the_draw(scores: Scores, random: str, fixed: str) -> dict[str, float]:
    """What of the seeds' variance comes from drawing other weights: pretrained ones never do."""
    finding = STABILITY.judge(scores.arm(fixed), scores.arm(random), error_rate=ERROR_RATE)
    name = f"share of {random}'s variance over seeds that is the draw of its weights"
    return {name: finding.effect.estimate}


def _first_clear_epoch(scores: Scores, arm: str) -> dict[str, float]:
    curves = scores.correlation[arm]
    whole = curves[np.isfinite(curves).all(axis=(1, 2))]
    if 2 * len(whole) < len(curves) or len(whole) < 2:  # a few rank nothing
        return {}
    taus = np.array([early_tau(whole[:, :, e], whole[:, :, -1]) for e in range(whole.shape[2])])
    clear = np.flatnonzero(taus >= CLEAR_SIGNAL)
    name = f"first epoch with tau of at least {CLEAR_SIGNAL}"
    return {name: float(clear[0]) if len(clear) else math.nan}


def seconds_of_trials(tables: RunTables) -> dict[str, float]:
    """A check of the cost: pretrained and random weights cost the same, by construction."""
    roles = tables.registration.roles
    if not {PRETRAINED, RANDOM} <= set(roles):
        return {}
    arms = [roles[PRETRAINED], roles[RANDOM]]
    seconds = tables.trials[tables.trials["stage"] == DESIGN].groupby("arm")["seconds_per_step"]
    means = seconds.mean().reindex(arms).to_numpy()
    return {f"seconds per step of trials, {arms[0]} / {arms[1]}": float(means[0] / means[1])}
