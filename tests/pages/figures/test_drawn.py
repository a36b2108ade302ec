"""What all figures share: arms told apart without colour, names that fit, files."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from stage1.base.metric_table import metric_label
from stage1.pages.figures import save_figure
from stage1.pages.figures.drawn import (
    REFERENCE,
    arm_styles,
    correlation_ticks,
    draw_baseline,
    draw_line,
    fisher,
    legend_of,
    mark_place,
    new_figure,
    scale_correlations,
    scale_log,
    scale_metric,
    shortened,
    wrapped,
)
from stage1.run.columns import ROLES


@pytest.mark.parametrize("part", ["color", "line", "marker", "hatch"])
def test_five_arms_differ_in_everything_that_can_be_seen(part):
    styles = arm_styles(["a", "b", "c", "d", "e"]).values()

    assert len({getattr(style, part) for style in styles}) == 5


def test_an_arm_looks_the_same_whatever_arms_come_after_it_and_more_than_colours_still_differ():
    styles = arm_styles([f"arm {number}" for number in range(12)]).values()

    assert arm_styles(["a", "b"])["b"] == arm_styles(["a", "b", "c"])["b"]
    assert len(set(styles)) == 12


def test_an_arm_called_by_its_role_looks_the_same_among_whatever_arms():
    every = arm_styles(ROLES)

    assert len({style.color for style in every.values()}) == len(ROLES)
    for arms in (["vanilla"], ["vanilla", "pretrained"], ["mine", "random", "vanilla"]):
        styles = arm_styles(arms)
        assert all(styles[arm] == every[arm] for arm in arms if arm in ROLES)
    assert arm_styles(["mine", "pretrained"])["mine"].color != every["pretrained"].color


@pytest.mark.parametrize(
    ("name", "length", "short"),
    [
        pytest.param("random", 6, "random", id="fits"),
        pytest.param("pretrained_long", 8, "pret…ong", id="its middle is left out"),
        pytest.param("abcdef", 3, "a…f", id="to the ends"),
    ],
)
def test_a_long_name_keeps_its_ends(name, length, short):
    assert shortened(name, length) == short


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        pytest.param("random", ["random"], id="one line"),
        pytest.param("random_fixed_seed", ["random_", "fixed_", "seed"], id="after signs"),
        pytest.param("a b c d e f g", ["a b c d", "e f g"], id="as much as fits in a line"),
        pytest.param("pretraining", ["pretrain", "ing"], id="within a word if it must"),
    ],
)
def test_a_name_is_broken_where_it_reads_best(name, lines):
    assert wrapped(name, 8).split("\n") == lines


def test_a_line_of_many_points_has_few_markers():
    axes = Figure().add_subplot()
    style = arm_styles(["a"])["a"]

    draw_line(axes, style, range(100), range(100), label="a")

    assert axes.get_lines()[0].get_markevery() == 10


@pytest.mark.parametrize("vertical", [False, True])
def test_the_baseline_is_a_black_dashed_line_across_with_its_value(vertical):
    axes = Figure().add_subplot()

    draw_baseline(axes, 0.88, vertical=vertical)
    draw_baseline(axes, math.nan, vertical=vertical)  # unknown: not drawn

    (line,) = axes.get_lines()
    assert set(line.get_xdata() if vertical else line.get_ydata()) == {0.88}
    assert (line.get_label(), line.get_linestyle()) == ("interpolation 0.880", "--")
    assert line.get_color() == REFERENCE["color"]


def drawn_with_legend(labels):
    figure = new_figure("A title", height=3)
    axes = figure.add_subplot()
    for label in labels:
        axes.plot([0, 1], label=label)
    legend_of(figure, axes)
    return figure


def test_a_legend_makes_room_for_itself():
    short, long = drawn_with_legend(["a", "b", "c"]), drawn_with_legend(["a" * 60, "b" * 60, "c"])

    assert 3 < short.get_figheight() < long.get_figheight()


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["a" * 60, "b" * 60], ["abc"] * 7])
def test_a_legend_stays_inside_the_figure(labels):
    figure = drawn_with_legend(labels)

    figure.draw_without_rendering()

    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y0 >= 0


@pytest.mark.parametrize(("place", "side"), [(1, "left"), (9, "right")])
def test_a_note_lies_on_the_side_with_room(place, side):
    axes = Figure().add_subplot()
    axes.set_xlim(0, 10)

    mark_place(axes, place, "here")

    assert axes.texts[0].get_horizontalalignment() == side


def test_a_figure_is_saved_as_a_png_wide_enough_for_print(tmp_path):
    path = tmp_path / "figures" / "a.png"

    save_figure(new_figure("A title", height=3), path)

    assert imread(path).shape[:2] == (600, 1080)


def test_correlations_are_spaced_by_fishers_z():
    values = np.array([-0.9, 0.0, 0.5, 0.99])

    np.testing.assert_allclose(fisher(values), 0.5 * np.log((1 + values) / (1 - values)))


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
