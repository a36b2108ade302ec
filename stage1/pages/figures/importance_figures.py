"""Which settings matter: parts of the loss's variance, and tuning per timeframe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stage1.claims.designs import told_apart
from stage1.claims.importance import (
    PartialVariances,
    Sensitivity,
    cross_seed_sensitivity,
    hyperparameter_sensitivity,
    partial_variances,
)
from stage1.claims.intervals import Values
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, Scores, means_over_seeds
from stage1.pages.figures.drawn import (
    QUIET,
    SMALL_SIZE,
    DrawnFigure,
    absent,
    arm_styles,
    legend_below,
    legend_of,
    new_panel,
    shortened,
)
from stage1.run.columns import RANDOM
from stage1.run.resolved_space import Domain, ResolvedSpace

VARIANCES = "partial_variances"
VARIANCES_TITLE = "Which settings the validation loss depends on"
PHI = "sensitivity_and_performance"
PHI_TITLE = "What each arm reaches, and what finer tuning adds"
LEAST_CONFIGURATIONS = 32
"""Fewer share out noise."""
_SHUFFLES, _SHUFFLED_TREES = 10, 8
REMAINDER = "interactions and noise"
_OTHERS = " other settings"
_SEED = 20264  # any number: the chance level of a table is always the same
_MOST_ROWS = 9
_NAME_THICKNESS = 1.6
"""Room for a setting's name above its bars, in bars."""
_LEAST_SPAN = 0.004
"""Correlation that the axes of Phi and performance show at least."""


class VarianceShares(NamedTuple):
    """Parts of the variance of log val_loss in percent of one arm's total."""

    common: str
    """The arm whose total is 100 %."""
    parts: tuple[str, ...]
    """Settings by their largest share in any arm, then `REMAINDER`."""
    shares: dict[str, list[float]]
    """By arm, one per part."""
    chance: dict[str, list[float]]
    """What losses in random order give on average, likewise; empty where it was not computed."""


def variance_shares(
    scores: Scores, space: ResolvedSpace, *, common: str, with_chance: bool = False
) -> VarianceShares | str:
    """Partial variances of every arm on one scale: the total of the arm `common` is 100 %.

    Args:
        scores: Of the design; an arm that was trained on a part of it is left out.
        space: The resolved study.
        common: Name of an arm.
        with_chance: Whether to compute what chance gives, which takes seconds.

    Returns:
        Or why there are none, in words: fewer than `LEAST_CONFIGURATIONS`, settings that the design
        cannot tell apart, a constant loss, values that were not searched.
    """
    losses = {arm: means_over_seeds(scores.arm(arm).log_loss) for arm in scores.log_loss}
    counts = {arm: int(np.isfinite(loss).sum()) for arm, loss in losses.items()}
    if counts[common] < LEAST_CONFIGURATIONS:
        return f"needs {LEAST_CONFIGURATIONS} configurations, {counts[common]} have a score"
    if aliased := told_apart(space, scores.values):
        return aliased
    losses = {arm: loss for arm, loss in losses.items() if counts[arm] >= LEAST_CONFIGURATIONS}
    domains = space.space
    try:
        variances = {
            arm: partial_variances(scores.values, loss, domains) for arm, loss in losses.items()
        }
    except ValueError as error:
        return f"the trials do not fit the study: {error}"
    total = variances[common].total
    if not total > 0:
        return f"all configurations of arm {common} have the same loss"
    shares = {arm: _percent(one, total) for arm, one in variances.items()}
    names = _largest_first(shares)
    chance = {}
    if with_chance:
        for arm, loss in losses.items():
            by_chance = _chance(scores.values, loss, domains, total)
            _add_up({arm: by_chance}, names)
            by_chance[REMAINDER] = math.nan  # of nothing but noise it is all that is left
            chance[arm] = [by_chance[name] for name in names]
    return VarianceShares(
        common,
        names,
        {arm: [one.get(name, 0.0) for name in names] for arm, one in shares.items()},
        chance,
    )


