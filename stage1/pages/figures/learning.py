"""What happens over the epochs: learning curves, and how early the final ranking shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stage1.base.metric_table import CORRELATION, USER_METRIC
from stage1.base.text import plural
from stage1.claims.aggregates import Band, interquartile_mean_band, no_band
from stage1.claims.intervals import Values
from stage1.claims.judge import Evaluation
from stage1.claims.ranks import LEAST_CONFIGURATIONS, early_tau, selection_regret, tau_ceiling
from stage1.claims.scores import RunTables, Scores, curve_values
from stage1.pages.figures.drawn import (
    DrawnFigure,
    absent,
    arm_styles,
    draw_baseline,
    draw_curves,
    draw_line,
    legend_below,
    legend_of,
    mark_place,
    new_figure,
    scale_metric,
    shortened,
)
from stage1.run.columns import DESIGN, RANDOM, RELATIVE_STEP
from stage1.run.summary import baseline_value

CURVES, CURVES_TITLE = "learning_curves", "How fast and how far each arm learns"
SIGNAL, SIGNAL_TITLE = "early_signal", "How early the final ranking of configurations shows"
STEPS, STEPS_TITLE = "relative_steps", "How far each epoch moves the T5's weights"
_MOST_BANDS = 4
"""More arms than this have no bands of their levels, which the learning rate makes wide."""
_SEED = 20263  # any number: the bands of a table are always the same
_LEAST_REGRET = 0.01
"""The axis of the regret reaches at least so far."""


def learning_curves(correlation: dict[str, Values]) -> dict[str, Band]:
    """Interquartile mean of val_correlation over an arm's runs, (epochs), of arms with a score.

    The correlation is (configurations, seeds, epochs) by arm.
    """
    return {
        arm: interquartile_mean_band(values, generator=np.random.default_rng(_SEED))
        for arm, values in correlation.items()
        if np.isfinite(values).any()
    }


def draw_learning_curves(
    axes: Axes,
    epochs: Values,
    curves: Mapping[str, Band],
    *,
    arms: Sequence[str],
    metric: str,
    baseline: float,
    early_epoch: int | None = None,
) -> None:
    """Draw curves of a metric with their bands, (epochs) each, and the baseline across, unless NaN.

    There must be one; an arm's look is that of its place among the study's `arms`.
    """
    draw_curves(axes, epochs, curves, arms=arms)
    draw_baseline(axes, baseline)
    seen = [part for band in curves.values() for part in band]
    scale_metric(axes, metric, np.concatenate([*seen, [baseline]]))
    if early_epoch is not None:
        mark_place(axes, early_epoch, f"early epoch {early_epoch}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch (0 = before the first step)")
    axes.grid(axis="y")


def learning_differences(correlation: dict[str, Values], reference: str) -> dict[str, Band]:
    """The same of each run's difference to the run of another arm with its settings and seed."""
    others = {arm: values for arm, values in correlation.items() if arm != reference}
    return learning_curves({arm: values - correlation[reference] for arm, values in others.items()})


