"""What tuning buys, against published tables, enumeration and scipy."""

from __future__ import annotations

import math
from itertools import combinations, product
from statistics import mean, median

import numpy as np
import pytest
from scipy import stats

from stage1.claims.tuning import (
    expected_best,
    expected_best_band,
    lr_sensitivity,
    median_regret,
    sample_size,
    select_on_one_seed,
    share_near_best,
)

TIED = np.array([0.5, 0.9, 0.7, 0.7, 0.2])
EVEN = np.array([0.1, 0.2, 0.3, 0.4])


def test_the_expected_best_is_tangs_without_and_dodges_with_replacement():
    even = expected_best(EVEN, draws=4, replacement=True)
    tied = expected_best(TIED, draws=3, replacement=True)

    assert expected_best(EVEN, draws=4) == pytest.approx([0.25, 1 / 3, 0.375, 0.4])
    assert expected_best(TIED, draws=3)[1:] == pytest.approx([0.76, 0.82])
    assert even == pytest.approx([0.25, 0.3125, 0.34375, 0.36171875])
    assert tied[1:] == pytest.approx([0.728, 0.7824])


def test_the_expected_best_is_the_mean_over_all_that_could_be_drawn(generator):
    scores = generator.normal(size=7)
    subsets = [mean(map(max, combinations(scores, n))) for n in range(1, 8)]
    sequences = [mean(map(max, product(scores, repeat=n))) for n in range(1, 5)]

    assert expected_best(scores, draws=7) == pytest.approx(subsets)
    assert expected_best(scores, draws=4, replacement=True) == pytest.approx(sequences)


def test_the_expected_best_stays_exact_with_thousands_of_configurations():
    scores = np.arange(1.0, 4097.0)

    best = expected_best(scores, draws=1024)

    n = np.arange(1, 1025)  # the expected maximum of n of the numbers 1 .. N
    assert best == pytest.approx(n * (4096 + 1) / (n + 1), rel=1e-9)


def test_scores_that_are_not_finite_are_no_draws():
    gaps = np.array([np.nan, 0.1, 0.2, -np.inf, 0.3, 0.4])

    assert expected_best(gaps, draws=4) == pytest.approx(expected_best(EVEN, draws=4))
    with pytest.raises(ValueError, match=r"draws must be in 1 \.\. 4, .* got 5"):
        expected_best(gaps, draws=5)


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("draws", [0, 5])
def test_more_draws_than_scores_are_refused(replacement, draws):
    with pytest.raises(ValueError, match=rf"draws must be in 1 \.\. 4, .* got {draws}"):
        expected_best(EVEN, draws=draws, replacement=replacement)


def test_constant_scores_gain_nothing(generator):
    same = np.full(8, 0.3)

    band = expected_best_band(same, draws=2, generator=generator)

    assert np.stack(band) == pytest.approx(np.full((3, 2), 0.3))


def test_the_band_of_one_draw_is_that_of_the_mean(generator):
    scores = generator.normal(size=64)
    others = np.random.default_rng(1)

    band = expected_best_band(scores, draws=16, generator=generator, resamples=4000)

    reference = stats.bootstrap((scores,), np.mean, method="percentile", rng=others)
    ends = reference.confidence_interval
    # Each end is a quantile of some thousand samples: its own error is about 4 % of the width.
    error = 0.04 * (ends.high - ends.low)
    assert (band.low[0], band.high[0]) == pytest.approx(ends, abs=3 * error)
    assert band.estimate == pytest.approx(expected_best(scores, draws=16))
    assert (band.low < band.estimate).all()
    assert (band.high > band.estimate).all()


def test_a_band_covers_the_true_expected_best_as_often_as_it_says(generator):
    uniform = np.arange(1, 9) / np.arange(2, 10)  # n / (n + 1), of uniform scores
    covered = []
    for _ in range(200):
        scores = generator.random(64)
        band = expected_best_band(scores, draws=8, generator=generator, resamples=300)
        covered.append((band.low <= uniform) & (uniform <= band.high))

    # 3 Monte-Carlo errors of .95 at 200 studies are .046; percentile ends lose some .02 more.
    assert np.mean(covered, axis=0).min() > 0.95 - 0.046 - 0.02


def test_one_configuration_has_an_expected_best_and_no_band(generator):
    band = expected_best_band(np.array([0.5]), draws=1, generator=generator)

    assert band.estimate.tolist() == [0.5]
    assert np.isnan([band.low, band.high]).all()


