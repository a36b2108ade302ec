"""Spreads and their ratios, against the analysis of variance, loops and simulation."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy import stats

from stage1.claims import spread
from stage1.claims.catalogue import ERROR_RATE
from stage1.claims.intervals import Interval, exponential
from stage1.claims.spread import noise_corrected_variance, pseudo_values

log_spread_ratio, seed_variance_ratio, spread_ratio = (
    partial(function, error_rate=ERROR_RATE)
    for function in (spread.log_spread_ratio, spread.seed_variance_ratio, spread.spread_ratio)
)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def drawn_scores(generator, *, configurations=12, seeds=3, spread=1.0, noise=0.5, mean=0.0):
    quality = generator.normal(mean, spread, size=(configurations, 1))
    return quality + generator.normal(0, noise, size=(configurations, seeds))


def jackknife(statistic, *arms):
    """The textbook loop: estimate, and standard error from leaving out every row in turn."""
    count = len(arms[0])
    each = [statistic(*(np.delete(arm, row, axis=0) for arm in arms)) for row in range(count)]
    mean = sum(each) / count
    squares = sum((value - mean) ** 2 for value in each)
    return statistic(*arms), math.sqrt((count - 1) / count * squares)


def variance_component(scores):
    """One-way random-effects analysis of variance of a balanced table, written out."""
    rows = [list(row) for row in scores]
    count, seeds = len(rows), len(rows[0])
    grand = sum(map(sum, rows)) / (count * seeds)
    means = [sum(row) / seeds for row in rows]
    between = seeds * sum((mean - grand) ** 2 for mean in means) / (count - 1)
    within = sum(
        (value - mean) ** 2 for row, mean in zip(rows, means, strict=True) for value in row
    ) / (count * (seeds - 1))
    return (between - within) / seeds


# --- variance between configurations ---


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_variance_between_configurations_is_that_of_the_analysis_of_variance(generator, seeds):
    scores = drawn_scores(generator, seeds=seeds)

    variance = noise_corrected_variance(scores)

    assert float(variance) == pytest.approx(variance_component(scores))
    # scipy's F is the ratio of the two mean squares.
    f = stats.f_oneway(*scores).statistic
    within = scores.var(axis=1, ddof=1).mean()
    assert float(variance) == pytest.approx(within * (f - 1) / seeds)


def test_the_seeds_noise_is_not_in_the_variance_between_configurations(generator):
    noisy = drawn_scores(generator, configurations=40_000, seeds=2, spread=0.3, noise=0.6)

    variance = noise_corrected_variance(noisy)

    # Four standard errors: the mean of two scores has variance .09 + .36 / 2 = .27.
    assert float(variance) == pytest.approx(0.09, abs=4 * 0.27 * math.sqrt(2 / 40_000))


def test_many_studies_are_done_at_once(generator):
    scores = generator.normal(size=(3, 4, 10, 2))

    variances = noise_corrected_variance(scores)

    expected = [[variance_component(study) for study in row] for row in scores]
    assert variances == pytest.approx(np.array(expected))


def test_a_seed_without_a_score_does_not_count(generator):
    scores = drawn_scores(generator, configurations=6, seeds=3)
    scores[2, 1] = math.nan

    variance = noise_corrected_variance(scores)

    kept = [row[np.isfinite(row)] for row in scores]
    means = np.array([row.mean() for row in kept])
    errors = [row.var(ddof=1) / len(row) for row in kept]
    assert float(variance) == pytest.approx(means.var(ddof=1) - np.mean(errors))


# --- ratio of spreads ---


def pseudo_value_loop(scores):
    """n times the whole minus n - 1 times what is left without each row."""
    count, whole = len(scores), variance_component(scores)
    without = [variance_component(np.delete(scores, row, axis=0)) for row in range(count)]
    return np.array([count * whole - (count - 1) * rest for rest in without])


@pytest.mark.parametrize(("configurations", "seeds"), [(3, 2), (12, 3), (64, 2)])
def test_pseudo_values_are_those_of_deleting_every_row(generator, configurations, seeds):
    scores = drawn_scores(generator, configurations=configurations, seeds=seeds, mean=-3)

    values = pseudo_values(scores)

    assert values == pytest.approx(pseudo_value_loop(scores), rel=1e-9)
    assert values.mean() == pytest.approx(variance_component(scores))


def test_pseudo_values_far_from_zero_keep_their_digits(generator):
    scores = drawn_scores(generator)

    # At 1e6 a double keeps ten digits behind the point.
    assert pseudo_values(scores + 1e6) == pytest.approx(pseudo_values(scores), abs=1e-7)


@pytest.mark.parametrize("error_rate", [0.05, ERROR_RATE])
@pytest.mark.parametrize("spread", [0.05, 0.5, 1.0])
def test_a_ratio_of_spreads_holds_what_a_t_test_of_pseudo_values_accepts(
    generator, spread, error_rate
):
    shape = {"configurations": 40, "seeds": 2, "noise": 0.3}
    first = drawn_scores(generator, spread=spread, **shape)
    second = drawn_scores(generator, spread=1.0, **shape)

    ratio = spread_ratio(first, second, error_rate=error_rate).ratio

    step = 1e-3
    grid = np.arange(0, 4, step)
    ours, theirs = pseudo_value_loop(first), pseudo_value_loop(second)
    differences = ours[:, None] - grid**2 * theirs[:, None]
    accepted = grid[stats.ttest_1samp(differences, 0).pvalue > error_rate]
    assert (ratio.low, ratio.high) == pytest.approx((accepted[0], accepted[-1]), abs=step)
    share = max(variance_component(first), 0) / variance_component(second)
    assert ratio.estimate == pytest.approx(math.sqrt(share))
    # Without an end the interval holds every ratio, so p is not below that of "there is no end".
    tests = (stats.ttest_rel(ours, theirs), stats.ttest_1samp(theirs, 0))
    assert ratio.p == pytest.approx(max(test.pvalue for test in tests))


def test_the_difference_of_variances_has_students_interval_of_the_pseudo_values(generator):
    first, second = drawn_scores(generator), drawn_scores(generator, spread=2)

    difference = spread_ratio(first, second).difference

    values = pseudo_value_loop(second) - pseudo_value_loop(first)
    ends = stats.ttest_1samp(values, 0).confidence_interval(1 - ERROR_RATE)
    expected = variance_component(second) - variance_component(first)
    assert difference[:3] == pytest.approx((expected, ends.low, ends.high))


def test_sigmas_and_reliability_are_those_of_the_analysis_of_variance(generator):
    first, second = drawn_scores(generator), drawn_scores(generator, spread=2)

    spreads = spread_ratio(first, second)

    variances = [variance_component(arm) for arm in (first, second)]
    assert spreads.sigmas == pytest.approx(np.sqrt(variances))
    assert spreads.reliability == pytest.approx(variances[1] / second.mean(axis=1).var(ddof=1))
    assert not spreads.all_noise


def test_a_scale_and_a_shift_of_an_arm_move_the_ratio_by_the_scale_alone(generator):
    shape = {"configurations": 60, "noise": 0.1}
    first, second = drawn_scores(generator, **shape), drawn_scores(generator, **shape)

    plain = spread_ratio(first, second).ratio
    moved = spread_ratio(3 * first - 7, second + 5).ratio

    assert moved[:3] == pytest.approx([3 * value for value in plain[:3]])


def test_the_pairing_of_configurations_narrows_the_interval(generator):
    shared = generator.normal(size=(100, 1))
    first, second = (shared + generator.normal(0, 0.1, size=(100, 2)) for _ in range(2))

    paired = spread_ratio(first, second).ratio
    unpaired = spread_ratio(first, generator.permutation(second)).ratio

    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)


def test_configurations_with_one_score_in_either_arm_are_left_out_of_both(generator):
    first, second = drawn_scores(generator, seeds=2), drawn_scores(generator, seeds=2)
    gappy = first.copy(), second.copy()
    gappy[0][3, 0] = gappy[1][7, 1] = math.nan

    spreads = spread_ratio(*gappy)

    expected = spread_ratio(*(np.delete(arm, [3, 7], axis=0) for arm in (first, second)))
    assert spreads.difference == pytest.approx(expected.difference)
    assert spreads.ratio == pytest.approx(expected.ratio)


@pytest.mark.parametrize("configurations", [0, 1, 2])
def test_spreads_need_three_configurations(generator, configurations):
    first, second = generator.normal(size=(2, configurations, 2))

    spreads = spread_ratio(first, second)

    assert math.isnan(spreads.ratio.estimate)
    assert math.isnan(spreads.reliability)


def test_one_seed_has_no_spread_apart_from_noise(generator):
    first, second = generator.normal(size=(2, 20, 1))

    spreads = spread_ratio(first, second)

    assert math.isnan(spreads.ratio.estimate)


def test_an_arm_whose_configurations_are_equal_is_all_noise(generator):
    constant = np.full((40, 2), 0.25)

    spreads = spread_ratio(constant, drawn_scores(generator, configurations=40, seeds=2, noise=0.1))

    assert spreads.all_noise
    assert spreads.sigmas[0] == 0
    assert spreads.ratio[:3] == (0, 0, 0)


def test_there_is_no_ratio_to_an_arm_whose_configurations_are_equal(generator):
    constant = np.full((40, 2), 0.25)

    spreads = spread_ratio(drawn_scores(generator, configurations=40, seeds=2), constant)

    assert all(math.isnan(number) for number in spreads.ratio)
    assert math.isnan(spreads.reliability)


def test_a_spread_below_its_noise_is_called_all_noise(generator):
    below = np.linspace(0, 0.1, 20)[:, None] + np.array([1.0, -1.0])
    other = drawn_scores(generator, configurations=20, seeds=2)

    assert spread_ratio(below, other).all_noise
    assert spread_ratio(below, other).sigmas[0] == 0
    assert spread_ratio(other, below).reliability < 0
    assert math.isnan(spread_ratio(other, below).ratio.estimate)


def test_a_spread_that_rests_on_one_configuration_has_no_bounded_ratio_to_it(generator):
    outlier = np.zeros((20, 1))
    outlier[4] = 30
    scores = outlier + np.array([1.0, -1.0])  # without it the means are equal

    spreads = spread_ratio(drawn_scores(generator, configurations=20, seeds=2), scores)

    assert spreads.reliability > 0.5
    assert (spreads.ratio.low, spreads.ratio.high) == (-math.inf, math.inf)
    assert spreads.difference.bounded


# --- ratio of variances over seeds ---


def log_noise_ratio(first, second):
    totals = [sum(np.var(row, ddof=1) for row in arm) for arm in (first, second)]
    return math.log(totals[0] / totals[1])


@pytest.mark.parametrize(("configurations", "seeds"), [(3, 2), (16, 2), (10, 4)])
def test_a_ratio_of_seed_variances_has_the_textbook_jackknife_error(
    generator, configurations, seeds
):
    shape = {"configurations": configurations, "seeds": seeds}
    first = drawn_scores(generator, noise=0.2, **shape)
    second = drawn_scores(generator, noise=0.5, **shape)

    ratio = seed_variance_ratio(first, second)

    estimate, error = jackknife(log_noise_ratio, first, second)
    each = [
        log_noise_ratio(np.delete(first, place, axis=0), np.delete(second, place, axis=0))
        for place in range(configurations)
    ]
    satterthwaite = 2 * configurations / (stats.kurtosis(each, fisher=False) - 1)
    degrees = min((configurations - 1) / 2, satterthwaite)
    reach = stats.t.isf(ERROR_RATE / 2, degrees) * error
    assert ratio.estimate == pytest.approx(estimate)
    assert (ratio.low, ratio.high) == pytest.approx((estimate - reach, estimate + reach))


def test_what_configurations_are_worth_does_not_enter_the_seed_variance(generator):
    first, second = drawn_scores(generator), drawn_scores(generator)

    plain = seed_variance_ratio(first, second)
    moved = seed_variance_ratio(first + generator.normal(0, 9, size=(len(first), 1)), second)

    assert moved == pytest.approx(plain)


def test_the_seed_variance_ratio_leaves_out_configurations_with_a_gap(generator):
    first, second = drawn_scores(generator, seeds=2), drawn_scores(generator, seeds=2)
    gappy = second.copy()
    gappy[5, 0] = math.nan

    ratio = seed_variance_ratio(first, gappy)

    expected = seed_variance_ratio(np.delete(first, 5, axis=0), np.delete(second, 5, axis=0))
    assert ratio == pytest.approx(expected)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(np.zeros((8, 2)), np.arange(16.0).reshape(8, 2), id="first does not vary"),
        pytest.param(np.arange(16.0).reshape(8, 2), np.zeros((8, 2)), id="second does not vary"),
        pytest.param(np.eye(8, 2), np.arange(16.0).reshape(8, 2), id="two configurations vary"),
        pytest.param(
            np.eye(8, 2)[[0, 2, 3]], np.arange(6.0).reshape(3, 2), id="one configuration varies"
        ),
        pytest.param(np.eye(2), np.eye(2), id="two configurations"),
        pytest.param(np.ones((8, 1)), np.ones((8, 1)), id="one seed"),
    ],
)
def test_a_seed_variance_ratio_is_finite_or_absent(first, second):
    ratio = seed_variance_ratio(first, second)

    assert math.isnan(ratio.estimate) or ratio.bounded
    varying = min(int((np.ptp(arm, axis=1) > 0).sum()) for arm in (first, second))
    assert math.isnan(ratio.estimate) is (varying < 2 or len(first) < 3)


@pytest.mark.parametrize("value", [-0.986, -0.388, -1.7])
def test_equal_losses_are_no_spread_whatever_rounding_makes_of_them(generator, value):
    equal = np.full((64, 3), value)
    varied = drawn_scores(generator, configurations=64, seeds=3)

    assert spread_ratio(equal, varied).all_noise
    assert math.isnan(spread_ratio(varied, equal).ratio.estimate)
    assert math.isnan(seed_variance_ratio(equal, varied).estimate)
    assert math.isnan(seed_variance_ratio(varied, equal).estimate)


def test_a_ratio_too_large_for_a_number_has_no_end():
    ratio = exponential(Interval(0.0, -5.0, 1e4, 0.5))

    assert (ratio.estimate, ratio.high) == (1.0, math.inf)


def test_the_ratio_on_the_log_scale_has_the_textbook_jackknife_error(generator):
    first = drawn_scores(generator, configurations=20, noise=0.1)
    second = drawn_scores(generator, configurations=20, noise=0.1, spread=2.0)

    ratio = log_spread_ratio(first, second)

    def log_ratio(*arms):
        return 0.5 * math.log(variance_component(arms[0]) / variance_component(arms[1]))

    estimate, error = jackknife(log_ratio, first, second)
    assert ratio.estimate == pytest.approx(estimate)
    reach = (ratio.high - ratio.low) / 2 / error
    assert stats.t.isf(ERROR_RATE / 2, 19 / 2) <= reach + 1e-9 < stats.t.isf(ERROR_RATE / 2, 1)


def test_a_spread_that_is_all_noise_has_no_logarithm(generator):
    noise = generator.normal(size=(16, 2))

    assert math.isnan(log_spread_ratio(np.zeros((16, 2)), noise).estimate)
