"""Aggregates over runs, against rliable's published values, scipy and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stage1.claims.aggregates import (
    interquartile_mean,
    interquartile_mean_band,
    performance_profile,
    probability_of_improvement,
)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    scores = np.arange(1.0, 9.0).reshape(4, 2)

    assert interquartile_mean(scores) == pytest.approx(4.5)
    assert interquartile_mean(scores**3) == pytest.approx((27 + 64 + 125 + 216) / 4)


@pytest.mark.parametrize("count", range(1, 10))
def test_the_interquartile_mean_is_scipys(generator, count):
    scores = generator.normal(size=(count, 3, 4))

    expected = stats.trim_mean(scores.reshape(-1, 4), 0.25, axis=0)
    assert interquartile_mean(scores) == pytest.approx(expected)


def test_runs_that_are_not_finite_do_not_count_and_no_run_has_no_interquartile_mean(generator):
    scores = generator.normal(size=(6, 3))
    scores[[0, 2, 3], [1, 0, 2]] = [np.nan, np.inf, -np.inf]

    expected = stats.trim_mean(scores[np.isfinite(scores)], 0.25)
    assert interquartile_mean(scores) == pytest.approx(expected)
    assert np.isnan(interquartile_mean(np.full((2, 2), np.nan)))
    assert np.isnan(interquartile_mean(np.empty((0, 2, 5)))).all()


def test_the_band_resamples_whole_configurations(generator):
    scores = np.repeat(generator.normal(size=(40, 1)), 3, axis=1)  # seeds that agree entirely

    together = interquartile_mean_band(scores, generator=generator)
    apart = interquartile_mean_band(scores, generator=generator, columns_together=False)

    # Three copies of a configuration are one; taken for three, they narrow the band by sqrt(3).
    width, narrow = (float(band.high - band.low) for band in (together, apart))
    assert width / narrow == pytest.approx(math.sqrt(3), rel=0.15)
    alone = stats.bootstrap(
        (scores[:, 0],), lambda x, axis: stats.trim_mean(x, 0.25, axis=axis), method="percentile"
    ).confidence_interval
    assert width == pytest.approx(alone.high - alone.low, rel=0.15)


def test_every_point_of_a_curve_has_its_own_band(generator):
    scores = generator.normal(size=(10, 2, 3)) * [1, 2, 0] + [0, 5, 7]

    curve = interquartile_mean_band(scores, generator=np.random.default_rng(1))

    first = interquartile_mean_band(scores[..., 0], generator=np.random.default_rng(1))
    assert curve.estimate == pytest.approx(interquartile_mean(scores))
    assert (curve.low[0], curve.high[0]) == (first.low, first.high)
    assert (curve.low < curve.high).tolist() == [True, True, False]
    assert (curve.low[2], curve.high[2]) == (7, 7)


def test_a_wider_band_errs_less_often(generator):
    scores = generator.normal(size=(20, 2))

    usual, wide = (
        interquartile_mean_band(scores, generator=np.random.default_rng(1), error_rate=rate)
        for rate in (0.05, 0.01)
    )

    assert wide.low < usual.low < usual.estimate < usual.high < wide.high


@pytest.mark.parametrize(
    "scores",
    [
        pytest.param([[1.0, 3.0]], id="one"),
        pytest.param([[np.nan, np.inf], [1.0, 3.0]], id="one with a score"),
    ],
)
def test_a_single_configuration_has_no_band(generator, scores):
    scores = np.array(scores)

    mean = interquartile_mean_band(scores, generator=generator)
    profile = performance_profile(scores, np.array([2.0]), generator=generator)

    assert mean.estimate == pytest.approx(2.0)
    assert profile.estimate == pytest.approx([0.5])
    assert np.isnan([mean.low, mean.high, *profile.low, *profile.high]).all()


def test_the_profile_is_the_share_of_runs_above_each_threshold_if_there_is_any(generator):
    scores, thresholds = np.array([[1.0, 2.0], [3.0, np.nan], [4.0, 5.0]]), np.array([0, 2, 4.5, 5])

    profile = performance_profile(scores, thresholds, generator=generator)
    nothing = performance_profile(np.nan * scores, thresholds, generator=generator)

    assert profile.estimate == pytest.approx([1, 3 / 5, 1 / 5, 0])
    assert np.isnan(np.stack(nothing)).all()


def test_the_profiles_band_is_that_of_a_share(generator):
    scores = np.repeat(generator.permutation(100.0 + np.arange(100))[:, None], 2, axis=1)

    profile = performance_profile(scores, np.array([50.0, 169.5]), generator=generator)

    # 30 of 100 configurations are above; a resampled count is binomial.
    low, high = stats.binom.ppf([0.025, 0.975], 100, 0.3) / 100
    assert (profile.low[0], profile.high[0]) == (1, 1)
    assert (profile.low[1], profile.high[1]) == pytest.approx((low, high), abs=0.011)


def test_the_probability_of_improvement_is_rliables():
    first = np.array([[0.6, 0.5], [0.7, 0.55], [0.65, 0.6]])
    second = np.array([[0.5, 0.45], [0.6, 0.5], [0.4, 0.52]])

    assert probability_of_improvement(first, second) == pytest.approx(0.88889, abs=5e-6)
    assert probability_of_improvement(second, first) == pytest.approx(0.11111, abs=5e-6)


def test_the_probability_of_improvement_is_mann_and_whitneys_u_and_a_half_for_equal_arms(generator):
    first = generator.integers(6, size=(9, 1)).astype(float)  # many ties
    second = generator.integers(5, size=(7, 1)).astype(float)

    u = stats.mannwhitneyu(first[:, 0], second[:, 0]).statistic
    assert probability_of_improvement(first, second) == pytest.approx(u / (9 * 7))
    assert probability_of_improvement(np.full((4, 2), 0.5), np.full((1, 2), 0.5)) == 0.5


def test_only_columns_that_both_arms_have_count():
    first = np.array([[1.0, 1.0, np.nan], [np.nan, 1.0, np.nan]])
    second = np.array([[0.0, np.inf, 5.0]])

    assert probability_of_improvement(first, second) == 1
    assert math.isnan(probability_of_improvement(first[:, 2:], second[:, 2:]))
