"""Figures of a run: what each shows is computed by one function and drawn by another.

Arms differ by colour, line style and marker, so that a figure survives grey print and a phone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, MaxNLocator
from numpy.typing import NDArray

from stage1.files import atomic_path
from stage1.results import DESIGN
from stage1.summary import baseline_value, full_horizon

CORRELATION = "val_correlation"
_STYLES = (
    ("#0072B2", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#009E73", "-.", "^"),
    ("#CC79A7", (0, (1, 1)), "D"),
)
"""Colour (Okabe and Ito 2008), line style and marker of the first, second ... arm."""
_BASELINE_LABEL = "linear interpolation"
_TICKS = (-0.5, 0.0, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)


class ArmCurve(NamedTuple):
    """Validation correlation of an arm's full-horizon design trials, by epoch."""

    arm: str
    epochs: NDArray[np.int64]  # (epochs,)
    median: NDArray[np.float64]  # (epochs,)
    low: NDArray[np.float64]  # (epochs,)
    high: NDArray[np.float64]  # (epochs,)
    trials: int


def arm_curves(trials: pd.DataFrame, curves: pd.DataFrame, space: dict[str, Any]) -> list[ArmCurve]:
    """Median and range over the design's full-horizon trials, per arm in the study's order.

    Args:
        trials: Of the run.
        curves: Of the run; correlations that are NaN do not count.
        space: The resolved study.

    Returns:
        Arms without such a trial are left out.
    """
    design = full_horizon(trials, space, [DESIGN])
    known = curves[curves["trial_id"].isin(design["trial_id"])].dropna(subset=[CORRELATION])
    result = []
    for arm in space["arms"]:
        rows = known[known["arm"] == arm]
        by_epoch = rows.groupby("epoch")[CORRELATION].agg(["median", "min", "max"])
        if len(by_epoch):
            result.append(
                ArmCurve(
                    arm=arm,
                    epochs=by_epoch.index.to_numpy(),
                    median=by_epoch["median"].to_numpy(),
                    low=by_epoch["min"].to_numpy(),
                    high=by_epoch["max"].to_numpy(),
                    trials=rows["trial_id"].nunique(),
                )
            )
    return result


def draw_learning_curves(axes: Axes, curves: list[ArmCurve], *, baseline: float) -> None:
    """Draw medians as lines, ranges as bars beside each other, and the baseline across.

    Args:
        axes: Drawn into.
        curves: At least one.
        baseline: Correlation of linear interpolation; NaN = not drawn.
    """
    for place, curve in enumerate(curves):
        color, line, marker = _STYLES[place % len(_STYLES)]
        shift = 0.14 * (place - (len(curves) - 1) / 2)
        axes.errorbar(
            curve.epochs + shift,
            curve.median,
            yerr=np.stack([curve.median - curve.low, curve.high - curve.median]),
            color=color,
            linestyle=line,
            marker=marker,
            markersize=5,
            linewidth=1.8,
            elinewidth=1,
            label=f"{curve.arm} ({curve.trials} {'trial' if curve.trials == 1 else 'trials'})",
        )
    if not np.isnan(baseline):
        axes.axhline(
            baseline,
            color="black",
            linewidth=1.2,
            linestyle=(0, (6, 3)),
            label=f"{_BASELINE_LABEL} ({baseline:.3f})",
        )
    _scale_correlations(axes, curves, baseline)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch (0 = before the first step)")
    axes.set_ylabel("validation correlation (spaced by Fisher's z)")
    axes.grid(axis="y", color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _scale_correlations(axes: Axes, curves: list[ArmCurve], baseline: float) -> None:
    """Space correlations by Fisher's z, so that differences near 1 can be seen."""
    limit = 0.9999
    axes.set_yscale(
        "function",
        functions=(lambda r: np.arctanh(np.clip(r, -limit, limit)), np.tanh),
    )
    shown = np.concatenate([values for curve in curves for values in (curve.low, curve.high)])
    bounds = np.arctanh(np.clip(np.append(shown, baseline), -limit, limit))
    low, high = np.nanmin(bounds), np.nanmax(bounds)
    margin = 0.06 * max(high - low, 0.1)
    axes.set_ylim(float(np.tanh(low - margin)), float(np.tanh(high + margin)))
    axes.yaxis.set_major_locator(FixedLocator(list(_TICKS)))
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))


def learning_curves_figure(
    trials: pd.DataFrame, curves: pd.DataFrame, space: dict[str, Any]
) -> Figure | None:
    """The design's learning curves per arm; None before its first full-horizon trial."""
    drawn = arm_curves(trials, curves, space)
    if not drawn:
        return None
    figure = Figure(figsize=(5.4, 5.0), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    draw_learning_curves(axes, drawn, baseline=baseline_value(trials, CORRELATION))
    axes.set_title(
        f"How fast and how far each arm learns\n{space['name']}: median and range of the design's "
        "trials",
        fontsize=10.5,
        loc="left",
    )
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda place: labels[place].startswith(_BASELINE_LABEL))
    figure.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        handlelength=3.5,
    )
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