def _chance(
    values: pd.DataFrame, loss: Values, domains: Mapping[str, Domain], total: float
) -> dict[str, float]:
    """Parts of losses in random order, mean over shuffles: what a forest makes of nothing."""
    generator = np.random.default_rng(_SEED)
    known = np.flatnonzero(np.isfinite(loss))
    parts: dict[str, float] = {}
    for _ in range(_SHUFFLES):
        shuffled = loss.copy()
        shuffled[known] = loss[generator.permutation(known)]
        one = partial_variances(values, shuffled, domains, trees=_SHUFFLED_TREES)
        for name, percent in _percent(one, total).items():
            parts[name] = parts.get(name, 0.0) + percent / _SHUFFLES
    return parts


def _percent(variances: PartialVariances, total: float) -> dict[str, float]:
    parts = {**variances.main, REMAINDER: variances.remainder}
    return {key: 100 * part / total for key, part in parts.items()}


def _largest_first(shares: dict[str, dict[str, float]]) -> tuple[str, ...]:
    """The settings' names by largest share; of many settings the small ones are added up."""
    keys = [key for key in next(iter(shares.values())) if key != REMAINDER]
    keys.sort(key=lambda key: -max(one[key] for one in shares.values()))
    if len(keys) > _MOST_ROWS:
        others = f"{len(keys) - _MOST_ROWS + 1}{_OTHERS}"
        keys = [*keys[: _MOST_ROWS - 1], others]
    names = (*keys, REMAINDER)
    _add_up(shares, names)
    return names


def _add_up(shares: dict[str, dict[str, float]], names: tuple[str, ...]) -> None:
    """Add the part of the other settings, where the names have it."""
    for one in shares.values():
        for name in names:
            if name.endswith(_OTHERS):
                one[name] = sum(share for key, share in one.items() if key not in names)


