"""What all figures share: arms told apart without colour, names that fit, files."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from stage1.pages.figures import save_figure
from stage1.pages.figures.drawn import (
    arm_styles,
    draw_line,
    legend_of,
    mark_place,
    new_figure,
    shortened,
    wrapped,
)


@pytest.mark.parametrize("part", ["color", "line", "marker", "hatch"])
def test_five_arms_differ_in_everything_that_can_be_seen(part):
    styles = arm_styles(["a", "b", "c", "d", "e"]).values()

    assert len({getattr(style, part) for style in styles}) == 5


def test_an_arm_looks_the_same_whatever_arms_come_after_it():
    assert arm_styles(["a", "b"])["b"] == arm_styles(["a", "b", "c"])["b"]


def test_more_arms_than_colours_still_differ():
    styles = arm_styles([f"arm {number}" for number in range(12)]).values()

    assert len(set(styles)) == 12


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
