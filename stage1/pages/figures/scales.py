"""Axes for scores: correlations are spaced by Fisher's z, losses by their logarithm."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    FormatStrFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from stage1.base.metric_table import metric_label, metric_row
from stage1.claims.intervals import Values

_LARGEST = 0.9999
"""Correlations beyond it are drawn there: Fisher's z of 1 is infinite."""
_LEAST_RANGE = 0.02
"""Of Fisher's z; equal scores are drawn in the middle of an axis that is at least this long."""


def fisher(correlations: Values) -> Values:
    """Fisher's z, cut off short of 1 and -1."""
    return np.arctanh(np.clip(correlations, -_LARGEST, _LARGEST))


def scale_metric(axes: Axes, metric: str, values: Values) -> None:
    """Make the vertical axis one for a metric.

    Args:
        axes: Drawn into.
        metric: As the study names it.
        values: Everything that is to be seen; the ones that are not finite do not count.
    """
    finite = values[np.isfinite(values)]
    row = metric_row(metric)
    scale = "linear" if row is None else row.scale
    if scale == "correlation" and np.abs(finite).max(initial=0.0) <= 1:
        scale_correlations(axes, values, axis="y")
    elif scale == "log" and finite.min(initial=math.inf) > 0:
        scale_log(axes, values, axis="y")
    axes.set_ylabel(metric_label(metric))


def scale_correlations(axes: Axes, values: Values, *, axis: Literal["x", "y"]) -> None:
    """Space correlations by Fisher's z, so that differences near 1 can be seen.

    Args:
        axes: Drawn into.
        values: Correlations that are to be seen; the ones that are not finite do not count.
        axis: Which one.
    """
    bounds = fisher(values[np.isfinite(values)])
    low, high = bounds.min(), bounds.max()
    margin = max(0.05 * (high - low), (_LEAST_RANGE - (high - low)) / 2)
    low, high = np.tanh([low - margin, high + margin]).tolist()
    set_scale = axes.set_xscale if axis == "x" else axes.set_yscale
    set_limits = axes.set_xlim if axis == "x" else axes.set_ylim
    set_scale("function", functions=(fisher, np.tanh))
    set_limits(low, high)
    line = axes.xaxis if axis == "x" else axes.yaxis
    line.set_major_locator(FixedLocator(correlation_ticks(low, high)))
    line.set_minor_locator(NullLocator())
    line.set_major_formatter(FormatStrFormatter("%g"))


def correlation_ticks(low: float, high: float, *, number: int = 6) -> list[float]:
    """Round correlations, about evenly spaced in Fisher's z.

    Args:
        low: Of the axis, in (-1, 1).
        high: Of the axis, in (low, 1).
        number: How many, before those that round to the same or outside are left out.
    """
    ends = fisher(np.array([low, high]))
    wanted = np.tanh(np.linspace(ends[0], ends[1], number))
    gaps = np.minimum(np.diff(wanted, prepend=-2.0), np.diff(wanted, append=2.0))
    ticks = {_rounded(value, gap) for value, gap in zip(wanted, gaps, strict=True)}
    return sorted(tick for tick in ticks if low <= tick <= high)


def _rounded(value: float, gap: float) -> float:
    """The nearest multiple of 1, 2 or 5 times a power of ten that is no more than half `gap`."""
    power = 10.0 ** math.floor(math.log10(gap / 2))
    step = max(factor for factor in (1, 2, 5) if factor * power <= gap / 2 * (1 + 1e-9)) * power
    return round(round(value / step) * step, 12) + 0.0  # without the sign of -0


def scale_log(axes: Axes, values: Values, *, axis: Literal["x", "y"]) -> None:
    """Space positive values by their logarithm, with ticks in plain numbers.

    Args:
        axes: Drawn into.
        values: That are to be seen, > 0.
        axis: Which one.
    """
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    margin = max((high / low) ** 0.06, 1.03)
    set_scale = axes.set_xscale if axis == "x" else axes.set_yscale
    set_limits = axes.set_xlim if axis == "x" else axes.set_ylim
    set_scale("log")
    set_limits(low / margin, high * margin)
    line = axes.xaxis if axis == "x" else axes.yaxis
    decades = math.log10(high / low)
    if decades > 2.5:
        line.set_major_locator(LogLocator(subs=(1.0,)))
    elif decades > 0.7:
        line.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        line.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    line.set_minor_locator(NullLocator())
    line.set_major_formatter(FormatStrFormatter("%g"))
