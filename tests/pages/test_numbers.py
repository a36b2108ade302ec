"""How numbers are written."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest
from made_claims import made_claim

from stage1.claims.intervals import NO_INTERVAL, Interval
from stage1.pages.numbers import (
    claimed_effect,
    effect,
    effect_interval,
    moment,
    number,
    p_value,
    ratio,
    ratio_interval,
    share,
    significant,
)


@pytest.mark.parametrize(
    ("claim", "value", "written"),
    [
        pytest.param("1", 0.0314, "+3.1%", id="a share in per cent with its sign"),
        pytest.param("2b", -0.3, "−30.0%", id="a real minus"),
        pytest.param("5", 0.123, "+0.12", id="a difference of rank correlations"),
        pytest.param("6", 1.234, "×1.23", id="a ratio"),
        pytest.param("6", math.inf, "∞", id="no upper end"),
        pytest.param("3", -math.inf, "−∞", id="no lower end"),
        pytest.param("3", math.nan, "–", id="undefined"),
        pytest.param("4", 0.0, "+0.0%", id="nothing"),
    ],
)
def test_an_effect_is_in_the_unit_of_its_claim(claim, value, written):
    assert effect(made_claim(claim), value) == written


@pytest.mark.parametrize(
    ("claim", "claimed", "value", "written"),
    [
        ("6", 1.15, 1.1549, "×1.155"),
        ("6", 1.15, 1.15, "×1.15"),
        ("6", 1.15, 0.996, "×0.996"),
        ("1", 0.2, 0.1996, "+19.96%"),
        ("3", 0.1, -0.0004, "−0.04%"),
        ("3", 0.1, 1e-9, "+0.000%"),
        ("5", 0.1, 0.0999, "+0.0999"),
    ],
)
def test_rounding_never_makes_a_number_what_it_is_compared_with(claim, claimed, value, written):
    assert effect(made_claim(claim, claimed=claimed), value) == written


@pytest.mark.parametrize(
    ("number_of_claim", "interval", "written"),
    [
        pytest.param("1", Interval(0.1, -0.05, 0.25, 0.1), "[−5.0%, +25.0%]", id="bounded"),
        pytest.param("2", Interval(0.1, -math.inf, math.inf, 0.1), "[−∞, ∞]", id="unbounded"),
        pytest.param("1", NO_INTERVAL, "–", id="none"),
    ],
)
def test_an_interval_shows_both_ends(number_of_claim, interval, written):
    assert effect_interval(made_claim(number_of_claim, interval=interval)) == written


@pytest.mark.parametrize(
    ("claim", "claimed", "written"),
    [("1", 0.2, "≥ +20%"), ("5", 0.1, "≥ +0.10"), ("6", 1.15, "≤ ×1.15"), ("6", math.nan, "≤ –")],
)
def test_what_is_claimed_is_a_bound(claim, claimed, written):
    assert claimed_effect(made_claim(claim, claimed=claimed)) == written


@pytest.mark.parametrize(
    ("p", "written"),
    [(0.0123, "0.012"), (0.001, "0.001"), (0.0009, "<0.001"), (1.0, "1.000"), (math.nan, "–")],
)
def test_a_p_value_has_three_digits(p, written):
    assert p_value(p) == written


def test_numbers_that_are_not_finite_are_dashes():
    assert number(math.nan) == number(math.inf) == number(None) == "–"
    assert significant(math.inf) == share(math.nan) == ratio(math.nan) == "–"
    assert ratio_interval(math.nan, 1.0) == "–"


def test_numbers_keep_the_digits_that_are_asked_for():
    assert number(-0.12345) == "−0.1235"
    assert number(12.34, digits=1) == "12.3"
    assert significant(1234.567) == "1235"
    assert significant(14.0) == "14"
    assert significant(-0.0123456) == "−0.01235"
    assert share(0.0078) == "0.8%"
    assert ratio_interval(1.04, 1.16) == "[×1.04, ×1.16]"


@pytest.mark.parametrize("value", [0.0, -0.0, -1.11e-16, 9e-13])
def test_what_rounding_leaves_of_nothing_is_nothing(value):
    assert significant(value) == "0"


def test_a_small_number_is_not_nothing():
    assert significant(2e-12) == "2e−12"


@pytest.mark.parametrize(("value", "written"), [(10.0, ">999%"), (-170.0, "<−999%")])
def test_an_effect_beyond_all_sense_is_only_said_to_be_beyond(value, written):
    assert effect(made_claim("4"), value) == written


def test_a_moment_is_told_in_utc_to_the_minute():
    berlin = timezone(timedelta(hours=1))

    assert moment(datetime(2026, 11, 1, 0, 30, tzinfo=berlin)) == "2026-10-31 23:30 UTC"
    assert moment(pd.Timestamp(datetime(2026, 11, 1, tzinfo=UTC))) == "2026-11-01 00:00 UTC"
    assert moment(None) == moment(pd.NaT) == "–"
