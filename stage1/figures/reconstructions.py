"""What a model makes of hidden bars: excerpts of windows, truth and interpolation beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stage1.claims.sentences import plural
from stage1.figures.drawn import (
    LOOK,
    QUIET,
    REFERENCE,
    TEXT_SIZE,
    ArmStyle,
    DrawnFigure,
    absent,
    arm_styles,
    legend_below,
    new_figure,
)

NAME, TITLE = "reconstructions", "What the model makes of hidden bars"
_CLOSE, _HIGH, _LOW = 3, 1, 2
_TRUTH: dict[str, Any] = {"color": "0.35", "linewidth": 1.3}
_RANGE: dict[str, Any] = {"color": "0.8", "linewidth": 2.2}
_SCORED: dict[str, Any] = {"color": "#F0E442", "alpha": 0.45, "linewidth": 0}
_HIDDEN: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": "0.75",
    "hatch": "////",
    "linewidth": 0,
}


class Reconstruction(NamedTuple):
    """Bars in a row, out of one window and timeframe, in units of price."""

    timeframe: str
    open_time: NDArray[np.int64]  # (bars) unix seconds
    truth: NDArray[np.float64]  # (bars, 4) open, high, low, close
    model: NDArray[np.float64]  # (bars, 4); read where hidden
    line: NDArray[np.float64]  # (bars, 4) linear interpolation; read where hidden
    hidden: NDArray[np.bool_]  # (bars)
    scored: NDArray[np.bool_]  # (bars) of the hidden ones


def runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last place of every run of chosen bars."""
    edges = np.diff(np.concatenate([[False], chosen, [False]]).astype(int))
    first, behind = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(a), int(b) - 1) for a, b in zip(first, behind, strict=True)]


def reconstructions_figure(shown: Sequence[Reconstruction]) -> DrawnFigure:
    """Draw excerpts below each other.

    Args:
        shown: In the order of the panels; none = there is no figure.
    """
    if not shown:
        return absent(NAME, TITLE, "no bar of a validation window is scored")
    with rc_context(LOOK):
        figure = new_figure(TITLE, height=0.7 + 1.5 * len(shown))
        panels = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, excerpt in zip(panels, shown, strict=True):
            draw_reconstruction(axes, excerpt)
        panels[-1].set_xlabel("time, UTC")
        figure.supylabel("price", fontsize=TEXT_SIZE)
        _legend(figure, any((one.hidden & ~one.scored).any() for one in shown))
    caption = (
        f"{plural(len(shown), 'excerpt')} of validation windows, evenly spaced in time, not chosen "
        "by how well they came out; of long windows, the part with most scored bars. Grey: the "
        "true bars, from low to high, with the close as a line. Where bars are hidden: the close "
        "as the model decodes it, and on a straight line between the visible neighbours. Bars that "
        "are hidden and not scored overlap hidden finer ones."
    )
    return DrawnFigure(NAME, TITLE, caption, figure, "")


def draw_reconstruction(axes: Axes, shown: Reconstruction) -> None:
    """Draw one excerpt: true bars, hidden spans, the closes of model and interpolation in them."""
    style = _model_style()
    places = np.arange(len(shown.truth))
    axes.vlines(places, shown.truth[:, _LOW], shown.truth[:, _HIGH], **_RANGE)
    axes.plot(places, shown.truth[:, _CLOSE], **_TRUTH)
    for chosen, look in ((shown.scored, _SCORED), (shown.hidden & ~shown.scored, _HIDDEN)):
        for first, last in runs(chosen):
            axes.axvspan(first - 0.5, last + 0.5, zorder=0, **look)
    for first, last in runs(shown.hidden):
        inside = slice(first, last + 1)
        # From the last visible bar to the next one, as the eye would draw it.
        around = slice(max(first - 1, 0), last + 2)
        line = np.where(shown.hidden, shown.line[:, _CLOSE], shown.truth[:, _CLOSE])
        axes.plot(places[around], line[around], **REFERENCE)
        axes.plot(
            places[inside],
            shown.model[inside, _CLOSE],
            color=style.color,
            marker=style.marker,
            markersize=4,
            linewidth=1.6,
        )
    _label_times(axes, shown)


def _model_style() -> ArmStyle:
    return arm_styles(["model"])["model"]


def _label_times(axes: Axes, shown: Reconstruction) -> None:
    """Five times below the excerpt, and its day above."""
    count = len(shown.open_time)
    ticks = np.unique(np.linspace(0, count - 1, 5).round().astype(int))
    stamps = shown.open_time.astype("datetime64[s]")
    axes.set_xticks(ticks, [str(stamps[tick])[11:16] for tick in ticks])
    axes.set_xlim(-0.7, count - 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.ticklabel_format(axis="y", useOffset=False, style="plain")
    first, last = (str(stamps[place])[:10] for place in (0, -1))
    days = first if first == last else f"{first} to {last}"
    axes.set_title(f"{shown.timeframe}, {days}", loc="left", fontsize=TEXT_SIZE, color=QUIET)


def _legend(figure: Figure, with_hidden: bool) -> None:
    style = _model_style()
    handles: list[Any] = [
        Line2D([], [], **_TRUTH),
        Line2D([], [], **_RANGE),
        Line2D([], [], color=style.color, marker=style.marker, markersize=4),
        Line2D([], [], **REFERENCE),
        Patch(**_SCORED),
    ]
    labels = ["true close", "true low to high", "model's close", "interpolation", "hidden, scored"]
    if with_hidden:
        handles.append(Patch(**_HIDDEN))
        labels.append("hidden, not scored")
    legend_below(figure, handles, labels)
