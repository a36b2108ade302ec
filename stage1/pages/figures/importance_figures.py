"""Which settings matter: parts of the loss's variance, and tuning per timeframe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stage1.claims.importance import (
    PartialVariances,
    Sensitivity,
    cross_seed_sensitivity,
    hyperparameter_sensitivity,
    partial_variances,
)
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, Scores
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
from stage1.run.resolved_space import Domain

VARIANCES = "partial_variances"
VARIANCES_TITLE = "Which settings the validation loss depends on"
PHI = "sensitivity_and_performance"
PHI_TITLE = "What each arm reaches, and what finer tuning adds"
LEAST_CONFIGURATIONS, _ENOUGH_CONFIGURATIONS = 8, 32
"""Below the first there is no figure, below the second it is only a hint."""
REMAINDER = "interactions and noise"
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
    configurations: int
    """Fewest of any arm."""

    @property
    def hint(self) -> str:
        """A sentence, after a space, where the configurations are too few; else empty."""
        if self.configurations >= _ENOUGH_CONFIGURATIONS:
            return ""
        return (
            f" Only a hint: {self.configurations} configurations, {_ENOUGH_CONFIGURATIONS} are "
            "needed to trust it."
        )


def variance_shares(
    scores: Scores, domains: Mapping[str, Domain], *, common: str
) -> VarianceShares | None:
    """Partial variances of every arm on one scale: the total of the arm `common` is 100 %.

    Returns:
        None with fewer than `LEAST_CONFIGURATIONS`, or where the common arm's loss is constant.

    Raises:
        ValueError: A value is outside its domain.
    """
    losses = {arm: scores.arm(arm).log_loss.mean(axis=1) for arm in scores.log_loss}
    fewest = min(int(np.isfinite(loss).sum()) for loss in losses.values())
    if fewest < LEAST_CONFIGURATIONS:
        return None
    variances = {
        arm: partial_variances(scores.values, loss, domains) for arm, loss in losses.items()
    }
    total = variances[common].total
    if not total > 0:
        return None
    shares = {arm: _percent(one, total) for arm, one in variances.items()}
    names = _largest_first(shares)
    return VarianceShares(
        common,
        names,
        {arm: [one.get(name, 0.0) for name in names] for arm, one in shares.items()},
        fewest,
    )


def _percent(variances: PartialVariances, total: float) -> dict[str, float]:
    parts = {**variances.main, REMAINDER: variances.remainder}
    return {key: 100 * part / total for key, part in parts.items()}


def _largest_first(shares: dict[str, dict[str, float]]) -> tuple[str, ...]:
    """The settings' names by largest share; of many settings the small ones are added up."""
    keys = [key for key in next(iter(shares.values())) if key != REMAINDER]
    keys.sort(key=lambda key: -max(one[key] for one in shares.values()))
    if len(keys) > _MOST_ROWS:
        small = keys[_MOST_ROWS - 1 :]
        others = f"{len(small)} other settings"
        for one in shares.values():
            one[others] = sum(one[key] for key in small)
        keys = [*keys[: _MOST_ROWS - 1], others]
    return (*keys, REMAINDER)


def draw_variance_shares(axes: Axes, variances: VarianceShares) -> None:
    """Draw a group of bars per part, one bar per arm, from the top."""
    arms = list(variances.shares)
    thickness = 1 / (len(arms) + _NAME_THICKNESS)
    name_place = (len(arms) / 2 + 0.35 * _NAME_THICKNESS) * thickness
    widest = max(max(shares) for shares in variances.shares.values())
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
        for place, share in zip(places, shares, strict=True):
            axes.text(share + 0.01 * widest, place, f"{share:.0f}", color=QUIET, **text)
    for place, part in enumerate(variances.parts):
        name = shortened(_short_key(part, variances.parts), 50)
        slant = "italic" if part == REMAINDER else "normal"
        axes.text(0, -place + name_place, name, fontstyle=slant, fontsize=10, va="center")
    axes.set_xlim(0, 1.12 * widest)
    axes.set_ylim(-len(variances.parts) + 0.6, 0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel(f"% of the variance of log val_loss in arm {shortened(variances.common, 20)}")


def _short_key(key: str, keys: tuple[str, ...]) -> str:
    """The last part of a dotted key, unless another one ends alike."""
    last = key.split(".")[-1]
    return last if [other.split(".")[-1] for other in keys].count(last) == 1 else key


def variances_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """The partial variances."""
    scores = evaluation.scores
    common = tables.registration.roles.get(RANDOM, next(iter(scores.log_loss)))
    try:
        variances = variance_shares(scores, tables.space.space, common=common)
    except ValueError as error:
        return absent(VARIANCES, VARIANCES_TITLE, f"the trials do not fit space.yaml: {error}")
    if variances is None:
        reason = f"needs {LEAST_CONFIGURATIONS} configurations whose losses differ"
        return absent(VARIANCES, VARIANCES_TITLE, reason)
    arms = len(variances.shares)
    height = 0.16 * (arms + _NAME_THICKNESS) * len(variances.parts)
    figure, axes = new_panel(VARIANCES_TITLE, height=1.0 + height)
    draw_variance_shares(axes, variances)
    handles, labels = axes.get_legend_handles_labels()
    legend_below(figure, handles, labels)
    caption = (
        "Variance of log val_loss between configurations that each setting explains alone "
        f"(functional ANOVA), for all arms in % of the total of arm {common}: shorter bars, less "
        f"sensitive.{variances.hint}"
    )
    return DrawnFigure(VARIANCES, VARIANCES_TITLE, caption, figure, "")


# Tuning per timeframe -----------------------------------------------------------------------------


class ArmSensitivity(NamedTuple):
    """Phi and tuned performance of an arm over timeframes, in val_correlation."""

    arm: str
    best: Sensitivity
    """Chosen and scored on the mean over seeds."""
    honest: Sensitivity
    """Chosen on one seed, scored on another; NaN with one seed."""


def arm_sensitivities(scores: Scores) -> list[ArmSensitivity]:
    """Of every arm with a configuration that has all seeds."""
    arms = []
    for arm, by_timeframe in scores.timeframes.items():
        best = hyperparameter_sensitivity(by_timeframe.mean(axis=1))
        honest = cross_seed_sensitivity(np.moveaxis(by_timeframe, 2, 1))
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
        return absent(PHI, PHI_TITLE, "no configuration has all its seeds and timeframes yet")
    figure, axes = new_panel(PHI_TITLE, height=4.1)
    draw_sensitivities(axes, arms, all_arms=list(scores.timeframes))
    legend_of(figure, axes)
    honest = (
        "open: chosen on one seed and scored on another, which takes out the luck of the choice"
        if len(scores.seeds) > 1
        else "with one seed the luck of the choice is in it"
    )
    caption = (
        f"Up: better with one configuration for all of {', '.join(scores.timeframe_names)}. Right: "
        "more to gain from one configuration per timeframe, so more sensitive (Adkins et al. "
        f"2024). Filled: the best configuration; {honest}."
    )
    return DrawnFigure(PHI, PHI_TITLE, caption, figure, "")
