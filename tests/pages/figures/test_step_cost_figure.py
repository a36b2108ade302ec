"""The cost figure: milliseconds of both encoders, and the limit."""

from __future__ import annotations

import numpy as np
import pytest
from made_claims import made_cost, made_evaluation
from made_runs import drawn_arm, study_tables
from matplotlib.figure import Figure

from stage1.claims.intervals import Interval
from stage1.pages.figures.step_cost_figure import cost_figure, cost_row, draw_costs

RATIO = Interval(1.25, 1.2, 1.3, 0.001)
COST = made_cost("google-t5/t5-small", RATIO, seconds=0.05)


@pytest.fixture
def tables():
    arm = drawn_arm(np.random.default_rng(0), configurations=2)
    return study_tables({"pretrained": arm, "random": arm})


def test_a_step_is_in_milliseconds_with_the_ratios_interval_around_the_t5():
    row = cost_row(COST)

    assert row[1:] == pytest.approx((50, 40 * 1.2, 40 * 1.3, 40))
    assert row.text == "google-t5/t5-small, patch 8   x 1.25 (1.20 to 1.30)"


def test_a_long_name_leaves_room_for_the_ratio():
    row = cost_row(made_cost("a" * 90, RATIO))

    assert row.text.endswith("patch 8   x 1.25 (1.20 to 1.30)")
    assert len(row.text) < 75


def test_points_and_limits_of_all_sizes_are_inside_the_axis():
    axes = Figure().add_subplot()
    rows = [cost_row(cost) for cost in (COST, made_cost("t5-base", RATIO, seconds=4.0))]

    draw_costs(axes, rows, margin=1.5)

    low, high = axes.get_xlim()
    assert low < 40
    assert high > max(4000, 3200 * 1.5)


def test_the_limit_is_the_registered_multiple_of_the_vanilla_encoder():
    axes = Figure().add_subplot()

    draw_costs(axes, [cost_row(COST)], margin=1.15)

    places = [tuple(line.get_xdata()) for line in axes.get_lines()]
    assert pytest.approx((46, 46)) in places


def test_every_size_is_drawn(tables):
    sizes = [made_cost(f"t5-{number}", RATIO) for number in range(4)]

    drawn = cost_figure(tables, made_evaluation(costs=sizes))

    texts = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert [text[:4] for text in texts] == ["t5-0", "t5-1", "t5-2", "t5-3"]
    assert "x 1.15" in drawn.caption
