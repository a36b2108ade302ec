"""The verdict forest: every row where its numbers say, and no row at the cost of the others."""

from __future__ import annotations

import math

import pytest
from made_claims import made_claim, made_evaluation, unknown_claim
from matplotlib.figure import Figure

from stage1.claims.claim import EarlierVerdict, Look
from stage1.claims.intervals import Interval
from stage1.claims.verdicts import Verdict
from stage1.pages.figures.forest import draw_forest, forest_figure, forest_limits, forest_row

INF, NAN = math.inf, math.nan
COST = made_claim("6", interval=Interval(1.12, 1.05, 1.2, 0.5), claimed=1.15)


def effect(number, estimate, low, high, **changes):
    return made_claim(number, interval=Interval(estimate, low, high, 0.5), **changes)


def rows_of(*claims):
    return [forest_row(claim) for claim in claims]


def drawn(claims):
    axes = Figure().add_subplot()
    draw_forest(axes, rows_of(*claims))
    return axes


def test_effects_are_in_per_cent_and_the_cost_is_what_is_saved():
    gain, cost = rows_of(effect("2", 0.25, 0.21, 0.29), COST)

    assert gain[2:6] == pytest.approx((25, 21, 29, 20))
    assert cost[2:6] == pytest.approx((-12, -20, -5, -15))
    assert cost.text == "6 cost   +12 % (5 to 20) more"


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        (effect("2", 0.123, -0.03, 0.27), "2 early gain   +12 % (-3 to 27)"),
        (effect("2", 0.012, 0.01, 0.02), "2 early gain   +1.2 % (1.0 to 2.0)"),
        (effect("2", 0.1, -INF, INF), "2 early gain   +10 % (no ends)"),
        (effect("4", 0.1, -170.0, 0.99), "4 stability   +10 % (< -999 to 99)"),
        (effect("4", -170.0, -400.0, 0.5), "4 stability   < -999 % (< -999 to 50)"),
        (effect("5", 0.12, NAN, NAN), "5 early signal   +12"),
        (unknown_claim("1", "why"), "1 sensitivity"),
    ],
)
def test_a_row_says_its_numbers(claim, text):
    (row,) = rows_of(claim)

    assert row.text == text


def test_a_huge_interval_does_not_squash_the_others():
    small = [effect(str(number), 0.05, 0.02, 0.08) for number in (1, 2, 3, 5)]

    low, high = forest_limits(rows_of(*small, effect("4", 0.1, -170.0, 0.9)))

    assert -40 < low < 0 < 30 <= high < 100


def test_all_estimates_up_to_a_hundred_per_cent_are_inside():
    low, high = forest_limits(rows_of(effect("1", -0.9, -5, 0.2), made_claim("2")))

    assert low < -90
    assert high > 25


def arrows(axes):
    return [line.get_marker() for line in axes.get_lines() if line.get_marker() in ("<", ">")]


@pytest.mark.parametrize(
    ("claim", "ends"),
    [
        pytest.param(effect("1", 0.1, -0.05, 0.2), [], id="both ends are seen"),
        pytest.param(effect("1", 0.1, -INF, INF), ["<", ">"], id="no ends"),
        pytest.param(effect("1", 0.1, -170.0, 0.2), ["<"], id="far to the left"),
        pytest.param(effect("1", 3.0, 0.2, 8.0), [">", ">"], id="the estimate is outside too"),
    ],
)
def test_what_goes_on_beyond_the_axis_ends_in_an_arrow(claim, ends):
    assert arrows(drawn([claim])) == ends


def test_what_is_claimed_is_shaded_from_its_lower_end_on():
    axes = drawn([made_claim("2"), COST])

    high = axes.get_xlim()[1]
    shaded = [box.get_bbox().intervalx for box in axes.patches]
    assert [tuple(one) for one in shaded] == [pytest.approx((20, high)), pytest.approx((-15, high))]


def test_verdicts_stand_at_the_right_and_what_cannot_be_evaluated_is_grey():
    axes = drawn([made_claim("2"), unknown_claim("3", "why")])

    words = {text.get_text(): text for text in axes.texts if text.get_position()[0] == 1}
    assert list(words) == [Verdict.SUPPORTED.value, Verdict.NOT_EVALUABLE.value]
    assert words["SUPPORTED"].get_fontweight() == "bold"
    assert words["NOT EVALUABLE"].get_color() == "0.42"


def test_a_claim_without_a_margin_is_drawn_without_shade():
    axes = drawn([made_claim("2"), unknown_claim("6", "no T5")._replace(claimed=NAN)])

    assert len(axes.patches) == 1


def test_earlier_looks_are_drawn_faintly_and_told_in_the_caption():
    earlier = EarlierVerdict(16, Verdict.INCONCLUSIVE, 0.05, -0.1, 0.2)
    claim = effect("1", 0.1, 0.05, 0.15, earlier=(earlier,))
    looks = [Look(16, 0.001, {}), Look(32, 0.003, {})]

    axes, figure = drawn([claim]), forest_figure(made_evaluation(claims=[claim], looks=looks))

    faint = [line for line in axes.get_lines() if line.get_color() == "0.62"]
    assert [list(line.get_xdata()) for line in faint] == [
        pytest.approx([-10, 20]),
        [pytest.approx(5)],
    ]
    assert figure.caption.endswith("Judged after 32 configurations; faint: at 16.")


def test_a_claim_that_is_not_in_the_design_has_no_row():
    claims = [made_claim("1"), unknown_claim("5", "not in this design: it needs two seeds")]

    (axes,) = forest_figure(made_evaluation(claims=claims)).figure.axes

    assert [text.get_text()[0] for text in axes.texts if text.get_position()[0] == 0] == ["1"]


def test_without_any_estimate_there_is_no_forest():
    claims = [unknown_claim(str(number), "one arm") for number in range(1, 7)]

    drawn_figure = forest_figure(made_evaluation(claims=claims))

    assert drawn_figure.figure is None
    assert drawn_figure.missing == "no claim has an estimate; the table says why"