def test_the_median_configuration_regrets_what_it_lacks_to_the_best_if_there_is_a_score():
    scores = np.array([*TIED, np.nan])

    assert median_regret(scores) == pytest.approx(0.9 - median(TIED))
    assert median_regret(np.array([0.5])) == 0
    assert math.isnan(median_regret(np.array([np.nan])))
    assert math.isnan(share_near_best(np.array([np.nan]), delta=0.1))


@pytest.mark.parametrize(("delta", "share"), [(0.0, 1 / 5), (0.25, 3 / 5), (1.0, 1.0)])
def test_the_share_near_the_best_counts_the_best(delta, share):
    assert share_near_best(np.array([np.nan, *TIED]), delta=delta) == pytest.approx(share)


@pytest.mark.parametrize("diverged", [np.inf, np.nan, 3.0])
def test_a_diverged_rate_counts_as_the_initial_loss(diverged):
    losses = np.array([1.0, 0.5, 0.7, diverged])

    assert lr_sensitivity(losses, initial_loss=2.0) == pytest.approx(0.55)


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param([0.5, 0.5], id="all equal"),
        pytest.param([0.5], id="one rate"),
        pytest.param([np.nan, np.inf], id="all diverged"),
    ],
)
def test_rates_as_good_as_each_other_have_no_sensitivity(losses):
    assert lr_sensitivity(np.array(losses), initial_loss=2.0) == 0


def test_an_empty_ladder_has_no_sensitivity_and_an_initial_loss_that_is_no_number_is_refused():
    assert math.isnan(lr_sensitivity(np.array([]), initial_loss=2.0))
    with pytest.raises(ValueError, match="initial_loss must be finite, got nan"):
        lr_sensitivity(np.array([1.0]), initial_loss=math.nan)


def test_the_choice_of_one_seed_is_scored_on_the_others():
    scores = np.array([[0.9, 0.2, 0.3], [0.5, 0.8, 0.4], [0.1, 0.3, 0.7]])

    # Seed 1 chooses the first row, seed 2 the second, seed 3 the third.
    assert select_on_one_seed(scores) == pytest.approx(mean([0.2, 0.3, 0.5, 0.4, 0.1, 0.3]))


def test_tied_best_configurations_count_equally_and_one_without_a_score_is_not_chosen():
    tied = np.array([[0.9, 0.2], [0.9, 0.6], [0.1, 0.1]])
    gappy = np.array([[0.5, 0.4], [np.nan, 0.9], [0.9, np.inf]])

    assert select_on_one_seed(tied) == pytest.approx(mean([mean([0.2, 0.6]), 0.9]))
    assert select_on_one_seed(gappy) == pytest.approx(mean([0.4, 0.5]))


def test_choosing_among_equals_gains_nothing_on_average(generator):
    noise = generator.normal(size=(2000, 16, 2))  # the best of 16 looks 1.77 better than it is

    chosen = [select_on_one_seed(study) for study in noise]

    assert np.mean(chosen) == pytest.approx(0, abs=4 * math.sqrt(1 / 2 / 2000))


@pytest.mark.parametrize("shape", [(4, 1), (0, 2)])
def test_no_other_seed_and_no_configuration_have_no_choice(shape):
    assert math.isnan(select_on_one_seed(np.zeros(shape)))


@pytest.mark.parametrize(
    ("probability", "per_arm", "pairs"), [(0.75, 29, 44), (0.7, 46, 68), (0.65, 81, 121)]
)
def test_sample_sizes_are_noethers(probability, per_arm, pairs):
    for either in (probability, 1 - probability):
        assert sample_size(either, paired=False) == per_arm
        assert sample_size(either, paired=True) == pairs


def test_the_sign_tests_sample_size_has_its_power():
    pairs = sample_size(0.65, paired=True)

    critical = stats.binom.isf(0.05, pairs, 0.5)
    # Noether's normal approximation leaves some hundredths at this size.
    assert stats.binom.sf(critical, pairs, 0.65) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("probability", [0.5, -0.1, 1.1, math.nan])
def test_no_sample_size_shows_nothing(probability):
    with pytest.raises(ValueError, match=r"probability must be in \[0, 1\] and not \.5, got"):
        sample_size(probability, paired=True)
