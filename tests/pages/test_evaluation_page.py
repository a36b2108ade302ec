import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from stage1.pages.evaluation_page import (
    Reconstruction,
    draw_reconstruction,
    reconstructions_figure,
    runs,
)
from stage1.pages.figures.drawn import REFERENCE, arm_styles


def excerpt(timeframe="m1", *, scored=(3, 4, 5), hidden=(3, 4, 5, 9), count=12):
    """Prices that rise; the model is 1 above the truth, the line 2."""
    truth = np.arange(count)[:, None] + np.array([100.0, 101.0, 99.0, 100.5])
    places = np.arange(count)
    return Reconstruction(
        timeframe=timeframe,
        open_time=1_514_851_200 + 60 * places,
        truth=truth,
        model=truth + 1,
        line=truth + 2,
        hidden=np.isin(places, hidden),
        scored=np.isin(places, scored),
    )


@pytest.fixture
def drawn():
    axes = Figure().add_subplot()
    draw_reconstruction(axes, excerpt())
    return axes


def lines(axes, color):
    return [line for line in axes.get_lines() if to_rgb(line.get_color()) == to_rgb(color)]


def test_runs_are_the_first_and_last_places_of_what_lies_side_by_side():
    chosen = np.array([1, 1, 0, 0, 1, 0, 1, 1, 1], dtype=bool)

    assert runs(chosen) == [(0, 1), (4, 4), (6, 8)]
    assert runs(~np.ones(4, dtype=bool)) == []


def test_the_model_s_close_is_drawn_where_bars_are_hidden_and_nowhere_else(drawn):
    found = lines(drawn, arm_styles(["model"])["model"].color)

    assert [line.get_xdata().tolist() for line in found] == [[3, 4, 5], [9]]
    assert found[0].get_ydata().tolist() == [104.5, 105.5, 106.5]
    assert found[1].get_ydata().tolist() == [110.5]


def test_interpolation_is_drawn_from_the_visible_bar_before_to_the_one_behind(drawn):
    found = lines(drawn, REFERENCE["color"])

    assert [line.get_xdata().tolist() for line in found] == [[2, 3, 4, 5, 6], [8, 9, 10]]
    assert found[0].get_ydata().tolist() == [102.5, 105.5, 106.5, 107.5, 106.5]


def test_hidden_spans_are_shaded_and_those_that_are_not_scored_hatched(drawn):
    spans = [(patch.get_x(), patch.get_width(), patch.get_hatch()) for patch in drawn.patches]

    assert spans == [(2.5, 3.0, None), (8.5, 1.0, "////")]


def test_a_span_at_the_end_of_an_excerpt_is_drawn_to_its_edge():
    axes = Figure().add_subplot()

    draw_reconstruction(axes, excerpt(scored=(0, 11), hidden=(0, 11)))

    found = lines(axes, REFERENCE["color"])
    assert [line.get_xdata().tolist() for line in found] == [[0, 1], [10, 11]]


def test_panels_say_timeframe_day_and_time():
    figure = reconstructions_figure([excerpt("m1"), excerpt("m5")]).figure

    first, second = figure.axes
    assert first.get_title(loc="left") == "m1, 2018-01-02"
    assert second.get_title(loc="left") == "m5, 2018-01-02"
    labels = [label.get_text() for label in first.get_xticklabels()]
    assert (labels[0], labels[-1]) == ("00:00", "00:11")
    assert second.get_xlabel() == "time, UTC"


@pytest.mark.parametrize(("hidden", "named"), [((3, 4, 5, 9), True), ((3, 4, 5), False)])
def test_the_legend_names_hidden_bars_that_are_not_scored_where_there_are_any(hidden, named):
    figure = reconstructions_figure([excerpt(hidden=hidden)]).figure

    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ("hidden, not scored" in texts) is named
    assert {"true close", "model's close", "interpolation", "hidden, scored"} <= set(texts)


def test_without_an_excerpt_there_is_no_figure_and_a_reason():
    drawn = reconstructions_figure([])

    assert drawn.figure is None
    assert drawn.missing


def of_channel(name="load", *, apart=3600, count=12):
    """Values that rise; the model is 1 above the truth, the line 2."""
    prices = excerpt("x1", count=count)
    return prices._replace(
        open_time=1_514_851_200 + apart * np.arange(count),
        truth=prices.truth[:, :1],
        model=prices.model[:, :1],
        line=prices.line[:, :1],
        channel=name,
    )


def test_of_a_series_one_channel_is_drawn_and_named():
    figure = reconstructions_figure([of_channel()]).figure

    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "x1, load, 2018-01-02"
    assert len(axes.collections) == 0  # no ranges from low to high
    found = lines(axes, arm_styles(["model"])["model"].color)
    assert [line.get_ydata().tolist() for line in found] == [[104, 105, 106], [110]]
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"true value", "model's value"} <= texts
    assert "true low to high" not in texts
    assert figure.get_supylabel() == "value"


@pytest.mark.parametrize(
    ("apart", "first", "last"),
    [
        pytest.param(5, "00:00:00", "00:00:55", id="seconds"),
        pytest.param(3600, "00:00", "11:00", id="hours"),
        pytest.param(7 * 86_400, "2018-01-02", "2018-03-20", id="weeks"),
    ],
)
def test_times_are_told_as_finely_as_the_steps_need(apart, first, last):
    figure = reconstructions_figure([of_channel(apart=apart)]).figure

    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (labels[0], labels[-1]) == (first, last)


@pytest.mark.parametrize(
    "excerpts",
    [
        pytest.param([excerpt(name) for name in ("m1", "m5", "h4")], id="prices"),
        pytest.param([of_channel("a very long name" * 9, apart=86_400)], id="a long name"),
    ],
)
def test_no_text_is_small_or_outside(excerpts):
    figure = reconstructions_figure(excerpts).figure
    figure.draw_without_rendering()

    for text in figure.findobj(Text):
        if text.get_text().strip():
            box = text.get_window_extent()
            assert text.get_fontsize() >= 9
            assert -3 < box.x0 < box.x1 < figure.bbox.width + 3, text
            assert -3 < box.y0 < box.y1 < figure.bbox.height + 3, text
