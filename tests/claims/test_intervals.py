"""Student's and Fieller's intervals, against scipy and brute force."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats

from stage1.claims import intervals
from stage1.claims.catalogue import ERROR_RATE
from stage1.claims.intervals import NO_INTERVAL, Interval, exponential

mean_interval, ratio_interval, student_interval = (
    partial(function, error_rate=ERROR_RATE)
    for function in (intervals.mean_interval, intervals.ratio_interval, intervals.student_interval)
)


def accepted_ratios(numerator, denominator, grid, error_rate):
    """Brute force: the ratios of the grid that a paired t-test does not reject."""
    differences = numerator[:, None] - grid * denominator[:, None]
    return grid[stats.ttest_1samp(differences, 0).pvalue > error_rate]


@pytest.mark.parametrize("count", [2, 5, 40])
@pytest.mark.parametrize("error_rate", [0.05, ERROR_RATE])
def test_the_interval_of_a_mean_is_scipys(generator, count, error_rate):
    values = generator.normal(0.3, 2.0, size=count)

    interval = mean_interval(values, error_rate=error_rate, null=0.1)

    expected = stats.ttest_1samp(values, 0.1)
    ends = expected.confidence_interval(1 - error_rate)
    assert interval.estimate == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((ends.low, ends.high))
    assert interval.p == pytest.approx(expected.pvalue)


def test_configurations_without_a_value_do_not_count_in_a_mean(generator):
    values = generator.normal(size=9)

    gaps = mean_interval(np.concatenate([[math.nan], values, [math.nan, math.inf]]))

    assert gaps == mean_interval(values)


@pytest.mark.parametrize("values", [[], [0.4], [math.nan, 0.4]])
def test_fewer_than_two_values_have_no_interval(values):
    interval = mean_interval(np.array(values, dtype=float))

    assert all(math.isnan(number) for number in interval)


@pytest.mark.parametrize(("null", "p"), [(0.5, 1.0), (0.0, 0.0)])
def test_equal_values_are_their_own_interval(null, p):
    interval = mean_interval(np.full(4, 0.5), null=null)

    assert interval == (0.5, 0.5, 0.5, p)


@pytest.mark.parametrize(("estimate", "error"), [(math.nan, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_finite_has_no_student_interval(estimate, error):
    interval = student_interval(estimate, error, degrees=5)

    assert all(math.isnan(number) for number in interval)


def test_an_interval_is_bounded_only_with_both_ends():
    assert Interval(1, 0, 2, 0.5).bounded
    assert not Interval(1, 0, math.inf, 0.5).bounded
    assert not Interval(1, -math.inf, 2, 0.5).bounded
    assert not NO_INTERVAL.bounded


def test_logs_are_turned_back_end_by_end():
    interval = exponential(Interval(math.log(2), 0.0, math.log(8), 0.03))

    assert interval == pytest.approx((2, 1, 8, 0.03))
    too_large = exponential(Interval(0.0, -5.0, 1e4, 0.5))
    assert (too_large.estimate, too_large.high) == (1.0, math.inf)


def test_what_is_below_a_value_has_its_ends_exchanged():
    assert Interval(0.8, 0.5, 0.9, 0.03).below(1.0) == pytest.approx((0.2, 0.1, 0.5, 0.03))


@pytest.mark.parametrize(
    ("means", "correlation"),
    [
        pytest.param((0.6, 0.5), 0.8, id="alike and positive"),
        pytest.param((0.6, 0.5), -0.7, id="against each other"),
        pytest.param((-0.3, 0.5), 0.3, id="negative numerator"),
        pytest.param((0.6, -0.5), 0.3, id="negative denominator"),
        pytest.param((0.0, 0.5), 0.0, id="numerator near zero"),
    ],
)
@pytest.mark.parametrize("error_rate", [0.05, ERROR_RATE])
def test_fiellers_interval_holds_the_ratios_that_a_paired_t_test_accepts(
    generator, means, correlation, error_rate
):
    covariance = 0.05**2 * np.array([[1, correlation], [correlation, 1]])
    numerator, denominator = generator.multivariate_normal(means, covariance, size=10).T

    interval = ratio_interval(numerator, denominator, error_rate=error_rate)

    step = 1e-4
    grid = np.arange(-3, 3, step)
    accepted = accepted_ratios(numerator, denominator, grid, error_rate)
    assert np.diff(accepted).max() < 1.5 * step  # one piece
    assert interval.low == pytest.approx(accepted[0], abs=step)
    assert interval.high == pytest.approx(accepted[-1], abs=step)
    assert interval.estimate == pytest.approx(numerator.mean() / denominator.mean())


@pytest.mark.parametrize("mean", [0.0, 0.01, 0.02, 0.03, 0.05])
def test_fiellers_interval_is_unbounded_exactly_where_the_accepted_ratios_are(generator, mean):
    numerator = generator.normal(0.5, 0.05, size=10)
    denominator = generator.normal(mean, 0.05, size=10)

    interval = ratio_interval(numerator, denominator)

    far = np.array([-1e7, 1e7])
    endless = len(accepted_ratios(numerator, denominator, far, ERROR_RATE)) > 0
    assert endless is not interval.bounded
    if endless:
        assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_the_p_of_a_ratio_is_that_of_the_paired_t_test_at_it_whatever_pairs_have_a_gap(generator):
    numerator, denominator = generator.normal(0.5, 0.1, size=(2, 8))
    gappy = [*numerator, math.nan, 0.3], [*denominator, 0.3, math.nan]

    interval = ratio_interval(numerator, denominator, null=1.2)

    expected = stats.ttest_rel(numerator, 1.2 * denominator).pvalue
    assert interval.p == pytest.approx(expected)
    assert ratio_interval(*map(np.array, gappy), null=1.2) == interval


def test_a_ratios_p_is_below_the_error_rate_exactly_where_its_interval_leaves_out_one(generator):
    outside = []
    for shift in np.linspace(-0.3, 0.3, 41):
        numerator, denominator = generator.normal(0.5, 0.1, size=(2, 12))
        interval = ratio_interval(numerator + shift, denominator)
        outside.append(interval.low > 1 or interval.high < 1)
        assert (interval.p < ERROR_RATE) is outside[-1]

    assert any(outside)
    assert not all(outside)


@pytest.mark.parametrize(
    ("numerator", "denominator"),
    [
        pytest.param([0.5], [0.4], id="one pair"),
        pytest.param([], [], id="no pair"),
        pytest.param([0.5, 0.6], [0.1, -0.1], id="denominators that add up to zero"),
        pytest.param([0.5, 0.6], [0.0, 0.0], id="denominators of zero"),
    ],
)
def test_a_ratio_without_two_pairs_or_a_denominator_has_no_interval(numerator, denominator):
    interval = ratio_interval(np.array(numerator), np.array(denominator))

    assert all(math.isnan(number) for number in interval)


def test_arms_that_keep_one_ratio_in_every_configuration_have_that_ratio_alone():
    denominator = np.array([0.4, 0.45, 0.5, 0.55, 0.6])

    interval = ratio_interval(1.25 * denominator, denominator)

    # The bounds come from a difference of squares: half the digits remain.
    assert (interval.low, interval.high) == pytest.approx((1.25, 1.25), abs=1e-6)
