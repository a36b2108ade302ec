"""What the figures draw, against the same hand-made table."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from stage1.pages.comparison_figures import (
    cost_figure,
    curves_figure,
    differences_figure,
    draw_figures,
    draw_seeds,
    seed_bands,
)
from stage1.pages.comparison_summary import read_comparison, summarize
from stage1.pages.figures.drawn import arm_styles
from stage1.pages.figures.learning import draw_learning_curves


@pytest.fixture(scope="module")
def summary(comparison):
    return summarize(read_comparison(comparison))


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def drawn_curves(summary, metric):
    axes = Figure().add_subplot()
    bands, baseline = seed_bands(summary.scores[metric]), summary.baseline[metric]
    draw_learning_curves(
        axes, np.arange(6.0), bands, arms=summary.names, metric=metric, baseline=baseline
    )
    return axes


def test_a_curve_is_the_mean_over_seeds_and_its_band_their_range(summary):
    axes = drawn_curves(summary, "val_correlation")

    np.testing.assert_array_equal(lines_of(axes)["plain"].get_xdata(), range(6))
    np.testing.assert_allclose(lines_of(axes)["plain"].get_ydata(), [0.0, 0.3, 0.5, 0.7, 0.8, 0.82])
    heights = axes.collections[1].get_paths()[0].vertices[:, 1]  # of plain, the second
    assert {0.2, 0.4, 0.6, 0.8, 0.84} <= set(heights.round(12))


def test_each_seed_is_a_point_in_its_configurations_row_and_the_mean_a_stroke():
    axes = Figure().add_subplot()
    values = {"a": np.array([1.0, 3.0, np.nan]), "b": np.array([5.0, 5.0, 8.0])}

    draw_seeds(axes, values, arm_styles(["a", "b"]))

    a_points, a_mean, b_points, b_mean = axes.get_lines()
    np.testing.assert_array_equal(a_points.get_xdata(), values["a"])
    assert list(a_mean.get_xdata()) == [2.0, 2.0]
    assert list(b_mean.get_xdata()) == [6.0, 6.0]
    assert all(abs(y - 1) < 0.2 for y in b_points.get_ydata())
    assert axes.yaxis_inverted()  # the first one on top
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_differences_are_drawn_for_all_but_the_reference(summary):
    drawn = differences_figure(summary)

    correlation, loss = drawn.figure.axes
    labels = [text.get_text() for text in correlation.get_yticklabels()]
    assert labels == ["late", "free"]
    free = correlation.get_lines()[2]
    np.testing.assert_allclose(free.get_xdata(), [0.06, 0.02, 0.01])
    assert "plain = 0" in lines_of(loss)


def test_the_cost_figure_has_each_seeds_ratio_and_the_plans_limit(summary):
    axes = cost_figure(summary).figure.axes[0]

    lines = lines_of(axes)
    assert set(lines["plan's limit 1.15"].get_xdata()) == {1.15}
    assert set(lines["plain = 1"].get_xdata()) == {1}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["late", "free"]
    np.testing.assert_allclose(axes.get_lines()[2].get_xdata(), [1.1, 1.1, 1.3])


def test_figures_without_data_say_why(write_comparison):
    summary = summarize(read_comparison(write_comparison(only=())))

    figures = draw_figures(summary)

    assert list(figures) == ["correlation", "loss", "differences", "cost"]
    assert all(drawn.figure is None and drawn.missing for drawn in figures.values())


def test_without_the_reference_there_are_curves_and_no_differences(write_comparison):
    summary = summarize(read_comparison(write_comparison(only=(("free", 1),))))

    assert curves_figure(summary, "val_loss").figure is not None
    assert differences_figure(summary).figure is None
    assert cost_figure(summary).figure is None
