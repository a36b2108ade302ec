"""Label swaps, block bootstrap, McNemar and Holm, against scipy and brute force."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from stage1.claims.robustness import (
    block_bootstrap,
    centred_and_scaled,
    correlation_from_sums,
    holm,
    label_swap_p,
    mcnemar_p,
)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def mean_difference(first, second):
    return (first - second).reshape(len(first), -1).mean(axis=1)


def log_spread_ratio(first, second):
    """Of the configurations' means over seeds."""
    return np.log(first.mean(axis=2).std(axis=1) / second.mean(axis=2).std(axis=1))


# --- label swap ---


@pytest.mark.parametrize("count", [2, 7, 14])
def test_an_exact_swap_of_means_is_scipys(generator, count):
    first, second = generator.normal(size=(2, count))
    first += 0.5

    swap = label_swap_p(first, second, mean_difference, generator=generator)

    expected = stats.permutation_test(
        (first, second),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert swap.p == pytest.approx(expected.pvalue)
    assert (swap.exact, swap.configurations) == (True, count)


def test_a_drawn_swap_of_means_is_near_scipys(generator):
    first, second = generator.normal(size=(2, 30))
    first += 0.4

    swap = label_swap_p(first, second, mean_difference, generator=generator)

    expected = stats.permutation_test(
        (first, second),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        rng=np.random.default_rng(1),
    ).pvalue
    # Each is twice a count of 5,000 or 10,000 draws.
    error = 2 * math.sqrt(expected / 2 * (1 / 5000 + 1 / 10000))
    assert swap.p == pytest.approx(expected, abs=4 * error)
    assert not swap.exact


def test_a_configurations_seeds_are_exchanged_together(generator):
    first, second = generator.normal(size=(2, 5, 3))
    first *= 2
    values = []
    for swaps in product([False, True], repeat=5):
        pairs = [
            (s, f) if swap else (f, s) for f, s, swap in zip(first, second, swaps, strict=True)
        ]
        one, other = (np.array([[pair[arm] for pair in pairs]]) for arm in (0, 1))
        values.append(log_spread_ratio(one, other)[0])

    swap = label_swap_p(first, second, log_spread_ratio, generator=generator)

    tails = [np.mean(np.array(values) >= values[0]), np.mean(np.array(values) <= values[0])]
    assert swap.p == pytest.approx(min(2 * min(tails), 1))


@pytest.mark.parametrize(
    ("count", "smallest"), [(1, 1.0), (8, 2 / 256), (14, 2 / 2**14), (15, 2 / 5000)]
)
def test_the_largest_difference_has_the_smallest_p(generator, count, smallest):
    worse = np.arange(float(count))

    swap = label_swap_p(worse + 1, worse, mean_difference, generator=generator)

    assert swap.smallest == pytest.approx(smallest)
    if swap.exact:  # drawn swaps meet all ones, or all zeros, once in 2 ** 15 each
        assert swap.p == pytest.approx(smallest)
    else:
        assert swap.p < 5 * smallest


def test_equal_arms_do_not_differ(generator):
    same = generator.normal(size=(20, 2))

    assert label_swap_p(same, same.copy(), mean_difference, generator=generator).p == 1


def test_equal_statistics_count_as_equal_whatever_their_last_digit(generator):
    first, second = np.array([0.1, 0.2, -0.3, 0.6]), np.zeros(4)

    swap = label_swap_p(first, second, mean_difference, generator=generator)

    # Sums +-.1 +-.2 +-.3 +-.6 of at least .6: 1.2, 1, .8, and twice .6, which floats tell apart.
    assert 0.1 + 0.2 - 0.3 + 0.6 != -0.1 - 0.2 + 0.3 + 0.6
    assert swap.p == pytest.approx(2 * 5 / 16)


def test_the_test_errs_no_more_often_than_it_says(generator):
    studies = generator.standard_t(4, size=(600, 2, 8, 2))

    p = np.array(
        [label_swap_p(*study, log_spread_ratio, generator=generator).p for study in studies]
    )

    assert (p <= 0.1).mean() < 0.1 + 3 * math.sqrt(0.1 * 0.9 / 600)
    assert (p <= 0.1).mean() > 0.1 - 4 * math.sqrt(0.1 * 0.9 / 600)


def test_configurations_with_a_gap_in_either_arm_are_left_out(generator):
    first, second = generator.normal(size=(2, 6, 2))
    gaps = first.copy(), second.copy()
    gaps[0][0, 1], gaps[1][3, 0] = np.nan, np.inf
    kept = [1, 2, 4, 5]

    swap = label_swap_p(*gaps, mean_difference, generator=generator)

    assert swap == label_swap_p(first[kept], second[kept], mean_difference, generator=generator)
    assert swap.configurations == 4


def test_nothing_to_swap_has_no_p(generator):
    nothing = np.full((3, 2), np.nan)

    swap = label_swap_p(nothing, nothing, mean_difference, generator=generator)

    assert np.isnan([swap.p, swap.smallest]).all()
    assert swap.configurations == 0


def test_a_statistic_without_a_value_for_some_swap_has_no_p(generator):
    first, second = generator.normal(size=(2, 4))

    def sometimes(one, other):
        return np.where(one[:, 0] == second[0], np.nan, mean_difference(one, other))

    assert math.isnan(label_swap_p(first, second, sometimes, generator=generator).p)


def test_many_swaps_are_handled_in_parts(generator):
    sizes = []
    first, second = generator.normal(size=(2, 64, 50))

    def counted(one, other):
        sizes.append(one.size)
        return mean_difference(one, other)

    label_swap_p(first, second, counted, generator=generator, draws=300)

    assert 1 < len(sizes) < 301
    assert max(sizes) * 64 <= 4_000_000  # a rank statistic compares every configuration with all
    assert sum(sizes) == 301 * first.size


# --- centred and scaled ---


def test_every_epoch_is_centred_and_scaled_over_configurations_and_seeds(generator):
    scores = generator.normal(size=(6, 2, 3)) * [1, 2, 3] + [4, 5, 6]

    result = centred_and_scaled(scores)

    expected = stats.zscore(scores.reshape(12, 3), axis=0).reshape(6, 2, 3)
    assert result == pytest.approx(expected)
    assert centred_and_scaled(scores[:, 0, 0]) == pytest.approx(stats.zscore(scores[:, 0, 0]))
    assert centred_and_scaled(scores, scale=False) == pytest.approx(scores - scores.mean((0, 1)))


def test_gaps_stay_gaps(generator):
    scores = generator.normal(size=(6, 2))
    scores[2, 1], scores[3, 0] = np.nan, np.inf

    result = centred_and_scaled(scores)

    expected = stats.zscore(np.where(np.isfinite(scores), scores, np.nan), None, nan_policy="omit")
    assert result == pytest.approx(expected, nan_ok=True)
    assert np.isnan(centred_and_scaled(np.full((2, 2), np.nan))).all()
    assert centred_and_scaled(np.empty((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_constant_scores_become_zero(value, scale):
    assert (centred_and_scaled(np.full((7, 3), value), scale=scale) == 0).all()


# --- blocks of time ---


def block_sums(truth, decoded):
    """(blocks, series, bars) of one trial as sums, (blocks, series, 6)."""
    parts = [np.ones_like(truth), truth, decoded, truth**2, decoded**2, truth * decoded]
    return np.stack([part.sum(axis=-1) for part in parts], axis=-1)


def recorded(generator, *, trials=3, blocks=12, series=2, bars=20):
    """Bars of some trials, (trials, blocks, series, bars), and their sums."""
    truth = generator.normal(size=(blocks, series, bars)) + 0.5
    noise = generator.normal(size=(trials, blocks, series, bars))
    decoded = truth * np.linspace(0.2, 2, trials)[:, None, None, None] + noise
    return truth, decoded, np.stack([block_sums(truth, one) for one in decoded])


def pooled_correlation(truth, decoded):
    """Of one trial, by numpy, from all its bars."""
    pairs = zip(np.moveaxis(truth, 1, 0), np.moveaxis(decoded, 1, 0), strict=True)
    return np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in pairs])


def test_sums_give_the_correlation_of_all_their_bars(generator):
    truth, decoded, sums = recorded(generator)

    correlations = correlation_from_sums(sums.sum(axis=1))

    assert correlations == pytest.approx([pooled_correlation(truth, one) for one in decoded])


def test_a_series_without_variance_counts_zero_whatever_the_rounding(generator):
    constants = np.concatenate([[0.0], generator.normal(size=50)])[:, None, None, None]
    varying = generator.normal(size=(51, 4, 1, 1000))
    constant = np.broadcast_to(constants, varying.shape)

    for truth, decoded in [(varying, constant), (constant, varying), (constant, constant)]:
        sums = block_sums(truth, decoded).sum(axis=1)
        assert (correlation_from_sums(sums) == 0).all()


def test_a_series_that_counts_zero_is_part_of_the_mean(generator):
    truth = generator.normal(size=(4, 2, 50))
    decoded = truth * [[1], [0]]

    assert correlation_from_sums(block_sums(truth, decoded).sum(axis=0)) == pytest.approx(0.5)
    assert correlation_from_sums(np.zeros((2, 6))) == 0


def test_resampled_blocks_are_those_of_the_bars_themselves(generator):
    truth, decoded, sums = recorded(generator)
    seen = []

    def keep(correlations):
        seen.append(correlations)
        return correlations[:, 2] - correlations[:, 0]

    interval = block_bootstrap(sums, keep, generator=np.random.default_rng(5), resamples=50)

    counts = np.random.default_rng(5).multinomial(12, [1 / 12] * 12, size=50)
    expected = [
        [pooled_correlation(np.repeat(truth, n, 0), np.repeat(one, n, 0)) for one in decoded]
        for n in counts
    ]
    assert np.concatenate(seen[1:]) == pytest.approx(np.array(expected))
    differences = np.array(expected)[:, 2] - np.array(expected)[:, 0]
    assert (interval.low, interval.high) == pytest.approx(np.quantile(differences, [0.025, 0.975]))
    whole = [pooled_correlation(truth, one) for one in decoded]
    assert interval.estimate == pytest.approx(whole[2] - whole[0])
    assert (interval.blocks, interval.reason) == (12, "")


def test_an_interval_covers_the_true_correlation(generator):
    covered = []
    for _ in range(150):
        truth = generator.normal(size=(32, 1, 30))
        decoded = truth + generator.normal(size=truth.shape)
        interval = block_bootstrap(
            block_sums(truth, decoded)[None],
            lambda r: r[:, 0],
            generator=generator,
            resamples=300,
        )
        covered.append(interval.low <= math.sqrt(0.5) <= interval.high)

    # 3 Monte-Carlo errors of .95 at 150 are .053; with 32 blocks percentiles lose some .02.
    assert np.mean(covered) > 0.95 - 0.053 - 0.02


def test_a_smaller_error_rate_widens_the_interval(generator):
    _, _, sums = recorded(generator)

    usual, wide = (
        block_bootstrap(
            sums, lambda r: r.mean(axis=1), generator=np.random.default_rng(1), error_rate=rate
        )
        for rate in (0.05, 0.01)
    )

    assert wide.low < usual.low < usual.estimate < usual.high < wide.high


def test_below_ten_blocks_there_is_no_interval_and_a_reason(generator):
    _, _, sums = recorded(generator, blocks=12)
    sums[:, 9:] = 0  # blocks in which nothing was scored

    interval = block_bootstrap(sums, lambda r: r[:, 0], generator=generator)

    assert interval.reason == "9 blocks of validation time, at least 10 are needed"
    assert interval.estimate == pytest.approx(correlation_from_sums(sums[0].sum(axis=0)))
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize("shape", [(0, 12, 2, 6), (3, 0, 2, 6), (3, 12, 2, 6)])
def test_without_scored_bars_there_is_a_reason(generator, shape):
    interval = block_bootstrap(np.zeros(shape), lambda r: r[:, 0], generator=generator)

    assert interval.reason == "no scored bars are recorded"
    assert np.isnan([interval.estimate, interval.low, interval.high]).all()


def test_a_diverged_trial_counts_zero(generator):
    _, _, sums = recorded(generator)
    sums[1, 3, :, 2:] = [np.nan, np.inf, np.inf, np.nan]

    interval = block_bootstrap(sums, lambda r: r[:, 1], generator=generator)

    assert interval[:3] == (0, 0, 0)


def test_a_statistic_without_a_value_has_no_interval(generator):
    _, _, sums = recorded(generator)

    def sometimes(correlations):
        return np.where(np.arange(len(correlations)) == 7, np.nan, correlations[:, 0])

    interval = block_bootstrap(sums, sometimes, generator=generator, resamples=20)

    assert interval.reason == "undefined in 1 of 20 samples of blocks"
    assert math.isnan(interval.low)
    assert math.isfinite(interval.estimate)


# --- counts and many tests ---


def test_only_pairs_that_differ_count_for_mcnemar():
    first = np.array([True] * 9 + [False] * 3 + [True] * 20)
    second = np.array([False] * 8 + [True] * 2 + [False] * 2 + [True] * 20)

    # 8 pairs diverged in the first arm only, 1 in the second only.
    expected = 2 * sum(math.comb(9, k) for k in (0, 1)) / 2**9
    assert mcnemar_p(first, second) == pytest.approx(expected)
    assert mcnemar_p(second, first) == pytest.approx(expected)


@pytest.mark.parametrize("outcome", [True, False])
def test_arms_that_diverge_alike_do_not_differ(outcome):
    same = np.full((4, 2), outcome)

    assert mcnemar_p(same, same) == 1


def test_holm_multiplies_the_smallest_most():
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))

    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        pytest.param([0.01, 0.01], [0.02, 0.02], id="ties"),
        pytest.param([0.6, 0.9], [1.0, 1.0], id="at most 1"),
        pytest.param([0.2], [0.2], id="one"),
        pytest.param([], [], id="none"),
        pytest.param([math.nan, 0.01, 0.02], [math.nan, 0.03, 0.04], id="one not made"),
    ],
)
def test_holm_of_few_or_equal_p_values(p_values, adjusted):
    assert holm(np.array(p_values)).tolist() == pytest.approx(adjusted, nan_ok=True)
