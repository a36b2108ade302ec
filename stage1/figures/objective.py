"""The study's objective as arrays, with a score for diverged trials too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from stage1.claims.inputs import RunTables
from stage1.claims.intervals import Values
from stage1.claims.scores import CORRELATION, LOSS, Scores
from stage1.results import DESIGN


class Objective(NamedTuple):
    """What the study looks for, of the design's trials."""

    metric: str
    sign: float
    """1 where larger is better, -1 where smaller is."""
    by_arm: dict[str, Values]
    """(configurations), mean over seeds; NaN without all seeds."""


def study_objective(tables: RunTables, scores: Scores) -> Objective:
    """Arrange the objective like the scores.

    val_correlation, val_loss and the correlation of a timeframe are the scores that the claims use.
    Of other metrics, a diverged trial has the worst value that the design came to.
    """
    metric = str(tables.space["objective"]["metric"])
    sign = 1.0 if tables.space["objective"]["mode"] == "max" else -1.0
    by_seed = _by_seed(metric, sign, tables.trials, scores)
    return Objective(metric, sign, {arm: values.mean(axis=1) for arm, values in by_seed.items()})


def _by_seed(metric: str, sign: float, trials: pd.DataFrame, scores: Scores) -> dict[str, Values]:
    """(configurations, seeds) by arm."""
    arms = list(scores.correlation)
    timeframe = metric.removeprefix("val_corr_")
    if metric == CORRELATION:
        return {arm: scores.arm(arm).final for arm in arms}
    if metric == LOSS:
        return {arm: np.exp(scores.arm(arm).log_loss) for arm in arms}
    if metric.startswith("val_corr_") and timeframe in scores.timeframe_names:
        place = scores.timeframe_names.index(timeframe)
        return {arm: scores.timeframes[arm][:, :, place] for arm in arms}
    return _other_metric(metric, sign, trials, scores)


def _other_metric(
    metric: str, sign: float, trials: pd.DataFrame, scores: Scores
) -> dict[str, Values]:
    design = trials[trials["stage"] == DESIGN].drop_duplicates(["arm", "config_id", "seed"])
    column = design[metric] if metric in design else pd.Series(np.nan, index=design.index)
    by_cell = column.set_axis(pd.MultiIndex.from_frame(design[["arm", "config_id", "seed"]]))
    shape = (len(scores.configurations), len(scores.seeds))
    by_arm = {}
    for arm in scores.correlation:
        cells = pd.MultiIndex.from_product([[arm], scores.configurations, scores.seeds])
        values = by_cell.reindex(cells).to_numpy(dtype=float, na_value=np.nan).reshape(shape)
        counts = np.isfinite(scores.arm(arm).final) & np.isfinite(values)
        by_arm[arm] = np.where(counts & ~scores.diverged[arm], values, np.nan)
    known = np.concatenate([values.ravel() for values in by_arm.values()])
    known = known[np.isfinite(known)]
    worst = sign * (sign * known).min() if len(known) else np.nan
    return {arm: np.where(scores.diverged[arm], worst, values) for arm, values in by_arm.items()}
