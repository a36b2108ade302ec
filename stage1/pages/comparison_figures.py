"""The four figures of a comparison's page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stage1.base.metric_table import CORRELATION, LOSS, metric_label
from stage1.base.text import plural
from stage1.claims.aggregates import Band
from stage1.claims.intervals import Values
from stage1.pages.comparison_summary import Summary, spread_of
from stage1.pages.figures.drawn import (
    LOOK,
    REFERENCE,
    ArmStyle,
    DrawnFigure,
    absent,
    arm_styles,
    legend_of,
    new_figure,
    new_panel,
    shortened,
    wrapped,
)
from stage1.pages.figures.learning import draw_learning_curves
from stage1.run.registration import COST_MARGIN

_TITLES = {
    CORRELATION: "How fast and how far each configuration learns",
    LOSS: "The same in the loss that is minimised",
}
_NO_TRAINING = "no training was completed"
_NO_PAIR = "no configuration has a seed in common with the reference"
_SPREAD = 0.3
"""Share of a row over which the points of its seeds are spread."""


def draw_figures(summary: Summary) -> dict[str, DrawnFigure]:
    """Draw the figures, by what they show; those without data say why."""
    with rc_context(LOOK):
        return {
            "correlation": curves_figure(summary, CORRELATION),
            "loss": curves_figure(summary, LOSS),
            "differences": differences_figure(summary),
            "cost": cost_figure(summary),
        }


# Curves -------------------------------------------------------------------------------------------


def curves_figure(summary: Summary, metric: str) -> DrawnFigure:
    """A metric by epoch: means over seeds, the range between them, the baseline across."""
    name, title = f"{metric}_by_epoch", _TITLES[metric]
    if summary.tables.completed.empty:
        return absent(name, title, _NO_TRAINING)
    figure, axes = new_panel(title, height=4.0)
    bands, baseline = seed_bands(summary.scores[metric]), summary.baseline[metric]
    epochs = np.arange(summary.horizon + 1.0)
    draw_learning_curves(axes, epochs, bands, arms=summary.names, metric=metric, baseline=baseline)
    legend_of(figure, axes)
    spaced = "Spaced by Fisher's z." if metric == CORRELATION else "Logarithmic."
    caption = (
        f"Lines: mean over {plural(len(summary.seeds), 'seed')}; bands: from the lowest to the "
        f"highest of them. Interpolation draws a straight line across the hidden bars. {spaced}"
    )
    return DrawnFigure(name, title, caption, figure, "")


def seed_bands(scores: dict[str, Values]) -> dict[str, Band]:
    """Mean over seeds and the range between them, (epochs), of configurations that have a curve.

    Scores are (seeds, epochs); a seed has all of its epochs or none.
    """
    complete = {name: v[np.isfinite(v).all(axis=1)] for name, v in scores.items()}
    return {
        name: Band(values.mean(axis=0), values.min(axis=0), values.max(axis=0))
        for name, values in complete.items()
        if len(values)
    }


# Seeds --------------------------------------------------------------------------------------------


def draw_seeds(axes: Axes, values: dict[str, Values], styles: dict[str, ArmStyle]) -> None:
    """Draw a row per configuration, from the top: a point per seed, and a stroke at their mean."""
    for row, (name, of_seeds) in enumerate(values.items()):
        style = styles[name]
        places = row + _SPREAD * (np.linspace(-0.5, 0.5, len(of_seeds)) if len(of_seeds) > 1 else 0)
        look: dict[str, Any] = {
            "color": style.color,
            "markerfacecolor": "white",
            "markersize": 7.0,
            "mew": 1.8,
        }
        axes.plot(of_seeds, np.broadcast_to(places, of_seeds.shape), style.marker, **look)
        mean = spread_of(of_seeds).mean
        axes.plot([mean, mean], [row - 0.32, row + 0.32], color=style.color, linewidth=3)
    names = [wrapped(shortened(name, 34), 12) for name in values]
    axes.set_yticks(range(len(values)), names)
    axes.set_ylim(len(values) - 0.45, -0.55)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def differences_figure(summary: Summary) -> DrawnFigure:
    """Each seed's final score minus the reference's, for both metrics."""
    name, title = "paired_differences", "What each seed gains or loses"
    by_metric = {
        metric: {other: summary.differences(metric, other) for other in summary.others}
        for metric in (CORRELATION, LOSS)
    }
    if not np.isfinite(np.concatenate(list(by_metric[CORRELATION].values()))).any():
        return absent(name, title, _NO_PAIR)
    figure = new_figure(title, height=1.7 + 1.1 * len(summary.others))
    panels: Sequence[Axes] = figure.subplots(2, 1)
    for axes, (metric, values) in zip(panels, by_metric.items(), strict=True):
        draw_seeds(axes, values, arm_styles(summary.names))
        axes.axvline(0, label=f"{summary.reference} = 0", **REFERENCE)
        better = "right" if metric == CORRELATION else "left"
        axes.set_xlabel(f"{metric_label(metric)}, difference ({better} is better)")
    legend_of(figure, panels[0])
    caption = (
        f"Points: one seed's training minus that of {summary.reference} with the same seed, "
        "after the last epoch; strokes: means. Points on both sides of the line: seeds disagree."
    )
    return DrawnFigure(name, title, caption, figure, "")


def cost_figure(summary: Summary) -> DrawnFigure:
    """Each seed's seconds per step over the reference's, and the plan's limit."""
    name, title, reference = "cost", "What a training step costs", summary.reference
    ratios = {other: summary.step_ratio(other) for other in summary.others}
    if not np.isfinite(np.concatenate(list(ratios.values()))).any():
        return absent(name, title, _NO_PAIR)
    figure, axes = new_panel(title, height=1.3 + 0.55 * len(ratios))
    draw_seeds(axes, ratios, arm_styles(summary.names))
    axes.axvline(1, label=f"{reference} = 1", color="0.5", linewidth=1.2)
    axes.axvline(COST_MARGIN, label=f"plan's limit {COST_MARGIN:g}", **REFERENCE)
    axes.set_xlabel("seconds per training step, ratio")
    legend_of(figure, axes)
    caption = (
        f"Points: seconds per step of one seed's training over those of {reference} with the same "
        "seed; strokes: means. The plan allows a T5 what lies left of the dashed line."
    )
    return DrawnFigure(name, title, caption, figure, "")
