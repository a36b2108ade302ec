"""The study's objective as arrays, with a score for diverged trials too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from stage1.base.metric_table import CORRELATION, LOSS, metric_label
from stage1.base.text import plural
from stage1.claims.aggregates import Band
from stage1.claims.designs import told_apart
from stage1.claims.intervals import Values
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, Scores, means_over_seeds
from stage1.claims.tuning import expected_best_band
from stage1.pages.figures.drawn import (
    DrawnFigure,
    absent,
    arm_styles,
    draw_band,
    draw_line,
    legend_of,
    mark_place,
    new_panel,
    scale_log,
    scale_metric,
)
from stage1.run.columns import DESIGN
from stage1.run.resolved_space import Domain, Range, key_of


class Objective(NamedTuple):
    """What the study looks for, of the design's trials."""

    metric: str
    sign: float
    """1 where larger is better, -1 where smaller is."""
    by_arm: dict[str, Values]
    """(configurations), mean over the seeds that count; NaN without any."""


def study_objective(tables: RunTables, scores: Scores) -> Objective:
    """Arrange the objective like the scores.

    val_correlation, val_loss and the correlation of a timeframe are the scores that the claims use.
    Of other metrics, a diverged trial has the worst value that the design came to.
    """
    metric = tables.space.objective.metric
    sign = 1.0 if tables.space.objective.mode == "max" else -1.0
    by_seed = _by_seed(metric, sign, tables.trials, scores)
    return Objective(
        metric, sign, {arm: means_over_seeds(values) for arm, values in by_seed.items()}
    )


def _by_seed(metric: str, sign: float, trials: pd.DataFrame, scores: Scores) -> dict[str, Values]:
    """(configurations, seeds) by arm."""
    arms = list(scores.correlation)
    timeframe = metric.removeprefix("val_corr_")
    if metric == CORRELATION:
        return {arm: scores.arm(arm).final for arm in arms}
    if metric == LOSS:
        return {arm: loss[:, :, -1] for arm, loss in scores.loss.items()}
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


BEST, BEST_TITLE = "expected_best", "How good the best of a number of tries is"
RATE, RATE_TITLE = "learning_rate", "How the result goes with {}"
LEARNING_RATE = "training.optimizer.lr"
_SEED = 20262  # any number: the bands of a table are always the same
_MOST_BINS, _LEAST_IN_BIN = 8, 3


def expected_bests(objective: Objective) -> dict[str, Band]:
    """Expected best of n configurations of an arm, n = 1, 2, ..., by arm.

    Returns:
        In the unit of the objective, (configurations) each, of the arms with a score.
    """
    curves = {}
    for arm, values in objective.by_arm.items():
        signed = objective.sign * values[np.isfinite(values)]
        if len(signed):
            generator = np.random.default_rng(_SEED)
            band = expected_best_band(signed, draws=len(signed), generator=generator)
            curves[arm] = Band(*(objective.sign * part for part in band))
    return curves


