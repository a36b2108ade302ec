"""Spreads and their ratios, against the analysis of variance, loops and simulation."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from made_runs import arm_scores, drawn_arm, judged
from scipy import stats

from stage1.claims import spread
from stage1.claims.catalogue import ERROR_RATE, SENSITIVITY, STABILITY
from stage1.claims.spread import noise_corrected_variance, pseudo_values
from stage1.claims.verdicts import Verdict

log_spread_ratio, seed_variance_ratio, spread_ratio = (
    partial(function, error_rate=ERROR_RATE)
    for function in (spread.log_spread_ratio, spread.seed_variance_ratio, spread.spread_ratio)
)


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


def test_many_studies_are_done_at_once_and_a_seed_without_a_score_does_not_count(generator):
    scores = generator.normal(size=(3, 4, 10, 2))
    gappy = drawn_scores(generator, configurations=6, seeds=3)
    gappy[2, 1] = math.nan

    variances, of_gappy = noise_corrected_variance(scores), noise_corrected_variance(gappy)

    expected = [[variance_component(study) for study in row] for row in scores]
    assert variances == pytest.approx(np.array(expected))
    kept = [row[np.isfinite(row)] for row in gappy]
    means = np.array([row.mean() for row in kept])
    errors = [row.var(ddof=1) / len(row) for row in kept]
    assert float(of_gappy) == pytest.approx(means.var(ddof=1) - np.mean(errors))


# --- ratio of spreads ---


def pseudo_value_loop(scores):
    """n times the whole minus n - 1 times what is left without each row."""
    count, whole = len(scores), variance_component(scores)
    without = [variance_component(np.delete(scores, row, axis=0)) for row in range(count)]
    return np.array([count * whole - (count - 1) * rest for rest in without])


@pytest.mark.parametrize(("configurations", "seeds"), [(3, 2), (12, 3), (64, 2)])
def test_pseudo_values_are_those_of_deleting_every_row_and_keep_their_digits_far_from_zero(
    generator, configurations, seeds
):
    scores = drawn_scores(generator, configurations=configurations, seeds=seeds, mean=-3)

    values = pseudo_values(scores)

    assert values == pytest.approx(pseudo_value_loop(scores), rel=1e-9)
    assert values.mean() == pytest.approx(variance_component(scores))
    # At 1e6 a double keeps ten digits behind the point.
    assert pseudo_values(scores + 1e6) == pytest.approx(values, abs=1e-7)


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


def test_difference_sigmas_and_reliability_are_those_of_the_analysis_of_variance(generator):
    first, second = drawn_scores(generator), drawn_scores(generator, spread=2)

    spreads = spread_ratio(first, second)

    variances = [variance_component(arm) for arm in (first, second)]
    assert spreads.sigmas == pytest.approx(np.sqrt(variances))
    assert spreads.reliability == pytest.approx(variances[1] / second.mean(axis=1).var(ddof=1))
    assert not spreads.all_noise
    values = pseudo_value_loop(second) - pseudo_value_loop(first)
    ends = stats.ttest_1samp(values, 0).confidence_interval(1 - ERROR_RATE)
    assert spreads.difference[:3] == pytest.approx((variances[1] - variances[0], *ends))


def test_configurations_with_one_score_in_either_arm_are_left_out_of_both(generator):
    first, second = drawn_scores(generator, seeds=2), drawn_scores(generator, seeds=2)
    gappy = first.copy(), second.copy()
    gappy[0][3, 0] = gappy[1][7, 1] = math.nan

    kept = [np.delete(arm, [3, 7], axis=0) for arm in (first, second)]
    spreads, expected = spread_ratio(*gappy), spread_ratio(*kept)
    assert spreads.difference == pytest.approx(expected.difference)
    assert spreads.ratio == pytest.approx(expected.ratio)
    assert seed_variance_ratio(*gappy) == pytest.approx(seed_variance_ratio(*kept))


@pytest.mark.parametrize("shape", [(0, 2), (1, 2), (2, 2), (20, 1)])
def test_spreads_need_three_configurations_and_two_seeds(generator, shape):
    spreads = spread_ratio(*generator.normal(size=(2, *shape)))

    assert math.isnan(spreads.ratio.estimate)
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


@pytest.mark.parametrize("value", [0.25, -0.986, -0.388, -1.7])
def test_equal_losses_are_no_spread_whatever_rounding_makes_of_them(generator, value):
    equal = np.full((64, 3), value)
    varied = drawn_scores(generator, configurations=64, seeds=3, noise=0.1)

    to_varied, to_equal = spread_ratio(equal, varied), spread_ratio(varied, equal)

    assert to_varied.all_noise
    assert (to_varied.sigmas[0], *to_varied.ratio[:3]) == pytest.approx((0, 0, 0, 0), abs=1e-14)
    assert all(math.isnan(number) for number in (*to_equal.ratio, to_equal.reliability))
    assert math.isnan(log_spread_ratio(equal, varied).estimate)
    assert math.isnan(seed_variance_ratio(equal, varied).estimate)
    assert math.isnan(seed_variance_ratio(varied, equal).estimate)


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


# --- claim 1, sensitivity ---


def levels(spread, *, configurations=64, noise=0.01):
    """Evenly spread configurations; two seeds at equal distances from their mean."""
    even = np.linspace(-1, 1, configurations)[:, None]
    return spread * even + noise * np.array([1.0, -1.0])


def spread_arm(spread, *, configurations=64, noise=0.01, mean=0.5, on_r=0.1):
    """An arm whose log loss has a spread and whose correlation has `on_r` times as much."""
    scores = levels(spread, configurations=configurations, noise=noise)
    return arm_scores(mean + on_r * scores, log_loss=-2 - scores)


def test_the_effect_is_the_share_by_which_the_noise_free_spread_is_smaller(generator):
    first = drawn_arm(generator, configurations=64, loss_spread=0.1)
    second = drawn_arm(generator, configurations=64, loss_spread=0.3)

    effect = judged(SENSITIVITY, first, second).effect

    sigmas = [math.sqrt(noise_corrected_variance(arm.log_loss)) for arm in (first, second)]
    assert effect.estimate == pytest.approx(1 - sigmas[0] / sigmas[1])
    assert effect.low < effect.estimate < effect.high


@pytest.mark.parametrize(
    ("spread", "verdict"),
    [(0.1, "SUPPORTED"), (0.85, "DIRECTION ONLY"), (1.0, "NOT SUPPORTED"), (2.0, "CONTRADICTED")],
)
def test_sensitivity_is_judged_by_how_much_smaller_the_spread_is(spread, verdict):
    finding = judged(SENSITIVITY, spread_arm(spread), spread_arm(1.0))

    assert finding.decision.verdict.value == verdict


@pytest.mark.parametrize(
    ("shape", "needs"),
    [({"seeds": 1}, "two seeds"), ({"configurations": 2}, "three configurations")],
)
def test_sensitivity_needs_two_seeds_and_three_configurations(generator, shape, needs):
    decision = judged(SENSITIVITY, *(drawn_arm(generator, **shape) for _ in range(2))).decision

    assert decision.verdict is Verdict.NOT_EVALUABLE
    assert needs in decision.reason


@pytest.mark.parametrize(
    ("reliability", "evaluable"), [(0.51, True), (0.49, False), (-20.0, False)]
)
def test_sensitivity_needs_a_comparison_arm_that_is_half_signal(reliability, evaluable):
    # Seeds at m + d and m - d have the error variance d^2 in their mean.
    variance = levels(1.0, noise=0).mean(axis=1).var(ddof=1)
    noisy = spread_arm(1.0, noise=math.sqrt((1 - reliability) * variance))

    finding = judged(SENSITIVITY, spread_arm(0.1), noisy)

    share = finding.shown["share of the variance that is not seed noise, second arm"]
    assert share == pytest.approx(reliability)
    assert (finding.decision.verdict is not Verdict.NOT_EVALUABLE) is evaluable
    if reliability < 0:
        assert "only 0%" in finding.decision.reason


def test_a_spread_that_is_all_noise_never_supports_the_claim():
    finding = judged(SENSITIVITY, spread_arm(0.01, noise=0.05), spread_arm(1.0))

    assert finding.effect.low >= SENSITIVITY.claimed
    assert finding.decision.verdict is Verdict.DIRECTION_ONLY
    assert "noise" in finding.decision.reason


@pytest.mark.parametrize(
    ("first", "second", "on_r", "on_z"),
    [
        pytest.param((0.5, 0.8), (0.5, 0.05), -1, -1, id="both scales"),
        # Near 1, z stretches what r has little room for: dz = dr / (1 - r^2).
        pytest.param((0.95, 0.1), (0.3, 0.02), 1, -1, id="Fisher's z alone"),
        pytest.param((0.3, 0.5), (0.95, 0.03), -1, 1, id="the raw correlation alone"),
    ],
)
def test_sensitivity_is_scale_dependent_where_correlations_spread_more(first, second, on_r, on_z):
    arms = [
        spread_arm(spread, mean=mean, on_r=part)
        for spread, (mean, part) in ((0.1, first), (1.0, second))
    ]

    finding = judged(SENSITIVITY, *arms)

    assert finding.effect.low >= SENSITIVITY.claimed
    assert np.sign(finding.shown["smaller by, on val_correlation"]) == on_r
    assert np.sign(finding.shown["smaller by, on Fisher's z"]) == on_z
    assert finding.decision.verdict is Verdict.INCONCLUSIVE
    assert "scale dependent" in finding.decision.reason


def test_a_direction_is_told_whatever_the_other_scales_say():
    finding = judged(SENSITIVITY, spread_arm(0.85, on_r=1.0), spread_arm(1.0, on_r=0.1))

    assert finding.decision.verdict is Verdict.DIRECTION_ONLY


# --- claim 4, stability ---


def noisy_arm(generator, noise, *, configurations=48, seeds=3, diverged=None):
    base = generator.normal(size=(configurations, 1))
    losses = base + noise * generator.normal(size=(configurations, seeds))
    return arm_scores(0.5 - 0.01 * losses, log_loss=losses, diverged=diverged)


def test_the_effect_is_the_share_by_which_the_summed_seed_variance_is_smaller(generator):
    first, second = noisy_arm(generator, 0.3), noisy_arm(generator, 0.5)

    effect = judged(STABILITY, first, second).effect

    sums = [sum(np.var(row, ddof=1) for row in arm.log_loss) for arm in (first, second)]
    assert effect.estimate == pytest.approx(1 - sums[0] / sums[1])
    assert effect.low < effect.estimate < effect.high < 1


@pytest.mark.parametrize(
    ("noise", "verdict"), [(0.2, "SUPPORTED"), (1.0, "INCONCLUSIVE"), (5.0, "CONTRADICTED")]
)
def test_stability_is_judged_by_how_much_smaller_the_variance_is(generator, noise, verdict):
    finding = judged(STABILITY, noisy_arm(generator, noise), noisy_arm(generator, 1.0))

    assert finding.decision.verdict.value == verdict


def diverged_at(*cells, configurations=48, seeds=3):
    diverged = np.zeros((configurations, seeds), dtype=bool)
    for cell in cells:
        diverged[cell] = True
    return diverged


def test_a_configuration_that_diverged_in_either_arm_counts_in_neither(generator):
    first = noisy_arm(generator, 0.2, diverged=diverged_at((3, 0)))
    second = noisy_arm(generator, 1.0, diverged=diverged_at((7, 2), (8, 1)))

    finding = judged(STABILITY, first, second)

    kept = np.delete(np.arange(48), [3, 7, 8])
    expected = judged(
        STABILITY,
        *(arm_scores(arm.final[kept], log_loss=arm.log_loss[kept]) for arm in (first, second)),
    )
    assert finding.effect == pytest.approx(expected.effect)
    assert finding.shown["configurations without divergence"] == 45


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        pytest.param([(3, 0)], [], "DIRECTION ONLY", id="more often"),
        pytest.param([(3, 0), (3, 1)], [(5, 0)], "DIRECTION ONLY", id="two to one"),
        pytest.param([(3, 0)], [(5, 0)], "SUPPORTED", id="equally often"),
        pytest.param([], [(5, 0)], "SUPPORTED", id="less often"),
    ],
)
def test_an_arm_that_diverges_more_often_is_not_supported_as_more_stable(
    generator, ours, theirs, verdict
):
    first = noisy_arm(generator, 0.2, diverged=diverged_at(*ours))
    second = noisy_arm(generator, 1.0, diverged=diverged_at(*theirs))

    assert judged(STABILITY, first, second).decision.verdict.value == verdict


@pytest.mark.parametrize(
    ("shape", "noise", "diverged"),
    [
        pytest.param((48, 1), 1.0, None, id="one seed"),
        pytest.param((2, 3), 1.0, None, id="two configurations"),
        pytest.param((48, 2), 0.0, None, id="seeds without any difference"),
        pytest.param((48, 3), 1.0, np.ones((48, 3), dtype=bool), id="everything diverged"),
    ],
)
def test_stability_needs_seeds_that_differ_in_three_configurations(
    generator, shape, noise, diverged
):
    size = dict(zip(("configurations", "seeds"), shape, strict=True))
    first = noisy_arm(generator, noise, **size, diverged=diverged)

    finding = judged(STABILITY, first, noisy_arm(generator, 1.0, **size))

    assert finding.decision.verdict is Verdict.NOT_EVALUABLE
