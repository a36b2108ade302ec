"""What a training step costs with each T5, against the vanilla encoder."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables
from stage1.claims.step_cost import SizeCost
from stage1.pages.figures.drawn import (
    SMALL_SIZE,
    ArmStyle,
    DrawnFigure,
    absent,
    arm_styles,
    legend_below,
    new_panel,
    scale_log,
    shortened,
)
from stage1.run.columns import PRETRAINED, VANILLA

COSTS, COSTS_TITLE = "cost", "What a training step costs with each T5"


class CostRow(NamedTuple):
    """One T5 size against the vanilla encoder, in milliseconds per step."""

    text: str
    """Size, patch length and ratio."""
    t5: float
    low: float
    """Vanilla times the ratio's lower end; NaN = no interval."""
    high: float
    vanilla: float


def cost_row(cost: SizeCost) -> CostRow:
    """What the figure shows of a size; its costs are > 0."""
    t5, vanilla = (1000 * seconds for seconds in cost.seconds_per_step)
    ratio = cost.ratio
    numbers = f"x {ratio.estimate:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    name = shortened(cost.size, 54 - len(numbers))
    return CostRow(
        f"{name}, patch {cost.patch_len}   {numbers}",
        t5,
        vanilla * ratio.low,
        vanilla * ratio.high,
        vanilla,
    )


def draw_costs(axes: Axes, rows: list[CostRow], *, margin: float) -> None:
    """Draw a text line and both costs per size, from the top, on one logarithmic axis.

    There must be one row; `margin` is the ratio that the claim allows.
    """
    t5, vanilla = arm_styles([PRETRAINED, VANILLA]).values()
    points = [[row.t5, row.vanilla, margin * row.vanilla] for row in rows]
    scale_log(axes, np.array(points), axis="x")
    axes.set_ylim(-len(rows) + 0.5, 0.7)
    text: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": SMALL_SIZE}
    for place, row in enumerate(rows):
        y, limit = -place, margin * row.vanilla
        axes.plot([row.vanilla, row.t5], [y, y], color="0.8", linewidth=1.2, zorder=1)
        axes.plot([limit, limit], [y - 0.2, y + 0.2], color="black", linewidth=1.6)
        axes.plot(row.vanilla, y, vanilla.marker, **_point(vanilla, filled=False))
        axes.plot([row.low, row.high], [y, y], color=t5.color, linewidth=2.4)
        axes.plot(row.t5, y, t5.marker, **_point(t5, filled=True))
        axes.text(0, y + 0.4, row.text, va="center", **text)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("milliseconds per training step (logarithmic)")


def _point(style: ArmStyle, *, filled: bool) -> dict[str, Any]:
    face = style.color if filled else "white"
    size = 7.5 if filled else 9.5
    return {"color": style.color, "markerfacecolor": face, "markersize": size, "mew": 1.8}


def cost_figure(tables: RunTables, evaluation: Evaluation) -> DrawnFigure:
    """What a step costs."""
    plan = tables.registration.cost
    if plan is None or not evaluation.costs:
        reason = "no training steps were timed twice or more with a T5 and the vanilla encoder"
        return absent(COSTS, COSTS_TITLE, reason)
    margin = plan.margin
    rows = [cost_row(cost) for cost in evaluation.costs]
    figure, axes = new_panel(COSTS_TITLE, height=1.1 + 0.62 * len(rows))
    draw_costs(axes, rows, margin=margin)
    t5, vanilla = arm_styles([PRETRAINED, VANILLA]).values()
    handles = [
        *axes.plot([], [], t5.marker, **_point(t5, filled=True)),
        *axes.plot([], [], vanilla.marker, **_point(vanilla, filled=False)),
        *axes.plot([], [], "|", color="black", markersize=11, markeredgewidth=1.6),
    ]
    legend_below(figure, handles, ["T5", "vanilla encoder", f"limit, vanilla x {margin:g}"])
    caption = (
        "Each T5 against a plain encoder of its width, timed in turns; in brackets the interval of "
        f"the ratio. The claim holds where the whole interval lies left of the limit, x {margin:g}."
    )
    return DrawnFigure(COSTS, COSTS_TITLE, caption, figure, "")