def draw_variance_shares(axes: Axes, variances: VarianceShares) -> None:
    """Draw a group of bars per part, one bar per arm, from the top, and strokes at chance."""
    arms = list(variances.shares)
    thickness = 1 / (len(arms) + _NAME_THICKNESS)
    name_place = (len(arms) / 2 + 0.35 * _NAME_THICKNESS) * thickness
    widest = float(np.nanmax([*variances.shares.values(), *variances.chance.values()]))
    text: dict[str, Any] = {"fontsize": SMALL_SIZE, "va": "center"}
    for order, (arm, style) in enumerate(arm_styles(arms).items()):
        shares = variances.shares[arm]
        places = -np.arange(len(shares)) - (order - (len(arms) - 1) / 2) * thickness
        look: dict[str, Any] = {
            "facecolor": style.color,
            "hatch": style.hatch,
            "edgecolor": "white",
        }
        axes.barh(places, shares, height=0.92 * thickness, label=arm, linewidth=0, **look)
        chance = variances.chance.get(arm, [math.nan] * len(shares))
        for place, share, by_chance in zip(places, shares, chance, strict=True):
            end = np.nanmax([share, by_chance])
            axes.text(end + 0.015 * widest, place, f"{share:.0f}", color=QUIET, **text)
            reach = [place - 0.46 * thickness, place + 0.46 * thickness]
            axes.plot([by_chance] * 2, reach, color="black", linewidth=1.8)
    for place, part in enumerate(variances.parts):
        name = shortened(part, 50)
        slant = "italic" if part == REMAINDER else "normal"
        axes.text(0, -place + name_place, name, fontstyle=slant, fontsize=10, va="center")
    axes.set_xlim(0, 1.12 * widest)
    axes.set_ylim(-len(variances.parts) + 0.6, 0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel(f"% of the variance of log val_loss in arm {shortened(variances.common, 20)}")


def variances_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """The partial variances."""
    scores = evaluation.scores
    common = tables.registration.roles.get(RANDOM, next(iter(scores.log_loss)))
    variances = variance_shares(scores, tables.space, common=common, with_chance=True)
    if isinstance(variances, str):
        return absent(VARIANCES, VARIANCES_TITLE, variances)
    arms = len(variances.shares)
    height = 0.16 * (arms + _NAME_THICKNESS) * len(variances.parts)
    figure, axes = new_panel(VARIANCES_TITLE, height=1.0 + height)
    draw_variance_shares(axes, variances)
    handles, labels = axes.get_legend_handles_labels()
    stroke = axes.plot([], [], "|", color="black", markersize=11, markeredgewidth=1.8)
    legend_below(figure, [*handles, *stroke], [*labels, "chance"])
    caption = (
        "Variance of log val_loss between configurations that each setting explains alone "
        f"(functional ANOVA), for all arms in % of the total of arm {common}: shorter bars, less "
        "sensitive. Strokes: what losses in random order would give; a bar that does not pass its "
        "stroke says nothing."
    )
    return DrawnFigure(VARIANCES, VARIANCES_TITLE, caption, figure, "")


# Tuning per timeframe -----------------------------------------------------------------------------


class ArmSensitivity(NamedTuple):
    """Phi and tuned performance of an arm over timeframes, in val_correlation."""

    arm: str
    best: Sensitivity
    """Chosen and scored on the mean over seeds."""
    honest: Sensitivity
    """Chosen on one seed, scored on another; NaN unless every configuration has two seeds."""


def arm_sensitivities(scores: Scores) -> list[ArmSensitivity]:
    """Of every arm with a configuration that has a score."""
    arms = []
    for arm, by_timeframe in scores.timeframes.items():
        means = np.stack([means_over_seeds(one) for one in np.moveaxis(by_timeframe, 2, 0)], axis=1)
        best = hyperparameter_sensitivity(means)
        by_seed = np.moveaxis(by_timeframe, 2, 1)
        replicated = np.isfinite(by_seed).all(axis=(1, 2)).sum()
        if replicated < np.isfinite(means).all(axis=1).sum():  # another choice than the filled one
            by_seed = np.full_like(by_seed, np.nan)
        honest = cross_seed_sensitivity(by_seed)
        arms.append(ArmSensitivity(arm, best, honest))
    return [one for one in arms if math.isfinite(one.best.phi)]


def draw_sensitivities(axes: Axes, arms: list[ArmSensitivity], *, all_arms: list[str]) -> None:
    """Draw an arm's best as a filled point and the honest choice as an open one.

    There must be one; an arm's look is that of its place among `all_arms`.
    """
    styles = arm_styles(all_arms)
    for one in arms:
        style = styles[one.arm]
        x = [one.best.phi, one.honest.phi]
        y = [one.best.cross_environment, one.honest.cross_environment]
        axes.plot(x, y, color=style.color, linewidth=1, linestyle=style.line)
        look: dict[str, Any] = {"marker": style.marker, "color": style.color, "mew": 1.8}
        axes.plot(x[1], y[1], markerfacecolor="white", markersize=12, **look)
        axes.plot(x[0], y[0], markersize=8, label=one.arm, linestyle="none", **look)
    axes.margins(0.15)
    _at_least(axes, _LEAST_SPAN)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("Phi: correlation gained by tuning each timeframe on its own")
    axes.set_ylabel("correlation, tuned once for all")
    axes.grid()


def _at_least(axes: Axes, span: float) -> None:
    """Widen axes that show less than `span`: differences that small are rounding."""
    for limits, widen in ((axes.get_xlim(), axes.set_xlim), (axes.get_ylim(), axes.set_ylim)):
        missing = (span - (limits[1] - limits[0])) / 2
        if missing > 0:
            widen(limits[0] - missing, limits[1] + missing)


def sensitivity_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """Phi against tuned performance."""
    scores = evaluation.scores
    if len(scores.timeframe_names) < 2:
        return absent(PHI, PHI_TITLE, "needs two timeframes to tune for")
    arms = arm_sensitivities(scores)
    if not arms:
        return absent(PHI, PHI_TITLE, "no configuration has a score in every timeframe yet")
    figure, axes = new_panel(PHI_TITLE, height=4.1)
    draw_sensitivities(axes, arms, all_arms=list(scores.timeframes))
    legend_of(figure, axes)
    honest = (
        "open: chosen on one seed and scored on another, which takes out the luck of the choice"
        if all(math.isfinite(one.honest.phi) for one in arms)
        else "without a second seed of each configuration the luck of the choice is in it"
    )
    caption = (
        f"Up: better with one configuration for all of {', '.join(scores.timeframe_names)}. Right: "
        "more to gain from one configuration per timeframe, so more sensitive (Adkins et al. "
        f"2024). Filled: the best configuration; {honest}."
    )
    return DrawnFigure(PHI, PHI_TITLE, caption, figure, "")