def draw_differences(
    axes: Axes,
    epochs: Values,
    curves: Mapping[str, Band],
    *,
    arms: Sequence[str],
    reference: str,
    early_epoch: int,
) -> None:
    """Draw differences to an arm, (epochs) each, which itself is the line at 0.

    There must be one; an arm's look is that of its place among the study's `arms`.
    """
    axes.axhline(0, color=arm_styles(arms)[reference].color, linewidth=1.4)
    draw_curves(axes, epochs, curves, arms=arms)
    axes.axvline(early_epoch, color="0.5", linewidth=1, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_ylabel(f"minus {shortened(reference, 18)}")
    axes.set_xlabel("epoch (0 = before the first step)")
    axes.grid(axis="y")


def curves_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """The learning curves, and below them the differences to the random arm."""
    scores = evaluation.scores
    curves = learning_curves(scores.correlation)
    if not curves:
        return absent(CURVES, CURVES_TITLE, "no trial of the design has a final score yet")
    reference = tables.registration.roles.get(RANDOM, next(iter(curves)))
    differences = learning_differences(scores.correlation, reference) if len(curves) > 1 else {}
    figure = new_figure(CURVES_TITLE, height=5.6 if differences else 4.2)
    axes, *below = figure.subplots(
        2 if differences else 1,
        1,
        sharex=True,
        height_ratios=(1.5, 1) if differences else None,
        squeeze=False,
    )[:, 0]
    draw_learning_curves(
        axes,
        scores.epochs.astype(float),
        curves,
        arms=list(scores.correlation),
        metric=CORRELATION,
        baseline=baseline_value(tables.trials, CORRELATION),
        early_epoch=scores.early_epoch,
    )
    for panel in below:
        axes.set_xlabel("")
        draw_differences(
            panel,
            scores.epochs.astype(float),
            differences,
            arms=list(scores.correlation),
            reference=reference,
            early_epoch=scores.early_epoch,
        )
    legend_of(figure, axes)
    runs = np.isfinite(scores.correlation[next(iter(curves))]).any(axis=2).sum()
    caption = (
        f"Mean of the middle half of {plural(int(runs), 'run')} per arm (configurations x seeds) "
        "after each epoch; bands: 95 %, by resampling configurations. Interpolation draws a "
        "straight line across the hidden bars. Spaced by Fisher's z."
    )
    if differences:
        caption += (
            f" Bottom: the same of each run's difference to {reference} with the same settings and "
            "seed, which shows what the levels hide; above 0: better."
        )
    return DrawnFigure(CURVES, CURVES_TITLE, caption, figure, "")


def user_metric_figures(tables: RunTables, evaluation: Evaluation) -> list[DrawnFigure]:
    """Learning curves of each metric that a user has written; none without any."""
    drawn, scores = [], evaluation.scores
    for place, name in enumerate(tables.registration.metrics):
        file, title = f"user_metric_{place}", f"How {shortened(name, 30)} goes"
        column = USER_METRIC + name
        curves = learning_curves(curve_values(tables, scores, column))
        if not curves:
            drawn.append(absent(file, title, f"no trial of the design has a value of {name}"))
            continue
        figure = new_figure(title, height=4.2)
        axes = figure.subplots()
        draw_learning_curves(
            axes,
            scores.epochs.astype(float),
            curves,
            arms=list(scores.correlation),
            metric=column,
            baseline=baseline_value(tables.trials, column),
        )
        legend_of(figure, axes)
        caption = (
            "A metric of your own: mean of the middle half of the runs per arm after each epoch; "
            "bands: 95 %, by resampling configurations. No verdict rests on it."
        )
        drawn.append(DrawnFigure(file, title, caption, figure, ""))
    return drawn


# Steps of the weights -----------------------------------------------------------------------------


def relative_steps(tables: RunTables, scores: Scores) -> pd.DataFrame:
    """Steps of the T5's weights while it learns: a row per epoch and configuration, arms across.

    Means over seeds. Of the arms that have a T5; no column where no step was recorded.
    """
    curves = tables.curves.reindex(columns=["stage", "arm", "config_id", "epoch", RELATIVE_STEP])
    of_design = (curves["stage"] == DESIGN) & curves["config_id"].isin(scores.configurations)
    learning = curves[of_design & (curves[RELATIVE_STEP] > 0)]
    steps = learning.groupby(["epoch", "config_id", "arm"])[RELATIVE_STEP].mean().unstack()
    return steps.reindex(columns=[arm for arm in scores.correlation if arm in steps])


def middle_halves(steps: pd.DataFrame, epochs: NDArray[np.int64]) -> dict[str, Band]:
    """Median and quartiles over configurations by arm, (epochs) each; NaN where there is none."""
    quartiles = steps.groupby("epoch").quantile(np.array([0.5, 0.25, 0.75]))
    return {
        str(arm): Band(*quartiles[arm].unstack().reindex(epochs).to_numpy(dtype=float).T)
        for arm in steps
    }


def steps_figures(tables: RunTables, evaluation: Evaluation) -> list[DrawnFigure]:
    """The relative steps, and below them their ratio to the random arm's.

    No figure of a run of an earlier version, which has none.
    """
    scores = evaluation.scores
    steps, arms = relative_steps(tables, scores), list(scores.correlation)
    if steps.empty:
        return []
    levels = middle_halves(steps, scores.epochs)
    if len(levels) > _MOST_BANDS:
        levels = {arm: no_band(band.estimate) for arm, band in levels.items()}
    reference = tables.registration.roles.get(RANDOM)
    panels = [("|dW| / |W| in an epoch", levels)]
    if reference in steps and len(levels) > 1:
        ratios = steps.div(steps[reference], axis=0).drop(columns=reference)
        panels.append((f"times {reference}'s", middle_halves(ratios, scores.epochs)))
    figure = new_figure(STEPS_TITLE, height=3.0 * len(panels))
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, curves) in zip(every, panels, strict=True):
        draw_curves(axes, scores.epochs.astype(float), curves, arms=arms)
        axes.set_ylabel(label)
        axes.grid(axis="y")
    every[0].set_yscale("log")
    every[-1].set_xlabel("epoch")
    every[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_of(figure, every[0])
    return [DrawnFigure(STEPS, STEPS_TITLE, _steps_caption(len(panels), reference), figure, "")]


def _steps_caption(panels: int, reference: str | None) -> str:
    ratios = (
        f" Bottom: the same divided by {reference}'s step with the same settings."
        if panels > 1
        else ""
    )
    return (
        "Distance of the T5's weights from where they were an epoch before, over their length then "
        "(Frobenius norms): median of the configurations and, where bands are drawn, their middle "
        f"half, in epochs in which the T5 learns.{ratios} AdamW moves every weight by about the "
        "learning rate, however large the weight is: the same learning rate is not the same step "
        "for weights of another size, and arms may differ by that alone."
    )


# Early signal -------------------------------------------------------------------------------------


class EarlySignal(NamedTuple):
    """What each epoch says of an arm's final ranking."""

    arm: str
    epochs: NDArray[np.int64]  # (epochs), from 1
    tau: Values  # (epochs)
    ceiling: float
    regret: Values  # (epochs)
    configurations: int


def early_signals(scores: Scores) -> list[EarlySignal]:
    """Of every arm with enough configurations that have all seeds at all epochs."""
    signals = []
    for arm, correlation in scores.correlation.items():
        after = correlation[:, :, 1:]
        known = after[np.isfinite(after).all(axis=(1, 2))]
        if len(known) < LEAST_CONFIGURATIONS:
            continue
        final, places = known[:, :, -1], range(known.shape[2])
        signals.append(
            EarlySignal(
                arm=arm,
                epochs=scores.epochs[1:],
                tau=np.array([early_tau(known[:, :, place], final) for place in places]),
                ceiling=tau_ceiling(final),
                regret=np.array([selection_regret(known[:, :, place], final) for place in places]),
                configurations=len(known),
            )
        )
    return [signal for signal in signals if np.isfinite(signal.tau).any()]


def draw_tau(axes: Axes, signals: list[EarlySignal], *, arms: list[str]) -> None:
    """Draw rank agreement by epoch, each arm's ceiling as a thin line across."""
    styles = arm_styles(arms)
    for signal in signals:
        style = styles[signal.arm]
        axes.axhline(signal.ceiling, color=style.color, linestyle=style.line, linewidth=0.9)
        draw_line(axes, style, signal.epochs, signal.tau, label=signal.arm)
    axes.set_ylabel("tau with the\nfinal ranking")
    axes.grid(axis="y")


def draw_regret(axes: Axes, signals: list[EarlySignal], *, arms: list[str]) -> None:
    """Draw what is lost by choosing the best configuration at each epoch."""
    styles = arm_styles(arms)
    for signal in signals:
        draw_line(axes, styles[signal.arm], signal.epochs, signal.regret, label=signal.arm)
    most = max(float(np.nanmax(signal.regret, initial=0.0)) for signal in signals)
    top = max(1.05 * most, _LEAST_REGRET)
    axes.set_ylim(-0.04 * top, top)  # room for the markers at 0
    axes.set_ylabel("correlation lost by\nchoosing then")
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")


def signal_figure(evaluation: Evaluation) -> DrawnFigure:
    """Tau and regret by epoch."""
    scores = evaluation.scores
    signals = early_signals(scores) if len(scores.seeds) > 1 else []
    if not signals:
        reason = (
            f"needs {LEAST_CONFIGURATIONS} configurations with two seeds each: with one seed early "
            "and final scores share its luck, and few configurations rank anyhow"
        )
        return absent(SIGNAL, SIGNAL_TITLE, reason)
    figure = new_figure(SIGNAL_TITLE, height=5.0)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.25, 1))
    arms = list(scores.correlation)
    draw_tau(above, signals, arms=arms)
    draw_regret(below, signals, arms=arms)
    mark_place(above, scores.early_epoch, f"early epoch {scores.early_epoch}")
    below.axvline(scores.early_epoch, color="0.5", linewidth=1, linestyle=":")
    handles, labels = above.get_legend_handles_labels()
    thin = above.plot([], [], color="0.3", linewidth=0.9)
    legend_below(figure, [*handles, *thin], [*labels, "ceiling"])
    number = signals[0].configurations
    # Kendall 1938: standard deviation of tau where there is no agreement.
    scatter = math.sqrt(2 * (2 * number + 5) / (9 * number * (number - 1)))
    caption = (
        "Top: Kendall's tau between the ranking after each epoch and the final ranking of another "
        "seed; thin lines: how well the final rankings of two seeds agree, which on average no "
        "epoch exceeds. Bottom: what the choice after an epoch loses to the best one. Two "
        f"unrelated rankings of {plural(number, 'configuration')} have a tau of 0 +- {scatter:.2f}."
    )
    return DrawnFigure(SIGNAL, SIGNAL_TITLE, caption, figure, "")
