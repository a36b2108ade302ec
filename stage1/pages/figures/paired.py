"""Arms side by side: the same configurations in every arm, and how many runs get how far."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from stage1.base.metric_table import CORRELATION
from stage1.base.text import plural
from stage1.claims.aggregates import Band, performance_profile
from stage1.claims.intervals import Values
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, Scores
from stage1.pages.figures.drawn import (
    WIDTH,
    DrawnFigure,
    absent,
    arm_styles,
    draw_baseline,
    draw_curves,
    fisher,
    legend_of,
    new_panel,
    scale_correlations,
    shortened,
    wrapped,
)
from stage1.run.summary import baseline_value

SLOPES, SLOPES_TITLE = "paired_slopes", "What the same configurations reach in each arm"
PROFILE, PROFILE_TITLE = "performance_profile", "How many runs get above a correlation"
_THRESHOLDS = 101
_SEED = 20261  # any number: the bands of a table are always the same


class Slopes(NamedTuple):
    """Final val_correlation of each configuration in each arm, mean over seeds."""

    arms: tuple[str, ...]
    values: Values  # (arms, configurations), only configurations that all arms have
    medians: Values  # (arms)


def paired_slopes(scores: Scores) -> Slopes:
    """Arrange the final scores by arm; configurations need every seed in every arm."""
    arms = tuple(scores.correlation)
    finals = np.stack([scores.arm(arm).final.mean(axis=1) for arm in arms])
    finals = finals[:, np.isfinite(finals).all(axis=0)]
    medians = np.median(finals, axis=1) if finals.size else np.full(len(arms), np.nan)
    return Slopes(arms, finals, medians)


def draw_slopes(axes: Axes, slopes: Slopes, *, baseline: float) -> None:
    """Draw one line per configuration across the arms, and the medians.

    There must be one; a baseline of NaN is not drawn.
    """
    places = np.arange(len(slopes.arms))
    thin: dict[str, Any] = {
        "color": "0.62",
        "linewidth": 0.9,
        "alpha": 0.8,
        "marker": ".",
        "markersize": 4,
    }
    lines = axes.plot(places, slopes.values, **thin)
    lines[0].set_label("one configuration")
    axes.plot(places, slopes.medians, color="black", linewidth=3, label="median", zorder=3)
    for place, style in enumerate(arm_styles(slopes.arms).values()):
        point = (place, slopes.medians[place])
        look: dict[str, Any] = {
            "color": style.color,
            "markersize": 10,
            "markeredgecolor": "black",
            "zorder": 4,
        }
        axes.plot(*point, style.marker, **look)
    draw_baseline(axes, baseline)
    scale_correlations(axes, np.append(slopes.values, baseline), axis="y")
    width = int(0.85 * WIDTH / len(slopes.arms) / 0.085)  # letters beside each other
    names = [
        f"{wrapped(shortened(arm, 3 * width - 4), width)}\n{median:.3f}"
        for arm, median in zip(slopes.arms, slopes.medians, strict=True)
    ]
    axes.set_xticks(places, names)
    axes.set_xlim(-0.35, len(places) - 0.65)
    axes.set_ylabel("final validation correlation")
    axes.grid(axis="y")


def slopes_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """The paired slopes."""
    slopes = paired_slopes(evaluation.scores)
    if len(slopes.arms) < 2:
        return absent(SLOPES, SLOPES_TITLE, "the study has one arm, so there is nothing to compare")
    if slopes.values.shape[1] == 0:
        return absent(SLOPES, SLOPES_TITLE, "no configuration has all its seeds in every arm")
    figure, axes = new_panel(SLOPES_TITLE, height=4.3)
    draw_slopes(axes, slopes, baseline=baseline_value(tables.trials, CORRELATION))
    legend_of(figure, axes)
    caption = (
        f"Every grey line is one of {plural(slopes.values.shape[1], 'configuration')}, mean over "
        "seeds; the numbers are the arms' medians. Lines that fall from one arm to the next: the "
        "first arm is better with the same settings. Spaced by Fisher's z."
    )
    return DrawnFigure(SLOPES, SLOPES_TITLE, caption, figure, "")


# Performance profile ------------------------------------------------------------------------------


def performance_profiles(scores: Scores) -> tuple[Values, dict[str, Band]]:
    """Thresholds, and the share of an arm's runs above each of them, by arm.

    Returns:
        (points) each, without the arms that have no final score.
    """
    finals = {arm: scores.arm(arm).final for arm in scores.correlation}
    known = {arm: final for arm, final in finals.items() if np.isfinite(final).any()}
    if not known:
        return np.empty(0), {}
    every = np.concatenate([final.ravel() for final in known.values()])
    ends = fisher(np.array([np.nanmin(every), np.nanmax(every)]))
    margin = max(0.05 * (ends[1] - ends[0]), 0.01)
    thresholds = np.tanh(np.linspace(ends[0] - margin, ends[1] + margin, _THRESHOLDS))
    return thresholds, {
        arm: performance_profile(final, thresholds, generator=np.random.default_rng(_SEED))
        for arm, final in known.items()
    }


def draw_profiles(
    axes: Axes,
    thresholds: Values,
    shares: dict[str, Band],
    *,
    arms: tuple[str, ...],
    baseline: float,
) -> None:
    """Draw the share of runs above a correlation, (points), against that correlation, rising.

    There must be one arm; its look is that of its place among `arms`. NaN = no baseline is drawn.
    """
    draw_curves(axes, thresholds, shares, arms=arms, factor=100)
    draw_baseline(axes, baseline, vertical=True)
    scale_correlations(axes, np.append(thresholds, baseline), axis="x")
    axes.set_ylim(-2, 102)
    axes.set_xlabel("final validation correlation")
    axes.set_ylabel("runs above it (%)")
    axes.grid(axis="y")


def profile_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """The performance profile."""
    scores = evaluation.scores
    thresholds, shares = performance_profiles(scores)
    if not shares:
        return absent(PROFILE, PROFILE_TITLE, "no trial of the design has a final score yet")
    figure, axes = new_panel(PROFILE_TITLE, height=4.1)
    baseline = baseline_value(tables.trials, CORRELATION)
    draw_profiles(axes, thresholds, shares, arms=tuple(scores.correlation), baseline=baseline)
    legend_of(figure, axes)
    runs = int(np.isfinite(scores.arm(next(iter(shares))).final).sum())
    caption = (
        f"Of {plural(runs, 'run')} per arm (configurations x seeds), the share above each "
        "correlation; higher is better, and a steep fall means that the settings matter little. "
        "Bands: 95 %, by resampling configurations. Spaced by Fisher's z."
    )
    return DrawnFigure(PROFILE, PROFILE_TITLE, caption, figure, "")
