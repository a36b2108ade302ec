"""Claims 2 and 3: val_correlation is higher, at the early epoch and at the horizon."""

from __future__ import annotations

import math

import numpy as np

from stage1.claims.finding import (
    CLAIMED,
    EARLY_GAIN,
    FINAL_GAIN,
    LEAST_CORRELATION,
    Finding,
    not_evaluable,
    scored,
)
from stage1.claims.intervals import Interval, Values, mean_interval, ratio_interval
from stage1.claims.scores import ArmScores
from stage1.claims.verdicts import advice, decide
from stage1.run.registration import ERROR_RATE


def early_gain(first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE) -> Finding:
    """Claim 2: val_correlation is higher at the early epoch; effect: ratio of means - 1."""
    return _gain(first.early, second.early, CLAIMED[EARLY_GAIN], error_rate=error_rate)


def final_gain(first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE) -> Finding:
    """Claim 3: val_correlation is higher at the horizon; effect: ratio of means - 1."""
    return _gain(first.final, second.final, CLAIMED[FINAL_GAIN], error_rate=error_rate)


def _gain(first: Values, second: Values, claimed: float, *, error_rate: float) -> Finding:
    mine, others = _mean_over_seeds(first), _mean_over_seeds(second)
    ratio = ratio_interval(mine, others, error_rate=error_rate)
    effect = Interval(ratio.estimate - 1, ratio.low - 1, ratio.high - 1, ratio.p)
    level = mean_interval(others, error_rate=error_rate)
    difference = mean_interval(mine - others, error_rate=error_rate)
    shown = {
        "mean val_correlation, first arm": _mean(mine),
        "mean val_correlation, second arm": _mean(others),
        "difference": difference.estimate,
    }
    if math.isnan(effect.estimate) or math.isnan(level.low):
        return not_evaluable(effect, "needs two configurations", shown)
    if not level.low > LEAST_CORRELATION:
        return not_evaluable(
            effect,
            f"the comparison arm's val_correlation is not clearly above {LEAST_CORRELATION}: a "
            "ratio to it means nothing",
            shown,
        )
    room = 1 / level.estimate - 1
    if room < 2 * claimed:
        return not_evaluable(
            effect,
            f"at most {room:.1%} is possible, since a correlation ends at 1, and {2 * claimed:.0%} "
            "is needed, twice what is claimed; the error reduction is the line to read",
            shown,
        )
    decision = decide(effect, claimed=claimed, advice=advice(difference, scored(first, second)))
    return Finding(effect, decision, shown)


def _mean_over_seeds(scores: Values) -> Values:
    """(configurations,), NaN where no seed counts."""
    counts = np.isfinite(scores).sum(axis=1)
    return np.where(counts > 0, np.nansum(scores, axis=1) / np.maximum(counts, 1), np.nan)


def _mean(values: Values) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def early_error_reduction(
    first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE
) -> Finding:
    """Beside claim 2: how much less is missing to correlation 1 at the early epoch."""
    return _error_reduction(first.early, second.early, CLAIMED[EARLY_GAIN], error_rate=error_rate)


def final_error_reduction(
    first: ArmScores, second: ArmScores, *, error_rate: float = ERROR_RATE
) -> Finding:
    """Beside claim 3: how much less is missing to correlation 1 at the horizon."""
    return _error_reduction(first.final, second.final, CLAIMED[FINAL_GAIN], error_rate=error_rate)


def _error_reduction(
    first: Values, second: Values, claimed: float, *, error_rate: float
) -> Finding:
    """1 - (1 - mean r of the first) / (1 - mean r of the second)."""
    mine, others = 1 - _mean_over_seeds(first), 1 - _mean_over_seeds(second)
    ratio = ratio_interval(mine, others, error_rate=error_rate)
    effect = Interval(1 - ratio.estimate, 1 - ratio.high, 1 - ratio.low, ratio.p)
    difference = mean_interval(others - mine, error_rate=error_rate)
    shown = {"1 - r, first arm": _mean(mine), "1 - r, second arm": _mean(others)}
    if math.isnan(effect.estimate):
        return not_evaluable(effect, "needs two configurations", shown)
    decision = decide(effect, claimed=claimed, advice=advice(difference, scored(first, second)))
    return Finding(effect, decision, shown)