def readable_tries(curve: Band) -> int:
    """The largest n that an expected best is to be read at: a quarter of the configurations."""
    return max(len(curve.estimate) // 4, 1)


def draw_expected_bests(
    axes: Axes, curves: dict[str, Band], *, arms: tuple[str, ...], metric: str
) -> None:
    """Draw the curves: thick and with bands as far as they can be read, thin beyond.

    There must be one; an arm's look is that of its place among the study's `arms`.
    """
    styles = arm_styles(arms)
    for order, (arm, curve) in enumerate(curves.items()):
        style, readable = styles[arm], readable_tries(curve)
        tries = np.arange(1, len(curve.estimate) + 1)
        estimate, low, high = (part[:readable] for part in curve)
        if readable > 1:
            draw_band(axes, style, tries[:readable], low, high)
        else:
            ends = np.abs(np.array([low, high]) - estimate)
            place = 1.015 ** (order + 1)  # beside each other
            axes.errorbar(place, estimate[0], yerr=ends, color=style.color, capsize=4)
        draw_line(axes, style, tries[:readable], estimate, label=arm)
        rest = slice(readable - 1, None)
        look: dict[str, Any] = {"color": style.color, "linestyle": style.line, "alpha": 0.75}
        axes.plot(tries[rest], curve.estimate[rest], linewidth=0.9, **look)
    most = max(len(curve.estimate) for curve in curves.values())
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.93, most * 1.08 if most > 1 else 2)
    axes.xaxis.set_major_locator(FixedLocator([2.0**p for p in range(most.bit_length())]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FormatStrFormatter("%d"))
    readable = max(map(readable_tries, curves.values()))
    mark_place(axes, readable, f"N/4 = {readable}")
    axes.set_xlabel("configurations tried")
    axes.set_ylabel(f"expected best {metric_label(metric)}")
    axes.grid(axis="y")


def expected_best_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """Expected best against the number of tries."""
    objective = study_objective(tables, evaluation.scores)
    curves = expected_bests(objective)
    if not curves:
        return absent(BEST, BEST_TITLE, "no configuration has a score yet")
    figure, axes = new_panel(BEST_TITLE, height=4.1)
    arms, first = tuple(objective.by_arm), next(iter(curves.values()))
    draw_expected_bests(axes, curves, arms=arms, metric=objective.metric)
    legend_of(figure, axes)
    caption = (
        f"Expected {objective.metric} (mean over seeds) of the best of n configurations drawn from "
        f"the design's {plural(len(first.estimate), 'configuration')}. Read it up to a quarter of "
        f"them, N/4 = {readable_tries(first)}: beyond, the thin line rests on the few best ones. "
        "Bands: 95 %, by resampling configurations."
    )
    return DrawnFigure(BEST, BEST_TITLE, caption, figure, "")


# Learning rate ------------------------------------------------------------------------------------


class RatePoints(NamedTuple):
    """An arm's configurations, by a parameter, and the medians of neighbours."""

    arm: str
    places: Values  # (configurations), rising
    scores: Values  # (configurations)
    middle_places: Values  # (bins), empty with few configurations
    middle_scores: Values  # (bins)


def rate_key(space: Mapping[str, Domain]) -> str | None:
    """The learning rate if it is searched, else the first parameter on a logarithmic scale."""
    numeric = {key_of(name): one for name, one in space.items() if isinstance(one, Range)}
    if LEARNING_RATE in numeric:
        return LEARNING_RATE
    return next((key for key, one in numeric.items() if one.log), None)


def rate_points(values: Values, objective: Objective) -> list[RatePoints]:
    """Each arm's scores by a parameter, with the median of bins of equally many configurations.

    Values are (configurations), NaN where the parameter does not apply.
    """
    arms = []
    for arm, scores in objective.by_arm.items():
        known = np.isfinite(values) & np.isfinite(scores)
        order = np.argsort(values[known], kind="stable")
        places, ordered = values[known][order], scores[known][order]
        bins = min(len(places) // _LEAST_IN_BIN, _MOST_BINS)
        members = np.array_split(np.arange(len(places)), bins) if bins > 1 else []
        arms.append(
            RatePoints(
                arm,
                places,
                ordered,
                np.array([np.median(places[one]) for one in members]),
                np.array([np.median(ordered[one]) for one in members]),
            )
        )
    return [arm for arm in arms if len(arm.places)]


def draw_rate_points(
    axes: Axes, points: list[RatePoints], *, arms: tuple[str, ...], key: str, metric: str
) -> None:
    """Draw configurations as points and the medians of neighbours as lines.

    There must be one; an arm's look is that of its place among the study's `arms`.
    """
    styles = arm_styles(arms)
    for one in points:
        style = styles[one.arm]
        few = len(one.middle_places) == 0
        axes.plot(
            one.places,
            one.scores,
            style.marker,
            color=style.color,
            markerfacecolor="none",
            alpha=0.9 if few else 0.6,
            label=one.arm if few else None,
        )
        if not few:
            look: dict[str, Any] = {"linewidth": 2.4, "markersize": 7, "label": one.arm}
            draw_line(axes, style, one.middle_places, one.middle_scores, **look)
    scale_metric(axes, metric, np.concatenate([one.scores for one in points]))
    places = np.concatenate([one.places for one in points])
    if places.min() > 0:
        scale_log(axes, places, axis="x")
    axes.set_xlabel(key)
    axes.grid(axis="y")


def rate_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """The score against the learning rate."""
    key = rate_key(tables.space.space)
    if key is None:
        reason = "neither the learning rate nor another parameter on a logarithmic scale is varied"
        return absent(RATE, RATE_TITLE.format("the learning rate"), reason)
    title = RATE_TITLE.format("the learning rate" if key == LEARNING_RATE else key)
    objective = study_objective(tables, evaluation.scores)
    column = evaluation.scores.values.get(key)
    if column is None:
        return absent(RATE, title, "no trial of the design has ended yet")
    if aliased := told_apart(tables.space, evaluation.scores.values):
        return absent(RATE, title, aliased)
    points = rate_points(column.to_numpy(dtype=float, na_value=np.nan), objective)
    if not points:
        return absent(RATE, title, "no configuration has a score yet")
    figure, axes = new_panel(title, height=4.1)
    arms = tuple(objective.by_arm)
    draw_rate_points(axes, points, arms=arms, key=key, metric=objective.metric)
    legend_of(figure, axes)
    lines = "; lines: medians of neighbours" if len(points[0].middle_places) else ""
    caption = (
        f"Open points: configurations, mean over seeds{lines}. The points differ in all other "
        "settings too, so this is no curve of one configuration."
    )
    return DrawnFigure(RATE, title, caption, figure, "")
