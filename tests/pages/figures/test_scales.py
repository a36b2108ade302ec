"""Axes for scores: every value is inside, and ticks are round and few."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from stage1.base.metric_table import metric_label
from stage1.pages.figures.scales import (
    correlation_ticks,
    fisher,
    scale_correlations,
    scale_log,
    scale_metric,
)


def test_correlations_are_spaced_by_fishers_z():
    values = np.array([-0.9, 0.0, 0.5, 0.99])

    np.testing.assert_allclose(fisher(values), 0.5 * np.log((1 + values) / (1 - values)))


@pytest.mark.parametrize("limit", [-1.0, 1.0])
def test_a_perfect_correlation_has_a_finite_place(limit):
    assert np.isfinite(fisher(np.array([limit]))).all()


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(-0.1, 0.93, id="a whole training"),
        pytest.param(0.901, 0.904, id="nearly equal"),
        pytest.param(0.98, 0.9999, id="near 1"),
        pytest.param(-0.999, 0.999, id="everything"),
        pytest.param(-0.004, 0.003, id="around 0"),
    ],
)
def test_ticks_are_different_round_numbers_inside_the_axis(low, high):
    ticks = correlation_ticks(low, high)

    assert 3 <= len(set(ticks)) == len(ticks) <= 6
    assert low <= min(ticks)
    assert max(ticks) <= high
    assert all(len(f"{abs(tick):g}") <= len("0.99995") for tick in ticks)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(
    "values", [[0.9], [0.9, 0.9], [1.0, 1.0], [-1.0, 0.5], [0.0, np.nan], [1.0, -1.0]]
)
def test_all_correlations_are_inside_their_axis(values, axis):
    axes = Figure().add_subplot()

    scale_correlations(axes, np.array(values), axis=axis)

    low, high = axes.get_xlim() if axis == "x" else axes.get_ylim()
    assert -1 < low < high < 1
    seen = fisher(np.array(values)[np.isfinite(values)])
    assert np.arctanh(low) <= seen.min() + 1e-9 or seen.min() == fisher(np.array([-1.0]))[0]
    assert np.arctanh(high) >= seen.max() - 1e-9 or seen.max() == fisher(np.array([1.0]))[0]


@pytest.mark.parametrize("values", [[3.0, 3.0], [3.0, 3.3], [1.0, 20.0], [1e-5, 1e3]])
def test_a_logarithmic_axis_has_some_plain_ticks(values):
    figure = Figure()
    axes = figure.add_subplot()

    scale_log(axes, np.array(values), axis="x")
    figure.draw_without_rendering()

    low, high = axes.get_xlim()
    assert low < min(values) <= max(values) < high
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 10


@pytest.mark.parametrize(
    ("metric", "values", "scale"),
    [
        ("val_correlation", [0.1, 0.9], "function"),
        ("val_corr_m1", [0.1, 0.9], "function"),
        ("val_loss", [0.1, 0.9], "log"),
        ("val_loss", [0.0, 0.9], "linear"),
        ("val_skill", [-0.1, 0.9], "linear"),
    ],
)
def test_the_axis_fits_the_metric(metric, values, scale):
    axes = Figure().add_subplot()

    scale_metric(axes, metric, np.array(values))

    assert axes.get_yscale() == scale
    assert axes.get_ylabel() == metric_label(metric)
