"""Label swaps, block bootstrap, McNemar and Holm, against scipy and brute force."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from made_runs import EARLY, HORIZON, arm_scores, drawn_arm, scores_of, study_tables
from scipy import stats

from stage1.claims.robustness import (
    block_bootstrap,
    block_intervals,
    centred_and_scaled,
    correlation_from_sums,
    holm,
    label_swap_p,
    label_swaps,
    left_out,
)


def mean_difference(first, second):
    return (first - second).reshape(len(first), -1).mean(axis=1)


# --- label swap ---


def scipys_p(first, second, **options):
    return stats.permutation_test(
        (first, second),
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        **options,
    ).pvalue


@pytest.mark.parametrize("count", [2, 7, 14])
def test_an_exact_swap_of_means_is_scipys(generator, count):
    first, second = generator.normal([[0.5], [0]], 1, size=(2, count))

    swap = label_swap_p(first, second, mean_difference, generator=generator)

    assert swap.p == pytest.approx(scipys_p(first, second, n_resamples=np.inf))
    assert (swap.exact, swap.configurations) == (True, count)


def test_a_drawn_swap_of_means_is_near_scipys(generator):
    first, second = generator.normal([[0.4], [0]], 1, size=(2, 30))

    swap = label_swap_p(first, second, mean_difference, generator=generator)

    expected = scipys_p(first, second, rng=np.random.default_rng(1))
    # Each is twice a count of 5,000 or 10,000 draws.
    error = 2 * math.sqrt(expected / 2 * (1 / 5000 + 1 / 10000))
    assert swap.p == pytest.approx(expected, abs=4 * error)
    assert not swap.exact


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


def test_equal_statistics_count_as_equal_whatever_their_last_digit(generator):
    first, second = np.array([0.1, 0.2, -0.3, 0.6]), np.zeros(4)

    swap = label_swap_p(first, second, mean_difference, generator=generator)

    # Sums +-.1 +-.2 +-.3 +-.6 of at least .6: 1.2, 1, .8, and twice .6, which floats tell apart.
    assert 0.1 + 0.2 - 0.3 + 0.6 != -0.1 - 0.2 + 0.3 + 0.6
    assert swap.p == pytest.approx(2 * 5 / 16)


def test_the_test_errs_no_more_often_than_it_says(generator):
    studies = generator.standard_t(4, size=(600, 2, 8, 2))

    def log_spread_ratio(*arms):  # of the configurations' means over seeds
        return np.log(np.divide(*(arm.mean(axis=2).std(axis=1) for arm in arms)))

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
    nothing = label_swap_p(np.nan * first, second, mean_difference, generator=generator)

    assert swap == label_swap_p(first[kept], second[kept], mean_difference, generator=generator)
    assert swap.configurations == 4
    assert np.isnan([nothing.p, nothing.smallest]).all()
    assert nothing.configurations == 0


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


def test_sums_give_the_mean_correlation_of_all_their_bars(generator):
    truth, decoded, sums = recorded(generator)
    one_constant = block_sums(truth, truth * [[1], [0]])  # a series that counts 0

    correlations = correlation_from_sums(sums.sum(axis=1))

    assert correlations == pytest.approx([pooled_correlation(truth, one) for one in decoded])
    assert correlation_from_sums(one_constant.sum(axis=0)) == pytest.approx(0.5)
    assert correlation_from_sums(np.zeros((2, 6))) == 0


def test_a_series_without_variance_counts_zero_whatever_the_rounding(generator):
    constants = np.concatenate([[0.0], generator.normal(size=50)])[:, None, None, None]
    varying = generator.normal(size=(51, 4, 1, 1000))
    constant = np.broadcast_to(constants, varying.shape)

    for truth, decoded in [(varying, constant), (constant, varying), (constant, constant)]:
        sums = block_sums(truth, decoded).sum(axis=1)
        assert (correlation_from_sums(sums) == 0).all()


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


def test_below_ten_blocks_or_without_a_value_there_is_no_interval_and_a_reason(generator):
    _, _, sums = recorded(generator, blocks=12)
    few = sums.copy()
    few[:, 9:] = 0  # blocks in which nothing was scored

    def sometimes(correlations):
        return np.where(np.arange(len(correlations)) == 7, np.nan, correlations[:, 0])

    below_ten = block_bootstrap(few, lambda r: r[:, 0], generator=generator)
    undefined = block_bootstrap(sums, sometimes, generator=generator, resamples=20)

    assert below_ten.reason == "9 blocks of validation time, at least 10 are needed"
    assert undefined.reason == "undefined in 1 of 20 samples of blocks"
    for interval, used in ((below_ten, few), (undefined, sums)):
        assert interval.estimate == pytest.approx(correlation_from_sums(used[0].sum(axis=0)))
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


# --- many tests ---


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        pytest.param([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02], id="by hand"),
        pytest.param([0.01, 0.01], [0.02, 0.02], id="ties"),
        pytest.param([0.6, 0.9], [1.0, 1.0], id="at most 1"),
        pytest.param([0.2], [0.2], id="one"),
        pytest.param([], [], id="none"),
        pytest.param([math.nan, 0.01, 0.02], [math.nan, 0.03, 0.04], id="one not made"),
    ],
)
def test_holm_multiplies_the_smallest_most(p_values, adjusted):
    assert holm(np.array(p_values)).tolist() == pytest.approx(adjusted, nan_ok=True)


PAIR = ("pretrained", "random")


@pytest.fixture
def arms():
    generator = np.random.default_rng(2)
    return [
        drawn_arm(generator, configurations=6, mean=mean, noise=noise)
        for mean, noise in ((0.52, 0.02), (0.5, 0.01))
    ]


def p_of(words):
    return float(re.match(r"p = ([\d.e+-]+) ", words).group(1))


def swapped_p(first, second, statistic):
    """Brute force over all exchanges of the arms: twice the smaller tail."""
    values = []
    for swap in itertools.product([False, True], repeat=len(first)):
        exchanged = np.array(swap).reshape(-1, *[1] * (first.ndim - 1))
        ours, theirs = np.where(exchanged, second, first), np.where(exchanged, first, second)
        values.append(statistic(ours) - statistic(theirs))
    below = np.mean(np.array(values) <= values[0] + 1e-9)
    above = np.mean(np.array(values) >= values[0] - 1e-9)
    return min(2 * min(below, above), 1)


# --- label swaps in words ---


@pytest.mark.parametrize(("claim", "field"), [("2", "early"), ("3", "final")])
def test_the_swap_of_a_gain_is_scipys_of_mean_differences(arms, claim, field):
    words = label_swaps(*arms, arms[1])[claim]

    means = [getattr(arm, field).mean(axis=1) for arm in arms]
    assert p_of(words) == pytest.approx(scipys_p(*means, n_resamples=np.inf), rel=5e-3)
    assert "exact" in words
    assert "smallest possible 0.031" in words  # 2 of 64


def test_the_swap_of_sensitivity_is_of_what_tuning_is_worth_in_centred_arms(arms):
    wider = arms[0]._replace(log_loss=4 * arms[0].log_loss + 3)

    words = label_swaps(wider, arms[1], None)["1"]

    centred = [arm.log_loss.mean() - arm.log_loss.mean(axis=1) for arm in (wider, arms[1])]

    def log_gap(scores):
        samples = map(sorted, itertools.combinations(scores, 3))
        return math.log(sum(best - middle for _, middle, best in samples))

    assert p_of(words) == pytest.approx(swapped_p(*centred, log_gap), rel=5e-3)
    assert p_of(words) < 1


@pytest.mark.parametrize(("configurations", "unseen"), [(16, "17%"), (32, "9%"), (64, "5%")])
def test_what_the_gap_does_not_feel_is_said_beside_it(generator, configurations, unseen):
    arm = drawn_arm(generator, configurations=configurations)

    line = left_out(arm, arm)["1"]

    assert "a rare cliff alone moves it little" in line
    assert f"rarer than 1 - .05^(1/N) = {unseen} of the configurations go unseen" in line


def test_the_swap_of_stability_is_of_variances_over_seeds(arms):
    words = label_swaps(*arms, arms[1])["4"]

    losses = [arm.log_loss for arm in arms]
    expected = swapped_p(*losses, lambda scores: math.log(scores.var(axis=1, ddof=1).sum()))
    assert p_of(words) == pytest.approx(expected, rel=5e-3)


def test_the_swap_of_early_signal_is_of_taus_of_standardised_scores(arms):
    other = arms[0]._replace(early=arms[0].early[::-1] + 7)  # another level must not matter

    words = label_swaps(other, arms[1], None)["5"]

    def standardised(scores):
        return (scores - scores.mean()) / scores.std()

    def tau(both):
        pairs = itertools.permutations(range(2), 2)
        return np.mean([stats.kendalltau(both[:, s, 0], both[:, t, 1]).statistic for s, t in pairs])

    both = [
        np.stack([standardised(arm.early), standardised(arm.final)], axis=-1)
        for arm in (other, arms[1])
    ]
    assert p_of(words) == pytest.approx(swapped_p(*both, tau), rel=5e-3)


def test_p_values_are_adjusted_for_their_number_by_holm(arms):
    lines = label_swaps(*arms, arms[1])

    plain = sorted(p_of(words) for words in lines.values())
    adjusted = sorted(float(words.split("Holm ")[1].rstrip(")")) for words in lines.values())
    steps = np.maximum.accumulate(np.array(plain) * [5, 4, 3, 2, 1])
    assert adjusted == pytest.approx(np.minimum(steps, 1), rel=0.01)


def test_many_configurations_are_swapped_at_random_and_with_one_seed_gains_and_the_gap(generator):
    single = [drawn_arm(generator, configurations=5, seeds=1) for _ in range(2)]
    arms = [drawn_arm(generator, configurations=15, mean=mean) for mean in (0.6, 0.5)]

    lines = label_swaps(*arms, arms[1])

    assert "random swaps; smallest possible 0.0004" in lines["3"]
    assert p_of(lines["3"]) == pytest.approx(0.0004)
    assert set(label_swaps(*single, None)) == {"1", "2", "3"}


@pytest.mark.parametrize("value", [0.5, math.nan])
def test_constant_or_absent_scores_are_no_reason_to_fail(value):
    arm = arm_scores(np.full((6, 2), value))

    lines = label_swaps(arm, arm, arm)

    expected = "not available" if math.isnan(value) else "p = 1 "
    assert all(words.startswith(expected) for words in lines.values())


# --- blocks of validation time in words ---


@pytest.fixture
def study():
    generator = np.random.default_rng(0)
    return study_tables({name: drawn_arm(generator, configurations=3) for name in PAIR})


def lines_of(tables, correlation, *, keep=lambda rows: rows, blocks=12, error_rate=0.05):
    """Block lines where every block's own correlation is given.

    Args:
        tables: Of the study.
        correlation: Takes a trial's row and the epoch, gives one number or one per block.
        keep: Which rows of the blocks are recorded.
    """
    n, rows = 50, []
    for _, trial in tables.trials.iterrows():
        identity = trial[["trial_id", "stage", "arm", "config_id", "seed"]].to_dict()
        for epoch in (EARLY, HORIZON):
            by_block = np.broadcast_to(correlation(trial, epoch), blocks)
            rows += [
                identity
                | {"epoch": epoch, "timeframe": "m1", "channel": "close", "block": block}
                | {"n": n, "sum_truth": 0.0, "sum_decoded": 0.0, "sum_product": n * r}
                | {"sum_truth_squared": float(n), "sum_decoded_squared": float(n)}
                for block, r in enumerate(by_block)
            ]
    recorded = keep(pd.DataFrame(rows))
    return block_intervals(recorded, scores_of(tables), PAIR, error_rate=error_rate)


def test_blocks_that_all_say_the_same_leave_no_doubt(study):
    lines = lines_of(
        study, lambda row, epoch: (0.5 if row["arm"] == "random" else 0.6) * epoch / HORIZON
    )

    words = "+20.0% to +20.0% over 12 blocks of validation time"
    assert lines == {"2": words, "3": words}


def test_the_interval_is_that_of_resampled_blocks(study):
    generator = np.random.default_rng(1)
    by_arm = {name: 0.5 + 0.1 * generator.normal(size=16) for name in PAIR}

    lines = lines_of(study, lambda row, epoch: by_arm[row["arm"]], blocks=16, error_rate=0.1)

    # Equal blocks: a resampled correlation is the mean of the drawn blocks' own.
    drawn = generator.integers(16, size=(40_000, 16))
    ours, theirs = (by_arm[name][drawn].mean(axis=1) for name in PAIR)
    low, high = np.quantile(ours / theirs - 1, [0.05, 0.95])
    ends = [float(number) / 100 for number in re.findall(r"([+-][\d.]+)%", lines["3"])]
    assert ends == pytest.approx((low, high), abs=0.1 * (high - low))


def test_a_diverged_trial_without_blocks_counts_zero(study):
    study.trials.loc[0, "status"] = "diverged"
    gone = study.trials.loc[0, "trial_id"]
    assert study.trials.loc[0, "arm"] == "pretrained"

    lines = lines_of(
        study, lambda row, epoch: 0.5, keep=lambda rows: rows[rows["trial_id"] != gone]
    )

    assert lines["3"].startswith("-16.7% to -16.7%")  # 5 of 6 trials


def test_trials_that_do_not_count_are_not_in_the_blocks():
    generator = np.random.default_rng(0)
    arms = {name: drawn_arm(generator, configurations=3) for name in PAIR}
    arms["pretrained"].final[0, 0] = math.nan  # failed: the pair is out of both arms
    study = study_tables(arms, configurations=2)

    def correlation(row, epoch):
        out = row["config_id"] == "design002" or row["trial_id"] == "design-000-random-1"
        return 0.9 if out else {"pretrained": 0.6, "random": 0.5}[row["arm"]]

    assert lines_of(study, correlation)["3"].startswith("+20.0% to +20.0%")


@pytest.mark.parametrize("arm", [None, "random", "pretrained"])
def test_without_blocks_of_both_arms_or_a_correlation_in_each_there_is_no_interval(study, arm):
    lines = lines_of(study, lambda row, epoch: 0.5, keep=lambda rows: rows[rows["arm"] == arm])
    of_zero = lines_of(study, lambda row, epoch: 0.5 * (row["arm"] == "pretrained"))

    assert set(lines.values()) == {"not available: no sums per block are recorded"}
    assert all(words.startswith("not available: undefined") for words in of_zero.values())
