"""Label swaps and blocks of validation time, in words; against scipy and brute force."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from score_tables import EARLY, HORIZON, arm_scores, drawn_arm, study_tables

from stage1.claims.scores import design_scores
from stage1.claims.second_opinions import block_intervals, label_swaps
from stage1.claims.spread import noise_corrected_variance

PAIR = ("pretrained", "random")
CONFIGURATIONS = 6


@pytest.fixture
def arms():
    generator = np.random.default_rng(2)
    return [
        drawn_arm(generator, configurations=CONFIGURATIONS, mean=mean, noise=noise)
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


# --- label swaps ---


def test_the_five_claims_about_scores_have_a_label_swap(arms):
    assert set(label_swaps(*arms)) == {
        "sensitivity",
        "early gain",
        "gain at the horizon",
        "stability",
        "early signal",
    }


@pytest.mark.parametrize(("claim", "field"), [("early gain", 0), ("gain at the horizon", 1)])
def test_the_swap_of_a_gain_is_scipys_of_mean_differences(arms, claim, field):
    words = label_swaps(*arms)[claim]

    means = [arm[field].mean(axis=1) for arm in arms]
    test = stats.permutation_test(
        means,
        lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert p_of(words) == pytest.approx(test.pvalue, rel=5e-3)
    assert "exact" in words
    assert "smallest possible 0.031" in words  # 2 of 64


def test_the_swap_of_sensitivity_is_of_centred_noise_free_spreads(arms):
    wider = arms[0]._replace(log_loss=4 * arms[0].log_loss + 3)

    words = label_swaps(wider, arms[1])["sensitivity"]

    centred = [arm.log_loss - arm.log_loss.mean() for arm in (wider, arms[1])]

    def log_variance(scores):  # one that is all noise counts as a hundredth of what is seen
        floor = 0.01 * scores.mean(axis=1).var()
        return math.log(max(noise_corrected_variance(scores), floor))

    assert p_of(words) == pytest.approx(swapped_p(*centred, log_variance), rel=5e-3)
    assert p_of(words) < 0.5


def test_the_swap_of_stability_is_of_variances_over_seeds(arms):
    words = label_swaps(*arms)["stability"]

    losses = [arm.log_loss for arm in arms]
    expected = swapped_p(*losses, lambda scores: math.log(scores.var(axis=1, ddof=1).sum()))
    assert p_of(words) == pytest.approx(expected, rel=5e-3)


def test_the_swap_of_early_signal_is_of_taus_of_standardised_scores(arms):
    other = arms[0]._replace(early=arms[0].early[::-1] + 7)  # another level must not matter

    words = label_swaps(other, arms[1])["early signal"]

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
    lines = label_swaps(*arms)

    plain = sorted(p_of(words) for words in lines.values())
    adjusted = sorted(float(words.split("Holm ")[1].rstrip(")")) for words in lines.values())
    steps = np.maximum.accumulate(np.array(plain) * [5, 4, 3, 2, 1])
    assert adjusted == pytest.approx(np.minimum(steps, 1), rel=0.01)


def test_with_one_seed_only_gains_have_a_label_swap():
    generator = np.random.default_rng(0)
    arms = [drawn_arm(generator, configurations=5, seeds=1) for _ in range(2)]

    assert set(label_swaps(*arms)) == {"early gain", "gain at the horizon"}


def test_many_configurations_are_swapped_at_random():
    generator = np.random.default_rng(0)
    arms = [drawn_arm(generator, configurations=15, mean=mean) for mean in (0.6, 0.5)]

    lines = label_swaps(*arms)

    assert "random swaps; smallest possible 0.0004" in lines["gain at the horizon"]
    assert p_of(lines["gain at the horizon"]) == pytest.approx(0.0004)


@pytest.mark.parametrize("value", [0.5, math.nan])
def test_constant_or_absent_scores_are_no_reason_to_fail(value):
    arm = arm_scores(np.full((6, 2), value))

    lines = label_swaps(arm, arm)

    expected = "not available" if math.isnan(value) else "p = 1 "
    assert all(words.startswith(expected) for words in lines.values())


# --- blocks of validation time ---


def block_rows(correlations, *, blocks, n=50):
    """Sums per block of which every block's own correlation is given.

    Args:
        correlations: (trial_id, arm, config_id, seed, epoch) to correlations by block.
    """
    rows = []
    for (trial_id, arm, config_id, seed, epoch), by_block in correlations.items():
        for block, correlation in enumerate(np.broadcast_to(by_block, blocks)):
            rows.append(
                {
                    "trial_id": trial_id,
                    "stage": "design",
                    "arm": arm,
                    "config_id": config_id,
                    "seed": seed,
                    "epoch": epoch,
                    "timeframe": "m1",
                    "channel": "close",
                    "block": block,
                    "n": n,
                    "sum_truth": 0.0,
                    "sum_decoded": 0.0,
                    "sum_truth_squared": float(n),
                    "sum_decoded_squared": float(n),
                    "sum_product": n * correlation,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture
def study():
    generator = np.random.default_rng(0)
    return study_tables({name: drawn_arm(generator, configurations=3) for name in PAIR})


def scores_of(tables):
    return design_scores(tables.trials, tables.curves, tables.space, tables.registration)


def blocks_of(tables, correlation, *, blocks=12):
    """Blocks of every trial; `correlation` takes the trial's row and the epoch."""
    return block_rows(
        {
            (*row[["trial_id", "arm", "config_id", "seed"]], epoch): correlation(row, epoch)
            for _, row in tables.trials.iterrows()
            for epoch in (EARLY, HORIZON)
        },
        blocks=blocks,
    )


