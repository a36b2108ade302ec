"""Learning curves: what is drawn, and that it can be told apart without colour."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic_run import BASELINE, synthetic_space, synthetic_trial

from stage1.figures import (
    arm_curves,
    draw_learning_curves,
    learning_curves_figure,
    save_figure,
)
from stage1.results import RunFolder, read_curves, read_trials
from stage1.run_writer import RunWriter

SPACE = synthetic_space(arms=("pretrained", "random"), configurations=3, seeds=1)
CORRELATIONS = {
    # trial: (arm, status, stage, correlation by epoch)
    "a": ("pretrained", "completed", "design", [0.0, 0.5, 0.7, 0.8, 0.9]),
    "b": ("pretrained", "completed", "design", [0.1, 0.3, 0.6, 0.7, 0.8]),
    "c": ("pretrained", "completed", "design", [-0.1, 0.1, math.nan, 0.9, 0.95]),
    "d": ("pretrained", "diverged", "design", [0.0, -0.9]),
    "e": ("pretrained", "completed", "search", [0.0, 0.99, 0.99, 0.99, 0.99]),
    "f": ("random", "completed", "design", [0.0, 0.2, 0.4, 0.6, 0.8]),
}


@pytest.fixture
def tables(tmp_path):
    run = RunFolder(tmp_path)
    writer = RunWriter(run)
    for trial_id, (arm, status, stage, values) in CORRELATIONS.items():
        row = synthetic_trial(
            trial_id,
            arm=arm,
            status=status,
            stage=stage,
            config_id=trial_id,
            epochs=len(values) - 1,
        )
        curve = [{"epoch": e, "val_correlation": value} for e, value in enumerate(values)]
        writer.add_trial(row, curve)
    return read_trials(run), read_curves(run)


def test_a_curve_is_the_median_and_range_of_the_full_horizon_design_trials(tables):
    pretrained, random = arm_curves(*tables, SPACE)

    assert (pretrained.arm, pretrained.trials) == ("pretrained", 3)
    np.testing.assert_array_equal(pretrained.epochs, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(pretrained.median, [0.0, 0.3, 0.65, 0.8, 0.9])
    np.testing.assert_allclose(pretrained.low, [-0.1, 0.1, 0.6, 0.7, 0.8])
    np.testing.assert_allclose(pretrained.high, [0.1, 0.5, 0.7, 0.9, 0.95])
    np.testing.assert_array_equal(random.median, random.high)


def test_there_is_no_figure_before_the_first_full_horizon_trial(tables):
    trials, curves = tables

    assert learning_curves_figure(trials[trials["arm"] == "nobody"], curves, SPACE) is None


def drawn(tables, baseline):
    axes = Figure().add_subplot()
    draw_learning_curves(axes, arm_curves(*tables, SPACE), baseline=baseline)
    return axes


def test_arms_differ_in_colour_line_and_marker(tables):
    axes = drawn(tables, BASELINE)

    lines = [container.lines[0] for container in axes.containers]
    for look in ("get_color", "get_linestyle", "get_marker"):
        assert len({getattr(line, look)() for line in lines}) == 2


def test_the_baseline_is_a_line_across_with_its_value(tables):
    axes = drawn(tables, BASELINE)

    (label,) = [text for text in axes.get_legend_handles_labels()[1] if "interpolation" in text]
    assert label == "linear interpolation (0.880)"
    assert [line.get_ydata()[0] for line in axes.get_lines() if line.get_label() == label] == [0.88]


def test_an_unknown_baseline_is_not_drawn(tables):
    labels = drawn(tables, math.nan).get_legend_handles_labels()[1]

    assert labels == ["pretrained (3 trials)", "random (1 trial)"]


@pytest.mark.parametrize("extreme", [1.0, -1.0, 0.0])
def test_perfect_correlations_stay_on_the_axis(tables, extreme):
    trials, curves = tables
    flat = curves.assign(val_correlation=extreme)

    axes = drawn((trials, flat), math.nan)

    low, high = axes.get_ylim()
    assert -1 <= low < high <= 1


def test_the_title_says_what_is_shown_and_the_file_is_a_png(tables, tmp_path):
    figure = learning_curves_figure(*tables, SPACE)
    path = tmp_path / "figures" / "curves.png"

    save_figure(figure, path)

    title = figure.axes[0].get_title(loc="left")
    assert "synthetic: median and range of the design's trials" in title
    assert path.read_bytes().startswith(b"\x89PNG")
