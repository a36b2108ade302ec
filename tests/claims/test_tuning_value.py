from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from stage1.claims.tuning_value import (
    best_minus_mean,
    best_minus_middle,
    cliffs,
    paired_means,
    tuning_value,
    weighted_order,
)

REAL_RUN = Path(__file__).parent / "n32_trials.parquet"
"""A study of the default space: 32 Sobol configurations, pretrained and random, one seed."""


@pytest.fixture(scope="module")
def scores():
    """-log val_loss by arm, in the design's order."""
    trials = pd.read_parquet(REAL_RUN)
    design = trials[trials["stage"] == "design"]
    table = design.pivot_table(index="config_id", columns="arm", values="val_loss").sort_index()
    return {arm: -np.log(table[arm].to_numpy()) for arm in ("pretrained", "random")}


@pytest.mark.parametrize("size", [3, 5])
def test_the_gap_is_the_mean_over_all_samples_of_best_minus_middle(size):
    values = np.random.default_rng(1).normal(size=9)

    gap, _ = weighted_order(values, lambda n: best_minus_middle(n, of=size))

    samples = [sorted(sample) for sample in combinations(values, size)]
    assert gap == pytest.approx(np.mean([one[-1] - one[size // 2] for one in samples]))


def test_the_gain_is_the_mean_over_all_samples_of_the_best_minus_the_mean():
    values = np.random.default_rng(2).normal(size=10)

    gain, _ = weighted_order(values, best_minus_mean)

    best = np.mean([max(sample) for sample in combinations(values, 8)])
    assert gain == pytest.approx(best - values.mean())


def test_leaving_out_a_configuration_is_what_computing_without_it_gives():
    values = np.random.default_rng(3).normal(size=(2, 14))
    values[:, 3] = values[:, 8]  # ties may go either way

    _, without = weighted_order(values, best_minus_middle)

    for place in range(14):
        rest, _ = weighted_order(np.delete(values, place, axis=1), best_minus_middle)
        assert without[:, place] == pytest.approx(rest)


@pytest.mark.parametrize(
    ("configurations", "share", "ratio", "low", "high"),
    [
        pytest.param(16, 48, 1.330, 1.060, 1.670, id="first look"),
        pytest.param(32, 16, 1.231, 0.994, 1.525, id="second look"),
        pytest.param(32, 6, 1.231, 1.020, 1.486, id="one look"),
    ],
)
def test_a_real_run_gives_the_published_intervals(scores, configurations, share, ratio, low, high):
    arms = [scores[arm][:configurations] for arm in ("pretrained", "random")]

    value = tuning_value(*arms, error_rate=0.05 / share)

    assert value.configurations == configurations
    assert value.ratio[:3] == pytest.approx((ratio, low, high), abs=6e-4)


def test_the_interval_is_that_of_a_plain_jackknife(scores):
    """Written out by brute force, to the last digits."""
    arms = np.stack([scores["pretrained"], scores["random"]])

    def log_ratio(columns):
        gaps = [
            np.mean([max(s) - sorted(s)[1] for s in combinations(arm[columns], 3)]) for arm in arms
        ]
        return np.log(gaps[0] / gaps[1])

    whole = np.arange(32)
    each = np.array([log_ratio(np.delete(whole, place)) for place in whole])
    error = np.sqrt(31 / 32 * np.square(each - each.mean()).sum())
    half = stats.t.ppf(1 - 0.05 / 12, 31) * error

    interval = tuning_value(*arms, error_rate=0.05 / 6).ratio

    assert np.log(interval[:3]) == pytest.approx(
        [log_ratio(whole), log_ratio(whole) - half, log_ratio(whole) + half], abs=1e-9
    )


def test_the_gain_of_eight_tries_uses_the_same_interval(scores):
    value = tuning_value(
        scores["pretrained"], scores["random"], weights=best_minus_mean, error_rate=0.05 / 6
    )

    assert value.ratio[:3] == pytest.approx((1.198, 0.910, 1.579), abs=6e-4)


def test_a_configuration_counts_where_both_arms_have_a_score_and_seeds_are_averaged():
    first = np.array([[1.0, 3.0], [np.nan, 5.0], [np.nan, np.nan], [0.0, 0.0]])
    second = np.array([[1.0, 1.0], [2.0, np.nan], [1.0, 1.0], [np.nan, np.nan]])

    means = paired_means(first, second)

    assert means.tolist() == [[2.0, 5.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("first", "word"),
    [
        pytest.param(np.arange(11.0), "12 needed", id="too few configurations"),
        pytest.param(np.zeros(16), "same score", id="an arm without spread"),
        pytest.param(np.r_[1.0, np.zeros(15)], "same score", id="all but one diverged"),
    ],
)
def test_without_a_gap_there_is_no_interval_but_a_reason(first, word):
    second = np.random.default_rng(0).normal(size=len(first))

    value = tuning_value(first, second, error_rate=0.05 / 6)

    assert np.isnan(value.ratio.estimate)
    assert word in value.obstacle


def test_configurations_far_below_the_median_are_counted_in_one_arm_and_in_both():
    first = np.array([0.0, 0.0, 0.0, 0.0, -1.0, -1.0, 0.0])
    second = np.array([0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0])

    counted = cliffs(first, second, depth=0.5)

    assert counted == (1, 0, 1, 1.0)


def test_the_cliffs_of_a_real_run(scores):
    counted = cliffs(scores["pretrained"], scores["random"], depth=0.05)

    assert counted[:3] == (3, 3, 6)
