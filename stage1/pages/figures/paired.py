"""Arms side by side: the same configurations in every arm, and how many runs get how far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from stage1.base.metric_table import CORRELATION
from stage1.base.text import plural
from stage1.claims.aggregates import Band, performance_profile
from stage1.claims.intervals import Values
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, Scores, both_scored, means_over_seeds
from stage1.claims.tuning import expected_best
from stage1.claims.tuning_value import paired_means, tuning_value
from stage1.pages.figures.drawn import (
    TEXT_SIZE,
    WIDTH,
    DrawnFigure,
    absent,
    arm_styles,
    draw_baseline,
    draw_curves,
    fisher,
    legend_below,
    legend_of,
    new_figure,
    new_panel,
    scale_correlations,
    scale_log,
    shortened,
    wrapped,
)
from stage1.run.columns import PRETRAINED, RANDOM
from stage1.run.summary import baseline_value

SLOPES, SLOPES_TITLE = "paired_slopes", "What the same configurations reach in each arm"
GAPS, GAPS_TITLE = "tuning_value", "What tuning is worth in each arm"
_GAPS_BELOW = 4
"""So many gaps below the middle of three an arm's configurations are drawn."""
PROFILE, PROFILE_TITLE = "performance_profile", "How many runs get above a correlation"
_THRESHOLDS = 101
_SEED = 20261  # any number: the bands of a table are always the same


class Slopes(NamedTuple):
    """Final val_correlation of each configuration in each arm, mean over seeds."""

    arms: tuple[str, ...]
    values: Values  # (arms, configurations), only configurations that all arms have
    medians: Values  # (arms)


def paired_slopes(scores: Scores) -> Slopes:
    """Arrange the final scores by arm, of configurations that all of the arms have.

    An arm that was trained on a part of the design is left out.
    """
    means = {arm: means_over_seeds(scores.arm(arm).final) for arm in scores.correlation}
    counts = {arm: int(np.isfinite(values).sum()) for arm, values in means.items()}
    arms = tuple(arm for arm in means if counts[arm] == max(counts.values()))
    finals = np.stack([means[arm] for arm in arms])
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
        return absent(SLOPES, SLOPES_TITLE, "one arm alone has scores: nothing to compare")
    if slopes.values.shape[1] == 0:
        return absent(SLOPES, SLOPES_TITLE, "no configuration has a score in every arm")
    figure, axes = new_panel(SLOPES_TITLE, height=4.3)
    draw_slopes(axes, slopes, baseline=baseline_value(tables.trials, CORRELATION))
    legend_of(figure, axes)
    caption = (
        f"Every grey line is one of {plural(slopes.values.shape[1], 'configuration')}, mean over "
        "seeds; the numbers are the arms' medians. Lines that fall from one arm to the next: the "
        "first arm is better with the same settings. Spaced by Fisher's z."
    )
    if left_out := [arm for arm in evaluation.scores.correlation if arm not in slopes.arms]:
        caption += f" Not trained on all of them: {', '.join(left_out)}."
    return DrawnFigure(SLOPES, SLOPES_TITLE, caption, figure, "")


# What tuning is worth -----------------------------------------------------------------------------


class ArmGap(NamedTuple):
    """How far a typical configuration of an arm lies behind the best of three."""

    arm: str
    losses: Values  # (configurations), val_loss, mean over seeds, worst first
    best: float
    """Expected best of three."""
    middle: float
    """Expected middle of three."""

    @property
    def gap(self) -> float:
        """By how much the middle one's val_loss is larger, as a share of the best one's."""
        return self.middle / self.best - 1


def arm_gaps(scores: Scores, arms: tuple[str, str]) -> list[ArmGap] | str:
    """The gap of two arms on the configurations that both have, or why there is none."""
    pair = both_scored(*(-scores.arm(arm).log_loss for arm in arms))
    value = tuning_value(*pair, error_rate=0.05)  # any: the interval is the forest's
    if value.obstacle:
        return value.obstacle
    gaps = []
    for arm, means, gap in zip(arms, paired_means(*pair), value.gaps, strict=True):
        best = float(expected_best(means, draws=3)[-1])
        gaps.append(ArmGap(arm, np.exp(-np.sort(means)), np.exp(-best), np.exp(gap - best)))
    return gaps


def draw_gaps(panels: Sequence[Axes], gaps: list[ArmGap], *, arms: Sequence[str]) -> None:
    """Draw each arm's configurations from worst to best, and its best and middle of three.

    Better is up. Configurations far below the middle are drawn at the edge, as arrows.
    """
    top = min(float(one.losses.min()) for one in gaps)
    lowest = max(float(one.losses.max()) for one in gaps)
    widest = max(one.middle * (one.middle / one.best) ** _GAPS_BELOW for one in gaps)
    bottom = min(lowest, widest)
    for axes, one in zip(panels, gaps, strict=True):
        style = arm_styles(arms)[one.arm]
        scale_log(axes, np.array([top, bottom]), axis="y")
        places = np.arange(1, len(one.losses) + 1)
        seen = one.losses <= bottom
        axes.plot(places[seen], one.losses[seen], style.marker, color=style.color, markersize=4.5)
        if not seen.all():
            edge = np.full(int((~seen).sum()), bottom)
            axes.plot(places[~seen], edge, "v", color=style.color, markersize=7)
        axes.axhspan(one.best, one.middle, color=style.color, alpha=0.15, linewidth=0)
        axes.axhline(one.best, color="black", linewidth=1.4)
        axes.axhline(one.middle, color="black", linewidth=1.4, linestyle=(0, (4, 2)))
        axes.invert_yaxis()
        axes.set_title(f"{shortened(one.arm, 20)}\n{one.gap:.1%}", fontsize=TEXT_SIZE)
        axes.xaxis.set_major_locator(FixedLocator([1, len(one.losses)]))
        axes.set_xticklabels(["worst", "best"])
        axes.grid(axis="y")
    panels[0].set_ylabel("val_loss, better is up")
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)


def gaps_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """What claim 1 compares: the gap of the pretrained and of the random arm."""
    roles, scores = tables.registration.roles, evaluation.scores
    pair = (roles.get(PRETRAINED, PRETRAINED), roles.get(RANDOM, RANDOM))
    if not set(pair) <= set(scores.log_loss):
        return absent(GAPS, GAPS_TITLE, "the study has no pretrained or no random arm")
    gaps = arm_gaps(scores, pair)
    if isinstance(gaps, str):
        return absent(GAPS, GAPS_TITLE, gaps)
    figure = new_figure(GAPS_TITLE, height=3.7)
    panels = figure.subplots(1, 2)
    draw_gaps(panels, gaps, arms=list(scores.log_loss))
    line: dict[str, Any] = {"color": "black", "linewidth": 1.4}
    handles = [
        *panels[0].plot([], [], **line),
        *panels[0].plot([], [], linestyle=(0, (4, 2)), **line),
    ]
    legend_below(figure, handles, ["best of three", "middle of three"])
    caption = (
        f"The {plural(len(gaps[0].losses), 'configuration')} of each arm from worst to best. "
        "Lines: what the best and the middle of three tries reach on average; the shaded gap "
        "between them, above each panel in % of val_loss, is what tuning is worth, and claim 1 is "
        "about the ratio of the two gaps. Arrows at the edge: far worse, which moves the gap "
        "little. Logarithmic."
    )
    return DrawnFigure(GAPS, GAPS_TITLE, caption, figure, "")


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
