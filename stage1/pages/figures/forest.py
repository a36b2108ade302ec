"""The verdicts at a glance: every claim's interval beside what is claimed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from stage1.claims.catalogue import Unit
from stage1.claims.claim import MOST_TOLD, Claim
from stage1.claims.judge import Evaluation
from stage1.claims.verdicts import Verdict
from stage1.pages.claims_section import is_absent
from stage1.pages.figures.drawn import QUIET, SMALL_SIZE, DrawnFigure, absent, new_figure, shortened

FOREST, FOREST_TITLE = "verdict_forest", "What the study says of each claim"
_LEAST_REACH, _MOST_REACH = 30.0, 100.0
"""Percent that the forest shows on either side of 0, at least and at most."""
_VERDICT_COLORS: dict[str, str] = {Verdict.SUPPORTED: "#00664B", Verdict.CONTRADICTED: "#A33C00"}
_CLAIMED_COLOR, _EARLIER_COLOR = "0.91", "0.62"
_ROW_LETTERS = 43
"""That fit beside a verdict."""


class ForestRow(NamedTuple):
    """One line of the forest, in percent, positive where the claim holds (cost: costs less)."""

    text: str
    """Claim and numbers."""
    verdict: Verdict | None
    """None = no verdict is given."""
    estimate: float
    """NaN = there is none."""
    low: float
    """NaN = no interval, -inf = unbounded."""
    high: float
    claimed: float
    """Where the claimed effect begins; NaN = nothing is claimed."""
    earlier: tuple[tuple[float, float, float], ...] = ()
    """Estimate, low and high of the looks before, first to last."""


def forest_row(claim: Claim) -> ForestRow:
    """A claim, or a line beside one, as the forest shows it."""
    definition = claim.definition
    is_ratio = definition.unit is Unit.RATIO
    told = [100 * (value - 1.0 if is_ratio else value) for value in claim.interval[:3]]
    numbers = _in_words(*told, unit="" if definition.unit is Unit.TAU else " %")
    if is_ratio and numbers:
        numbers += " more" if told[0] >= 0 else " (less)"
    name = shortened(definition.label, _ROW_LETTERS - len(numbers))
    estimate, low, high = _bounds(claim, *claim.interval[:3])
    return ForestRow(
        text=f"{name}   {numbers}".rstrip(),
        verdict=claim.verdict,
        estimate=estimate,
        low=low,
        high=high,
        claimed=_bounds(claim, *3 * [claim.claimed])[0],
        earlier=tuple(_bounds(claim, one.estimate, one.low, one.high) for one in claim.earlier),
    )


def _bounds(claim: Claim, estimate: float, low: float, high: float) -> tuple[float, float, float]:
    """An effect and its interval in percent, positive where the claim holds."""
    if claim.definition.unit is Unit.RATIO:  # what is saved
        return 100 * (1 - estimate), 100 * (1 - high), 100 * (1 - low)
    return 100 * estimate, 100 * low, 100 * high


def _in_words(estimate: float, low: float, high: float, *, unit: str) -> str:
    """Estimate and interval, as `+12 % (-3 to 27)`."""
    if not math.isfinite(estimate):
        return ""
    finite = [abs(value) for value in (estimate, low, high) if math.isfinite(value)]
    digits = 1 if max(finite) < 10 else 0
    point = (_beyond(estimate) or f"{estimate:+.{digits}f}") + unit
    if math.isnan(low) or math.isnan(high):
        return point
    if not (math.isfinite(low) or math.isfinite(high)):
        return f"{point} (no ends)"
    return f"{point} ({_end(low, digits)} to {_end(high, digits)})"


def _end(value: float, digits: int) -> str:
    """An end of an interval in few letters."""
    if not math.isfinite(value):
        return "no end"
    return _beyond(value) or f"{value:.{digits}f}"


def _beyond(percent: float) -> str:
    """What is written of a number that is too large to be told; empty where it is not."""
    most = 100 * MOST_TOLD
    if abs(percent) <= most:
        return ""
    return f"{'<' if percent < 0 else '>'} {math.copysign(most, percent):.0f}"


def forest_limits(rows: list[ForestRow]) -> tuple[float, float]:
    """Ends of the axis in percent: wide intervals are cut off so that the others can be seen.

    All claimed effects are inside, all estimates and ends within `_MOST_REACH`, and ends no farther
    than twice the typical end.
    """
    ends = np.array([end for row in rows for end in (row.low, row.high) if math.isfinite(end)])
    typical = 2 * float(np.median(np.abs(ends))) if len(ends) else 0.0
    points = np.array([row.estimate for row in rows if math.isfinite(row.estimate)])
    points = np.clip(points, -_MOST_REACH, _MOST_REACH)
    farthest = 1.2 * float(np.abs(points).max(initial=0.0))
    reach = float(np.clip(max(typical, farthest), _LEAST_REACH, _MOST_REACH))
    claimed = [row.claimed for row in rows if math.isfinite(row.claimed)]
    seen = np.concatenate([np.clip(ends, -reach, reach), points, claimed, [-10.0, _LEAST_REACH]])
    margin = 0.04 * float(np.ptp(seen))
    return float(seen.min()) - margin, float(seen.max()) + margin


def draw_forest(axes: Axes, rows: list[ForestRow]) -> None:
    """Draw a text line and an interval per row, from the top; there must be one."""
    low, high = forest_limits(rows)
    axes.set_xlim(low, high)
    axes.set_ylim(-len(rows) + 0.25, 0.75)
    for place, row in enumerate(rows):
        _draw_row(axes, row, y=-place)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("effect in %, to the right: as claimed\nearly signal: tau x 100; cost: saved")


def _draw_row(axes: Axes, row: ForestRow, *, y: float) -> None:
    high = axes.get_xlim()[1]
    if math.isfinite(row.claimed):
        box = Rectangle(
            (row.claimed, y - 0.18), high - row.claimed, 0.36, color=_CLAIMED_COLOR, linewidth=0
        )
        axes.add_patch(box)
        axes.plot([row.claimed] * 2, [y - 0.18, y + 0.18], color="0.35", linewidth=1.4)
    axes.plot([0, 0], [y - 0.24, y + 0.24], color="black", linewidth=1)
    evaluable = row.verdict is not Verdict.NOT_EVALUABLE
    color = "black" if evaluable else "0.6"
    for number, earlier in enumerate(reversed(row.earlier), start=1):
        _draw_earlier(axes, *earlier, y=y - 0.1 - 0.13 * number)
    _draw_interval(axes, row, y=y, color=color)
    text: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "fontsize": SMALL_SIZE,
        "va": "center",
    }
    axes.text(0, y + 0.45, row.text, color="black" if evaluable else QUIET, **text)
    axes.text(
        1,
        y + 0.45,
        row.verdict or "",
        ha="right",
        fontweight="bold" if evaluable else "normal",
        color=_VERDICT_COLORS.get(row.verdict or "", "black") if evaluable else QUIET,
        **text,
    )


def _draw_earlier(axes: Axes, estimate: float, low: float, high: float, *, y: float) -> None:
    """What a look before said, faintly."""
    ends = np.clip([low, high], *axes.get_xlim())
    axes.plot(ends, [y, y], color=_EARLIER_COLOR, linewidth=1.6)
    if axes.get_xlim()[0] <= estimate <= axes.get_xlim()[1]:
        axes.plot(estimate, y, "o", color=_EARLIER_COLOR, markersize=4.5)


def _draw_interval(axes: Axes, row: ForestRow, *, y: float, color: str) -> None:
    low, high = axes.get_xlim()
    if not (math.isnan(row.low) or math.isnan(row.high)):
        ends = np.clip([row.low, row.high], low, high)
        axes.plot(ends, [y, y], color=color, linewidth=2.2, solid_capstyle="butt")
        for end, edge, arrow in ((row.low, low, "<"), (row.high, high, ">")):
            if abs(end) > abs(edge) and end * edge > 0:
                axes.plot(edge, y, arrow, color=color, markersize=7, clip_on=False)
            else:
                axes.plot([end, end], [y - 0.1, y + 0.1], color=color, linewidth=2.2)
    if low <= row.estimate <= high:
        axes.plot(row.estimate, y, "o", color=color, markersize=7.5)
    elif math.isfinite(row.estimate):
        edge, arrow = (low, "<") if row.estimate < low else (high, ">")
        axes.plot(edge, y, arrow, color=color, markersize=10, clip_on=False)


def _looks_in_words(evaluation: Evaluation) -> str:
    """The look that the figure is about, and those drawn faintly; a sentence after a space."""
    if not evaluation.looks:
        return ""
    *earlier, last = [look.configurations for look in evaluation.looks]
    faint = f"; faint: at {', '.join(map(str, earlier))}" if earlier else ""
    return f" Judged after {last} configurations{faint}."


def forest_figure(evaluation: Evaluation) -> DrawnFigure:
    """The verdict forest."""
    rows = [forest_row(claim) for claim in evaluation.lines if not is_absent(claim)]
    if not any(math.isfinite(row.estimate) for row in rows):
        return absent(FOREST, FOREST_TITLE, "no claim has an estimate; the table says why")
    figure = new_figure(FOREST_TITLE, height=1.05 + 0.53 * len(rows))
    draw_forest(figure.add_subplot(), rows)
    caption = (
        "Dot and line: estimate and the interval that decides, positive where the claim holds; "
        "shaded: what is claimed, from the least effect on (cost: from the largest extra cost "
        "on, less is better). SUPPORTED means that the whole interval is shaded. Arrows: the "
        f"interval goes on.{_looks_in_words(evaluation)}"
    )
    return DrawnFigure(FOREST, FOREST_TITLE, caption, figure, "")
