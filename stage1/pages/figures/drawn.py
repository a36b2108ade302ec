"""What every figure shares: its record, the look of the arms, axes for scores, layout, file.

Figures are made for a phone, 400 pixels wide, and for grey print: text is large, and arms differ by
colour, line style, marker and hatch.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FormatStrFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullLocator,
)
from matplotlib.typing import LineStyleType

from stage1.base.files import atomic_path
from stage1.base.metric_table import INTERPOLATION, Scale, metric_label, metric_row
from stage1.claims.aggregates import Band
from stage1.claims.intervals import Values
from stage1.run.columns import (
    LADDER,
    PRETRAINED,
    RANDOM,
    RANDOM_AGAIN,
    RANDOM_FIXED,
    SHUFFLED,
    SHUFFLED_FIXED,
    VANILLA,
)

WIDTH = 5.4
"""Inches; at 200 dots per inch a phone shows them at about a third of their size."""
TEXT_SIZE, SMALL_SIZE = 10.5, 9.5
"""Points."""
LOOK: dict[Any, Any] = {
    "text.parse_math": False,  # a name may hold a dollar
    "font.size": TEXT_SIZE,
    "axes.axisbelow": True,
    "axes.labelsize": TEXT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "grid.color": "0.9",
    "hatch.linewidth": 0.8,
    "lines.linewidth": 1.9,
    "lines.markersize": 5.5,
}
"""Settings of matplotlib that all figures are drawn under."""
REFERENCE: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": (0, (6, 3))}
"""Look of a line to compare with, such as the interpolation baseline."""
QUIET = "0.42"
"""Grey of text that is not the point, dark enough to read."""


class DrawnFigure(NamedTuple):
    """A figure of the report, or why there is none."""

    name: str
    """Of its file, without the ending."""
    title: str
    caption: str
    """What it shows and how to read it."""
    figure: Figure | None
    missing: str
    """Why there is no figure, in one line; empty if there is one."""


def absent(name: str, title: str, reason: str) -> DrawnFigure:
    """The record of a figure that the run has nothing to draw for."""
    return DrawnFigure(name, title, "", None, reason)


class ArmStyle(NamedTuple):
    """How an arm looks in every figure."""

    color: str
    line: LineStyleType
    marker: str
    hatch: str


_ROLE_COLORS = {
    PRETRAINED: "#0072B2",
    RANDOM: "#D55E00",
    SHUFFLED: "#009E73",
    VANILLA: "#CC79A7",
    RANDOM_AGAIN: "#E69F00",
    RANDOM_FIXED: "#8C510A",
    SHUFFLED_FIXED: "#117733",
    **dict(zip(LADDER, ("#56B4E9", "#44AA99", "#332288", "#999933", "#882255"), strict=True)),
}
"""An arm that is called by its role looks the same in every figure of every run."""
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of other arms. Both tables: Okabe and Ito 2008, and Tol 2021 from the eighth role on, told apart
by the colour-blind."""
_LINES: tuple[LineStyleType, ...] = (
    "-",
    (0, (5, 2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (1, 1)),
    (0, (8, 2, 1, 2, 1, 2)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_HATCHES = ("", "///", "...", "xxx", "---", "\\\\\\", "+++")


def arm_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """The look of each arm: that of its role, or of its place among the arms without one."""
    roles = list(_ROLE_COLORS)
    others = [arm for arm in arms if arm not in roles]
    taken = {_ROLE_COLORS[arm] for arm in arms if arm in roles}
    free = [color for color in _COLORS if color not in taken] or list(_COLORS)
    styles = {}
    for arm in arms:
        place = roles.index(arm) if arm in roles else others.index(arm)
        color = _ROLE_COLORS[arm] if arm in roles else free[place % len(free)]
        styles[arm] = ArmStyle(
            color,
            _LINES[place % len(_LINES)],
            _MARKERS[place % len(_MARKERS)],
            _HATCHES[place % len(_HATCHES)],
        )
    return styles


def new_figure(title: str, *, height: float) -> Figure:
    """An empty figure with its title; the height is in inches, without the legend."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.07)
    figure = Figure(figsize=(WIDTH, height), dpi=200, layout=layout)
    lines = textwrap.fill(title, 52)
    figure.suptitle(lines, x=0.015, ha="left", fontsize=12, fontweight="bold")
    return figure


def new_panel(title: str, *, height: float) -> tuple[Figure, Axes]:
    """The same with one pair of axes."""
    figure = new_figure(title, height=height)
    return figure, figure.add_subplot()


def legend_below(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Put a legend under everything, as many columns as fit, and make room for it."""
    labels = [shortened(label, 48) for label in labels]
    longest = max(map(len, labels))
    fitting = 3 if longest <= 13 else 2 if longest <= 24 else 1
    rows = math.ceil(len(labels) / fitting)
    figure.set_figheight(figure.get_figheight() + 0.23 * rows + 0.05)
    figure.legend(
        list(handles),
        labels,
        loc="outside lower left",
        ncols=math.ceil(len(labels) / rows),
        frameon=False,
        fontsize=TEXT_SIZE - 0.5,
        handlelength=3.6,
        columnspacing=1.0,
        borderaxespad=0.2,
    )


def legend_of(figure: Figure, axes: Axes) -> None:
    """The legend of what has a label in `axes`, reference lines last."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda place: _is_reference(handles[place]))
    legend_below(figure, [handles[p] for p in order], [labels[p] for p in order])


def _is_reference(handle: Any) -> bool:
    return isinstance(handle, Line2D) and handle.get_color() == REFERENCE["color"]


def draw_line(axes: Axes, style: ArmStyle, x: Any, y: Any, *, label: str, **look: Any) -> None:
    """Draw an arm's line with about ten markers, however many points it has."""
    look |= {"color": style.color, "linestyle": style.line, "marker": style.marker}
    axes.plot(x, y, label=label, markevery=max(len(x) // 10, 1), **look)


def draw_band(axes: Axes, style: ArmStyle, x: Any, low: Any, high: Any) -> None:
    """Draw the band around an arm's line, its edges too: where bands overlap their colours mix."""
    axes.fill_between(x, low, high, color=style.color, alpha=0.1, linewidth=0)
    for edge in (low, high):
        axes.plot(x, edge, color=style.color, linestyle=style.line, linewidth=0.7, alpha=0.8)


def draw_curves(
    axes: Axes, x: Values, curves: Mapping[str, Band], *, arms: Sequence[str], factor: float = 1
) -> None:
    """Draw a curve, times `factor`, with its band for each arm that has one, (points) each.

    An arm's look is that of its place among the study's `arms`.
    """
    styles = arm_styles(arms)
    for arm, band in curves.items():
        estimate, low, high = (factor * part for part in band)
        draw_band(axes, styles[arm], x, low, high)
        draw_line(axes, styles[arm], x, estimate, label=arm)


def draw_baseline(axes: Axes, baseline: float, *, vertical: bool = False) -> None:
    """Draw what linear interpolation reaches as a line across; nothing where it is NaN."""
    if math.isfinite(baseline):
        draw = axes.axvline if vertical else axes.axhline
        draw(baseline, label=f"{INTERPOLATION} {baseline:.3f}", **REFERENCE)


def mark_place(axes: Axes, place: float, text: str) -> None:
    """Draw a dotted line down from a note above the axes."""
    axes.axvline(place, color="0.5", linewidth=1, linestyle=":")
    left = axes.transData.transform((place, 0))[0] < axes.bbox.x0 + 0.6 * axes.bbox.width
    axes.annotate(
        text,
        (place, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(2 if left else -2, 2),
        textcoords="offset points",
        ha="left" if left else "right",
        fontsize=SMALL_SIZE,
        color=QUIET,
    )


def shortened(name: str, length: int) -> str:
    """A name with its middle left out where it is longer than `length`."""
    if len(name) <= length:
        return name
    shown = length - 1
    return f"{name[: shown - shown // 2]}…{name[len(name) - shown // 2 :]}"


def wrapped(name: str, width: int) -> str:
    """A name over several lines, broken after `_`, `-`, `.`, `/` or a space where there is one."""
    lines, line = [], ""
    for part in re.findall(r"[^-_./ ]*[-_./ ]|[^-_./ ]+", name):
        if line and len(line) + len(part.rstrip()) > width:
            lines.append(line)
            line = ""
        line += part
        while len(line.rstrip()) > width:
            lines.append(line[:width])
            line = line[width:]
    return "\n".join(part.rstrip() for part in [*lines, line] if part.strip())


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


# Axes for scores: correlations are spaced by Fisher's z, losses by their logarithm --------------

_LARGEST = 0.9999
"""Correlations beyond it are drawn there: Fisher's z of 1 is infinite."""
_LEAST_RANGE = 0.02
"""Of Fisher's z; equal scores are drawn in the middle of an axis that is at least this long."""


def fisher(correlations: Values) -> Values:
    """Fisher's z, cut off short of 1 and -1."""
    return np.arctanh(np.clip(correlations, -_LARGEST, _LARGEST))


def scale_metric(axes: Axes, metric: str, values: Values) -> None:
    """Make the vertical axis one for a metric; values that are not finite do not count."""
    match scale_of(metric, values):
        case "correlation":
            scale_correlations(axes, values, axis="y")
        case "log":
            scale_log(axes, values, axis="y")
    axes.set_ylabel(metric_label(metric))


def scale_of(metric: str, values: Values) -> Scale:
    """How an axis spaces a metric: linearly too where the values do not allow its own scale."""
    finite = values[np.isfinite(values)]
    row = metric_row(metric)
    scale = "linear" if row is None else row.scale
    fits = {
        "correlation": np.abs(finite).max(initial=0.0) <= 1,
        "log": finite.min(initial=math.inf) > 0,
    }
    return scale if fits.get(scale) else "linear"


def scale_correlations(axes: Axes, values: Values, *, axis: Literal["x", "y"]) -> None:
    """Space correlations by Fisher's z, so that differences near 1 can be seen.

    Values that are not finite do not count.
    """
    bounds = fisher(values[np.isfinite(values)])
    low, high = bounds.min(), bounds.max()
    margin = max(0.05 * (high - low), (_LEAST_RANGE - (high - low)) / 2)
    low, high = np.tanh([low - margin, high + margin]).tolist()
    (axes.set_xscale if axis == "x" else axes.set_yscale)("function", functions=(fisher, np.tanh))
    _limit(axes, axis, low, high, FixedLocator(correlation_ticks(low, high)))


def correlation_ticks(low: float, high: float, *, number: int = 6) -> list[float]:
    """Round correlations in [low, high], about evenly spaced in Fisher's z.

    Of `number`, those that round to the same or outside are left out; -1 < low < high < 1.
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
    """Space values > 0 by their logarithm, with ticks in plain numbers."""
    finite = values[np.isfinite(values)]
    low, high = float(finite.min()), float(finite.max())
    margin = max((high / low) ** 0.06, 1.03)
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log")
    _limit(axes, axis, low / margin, high * margin, log_locator(low, high))


def log_locator(low: float, high: float) -> Locator:
    """Of round numbers on a logarithmic axis; 0 < low <= high."""
    decades = math.log10(high / low)
    if decades > 0.7:
        return LogLocator(subs=(1.0,) if decades > 2.5 else (1.0, 2.0, 5.0))
    return MaxNLocator(5, steps=[1, 2, 5, 10])


def _limit(axes: Axes, axis: Literal["x", "y"], low: float, high: float, locator: Locator) -> None:
    """Set an axis' ends and its ticks, in plain numbers."""
    (axes.set_xlim if axis == "x" else axes.set_ylim)(low, high)
    line = axes.xaxis if axis == "x" else axes.yaxis
    line.set_major_locator(locator)
    line.set_minor_locator(NullLocator())
    line.set_major_formatter(FormatStrFormatter("%g"))