def test_blocks_that_all_say_the_same_leave_no_doubt(study):
    blocks = blocks_of(
        study, lambda row, epoch: (0.5 if row["arm"] == "random" else 0.6) * epoch / HORIZON
    )

    lines = block_intervals(blocks, scores_of(study), PAIR, error_rate=0.05)

    assert set(lines) == {"early gain", "gain at the horizon"}
    assert set(lines.values()) == {"+20.0% to +20.0% over 12 blocks of validation time"}


def test_the_interval_is_that_of_resampled_blocks(study):
    generator = np.random.default_rng(1)
    by_arm = {name: 0.5 + 0.1 * generator.normal(size=16) for name in PAIR}

    words = block_intervals(
        blocks_of(study, lambda row, epoch: by_arm[row["arm"]], blocks=16),
        scores_of(study),
        PAIR,
        error_rate=0.1,
    )["gain at the horizon"]

    # Equal blocks: a resampled correlation is the mean of the drawn blocks' own.
    drawn = generator.integers(16, size=(40_000, 16))
    ours, theirs = (by_arm[name][drawn].mean(axis=1) for name in PAIR)
    low, high = np.quantile(ours / theirs - 1, [0.05, 0.95])
    told = [float(number) / 100 for number in re.findall(r"([+-][\d.]+)%", words)]
    assert told == pytest.approx((low, high), abs=0.1 * (high - low))


@pytest.mark.parametrize(("blocks", "available"), [(9, False), (10, True)])
def test_below_ten_blocks_there_is_no_interval(study, blocks, available):
    rows = blocks_of(study, lambda row, epoch: 0.5, blocks=blocks)

    words = block_intervals(rows, scores_of(study), PAIR, error_rate=0.05)["gain at the horizon"]

    assert (not words.startswith("not available: 9 blocks")) is available


def test_a_diverged_trial_without_blocks_counts_zero():
    generator = np.random.default_rng(0)
    arms = {name: drawn_arm(generator, configurations=3) for name in PAIR}
    diverged = np.zeros((3, 2), dtype=bool)
    diverged[0, 0] = True
    study = study_tables(arms | {"pretrained": arms["pretrained"]._replace(diverged=diverged)})
    rows = blocks_of(study, lambda row, epoch: 0.5)
    rows = rows[rows["trial_id"] != "design-000-pretrained-1"]

    words = block_intervals(rows, scores_of(study), PAIR, error_rate=0.05)["gain at the horizon"]

    assert words.startswith("-16.7% to -16.7%")  # 5 of 6 trials


def test_trials_that_do_not_count_are_not_in_the_blocks():
    generator = np.random.default_rng(0)
    arms = {name: drawn_arm(generator, configurations=3) for name in PAIR}
    arms["pretrained"].final[0, 0] = math.nan  # failed: the pair is out of both arms
    study = study_tables(arms, configurations=2)

    def correlation(row, epoch):
        out = row["config_id"] == "design002" or row["trial_id"] == "design-000-random-1"
        return 0.9 if out else {"pretrained": 0.6, "random": 0.5}[row["arm"]]

    lines = block_intervals(blocks_of(study, correlation), scores_of(study), PAIR, error_rate=0.05)

    assert lines["gain at the horizon"].startswith("+20.0% to +20.0%")


@pytest.mark.parametrize("arm", [None, "random", "pretrained"])
def test_without_blocks_of_both_arms_there_is_no_interval(study, arm):
    rows = blocks_of(study, lambda row, epoch: 0.5)

    lines = block_intervals(rows[rows["arm"] == arm], scores_of(study), PAIR, error_rate=0.05)

    assert set(lines.values()) == {"not available: no sums per block are recorded"}


def test_an_arm_whose_correlation_is_zero_everywhere_has_no_ratio(study):
    rows = blocks_of(study, lambda row, epoch: 0.5 * (row["arm"] == "pretrained"))

    lines = block_intervals(rows, scores_of(study), PAIR, error_rate=0.05)

    assert all(words.startswith("not available: undefined") for words in lines.values())
