"""Made-up studies hold the truth that was planted in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_runs import arm_scores, write_synthetic_run
from scipy.stats import kendalltau, kurtosis

from stage1.base.errors import ResultsError
from stage1.claims.spread import noise_corrected_variance
from stage1.claims.synthetic import (
    ALIKE,
    BETTER_EARLY_RANKS,
    HIGHER_EARLY,
    HIGHER_FINAL,
    LESS_EARLY_ERROR,
    LESS_FINAL_ERROR,
    QUIETER_SEEDS,
    SMALLER_SPREAD,
    TYPICAL,
    ScoreModel,
    agreement_for,
    draw_studies,
    model_of,
    model_of_run,
    variation,
)

LARGE = ScoreModel(configurations=20_000, seeds=2)
CLOSE = 4 / math.sqrt(LARGE.configurations)
"""Four errors of a log standard deviation times root two; of a correlation too."""


def drawn(model=LARGE, planted=None, effect=0.0):
    first = planted.shape(model, effect) if planted else ALIKE
    (arms,) = draw_studies(model, first, studies=1, generator=np.random.default_rng(0))
    return arms


def sigma(scores):
    return math.sqrt(noise_corrected_variance(scores))


def noise(scores):
    return float(scores.var(axis=1, ddof=1).mean())


def test_the_comparison_arm_is_as_the_model_says_and_a_loss_falls_where_the_correlation_rises():
    first, second = drawn()

    assert second.early.mean() == pytest.approx(0.35, abs=0.002)
    assert second.final.mean() == pytest.approx(0.50, abs=0.002)
    assert sigma(second.final) == pytest.approx(0.04, rel=CLOSE)
    assert sigma(second.log_loss) == pytest.approx(0.20, rel=CLOSE)
    assert not second.diverged.any()
    assert np.corrcoef(first.final.ravel(), first.log_loss.ravel())[0, 1] == pytest.approx(-1)


def test_reliability_is_the_configurations_share_of_one_scores_variance():
    _, second = drawn(LARGE._replace(reliability=0.6))

    for scores in (second.early, second.final, second.log_loss):
        # Two seeds share nothing but the configuration.
        assert np.corrcoef(scores.T)[0, 1] == pytest.approx(0.6, abs=CLOSE)


def test_without_an_effect_the_arms_do_not_differ_and_agree_in_part():
    first, second = drawn(LARGE._replace(reliability=0.99))

    assert sigma(first.log_loss) == pytest.approx(sigma(second.log_loss), rel=2 * CLOSE)
    assert first.final.mean() == pytest.approx(second.final.mean(), abs=0.002)
    correlation = np.corrcoef(first.log_loss.mean(axis=1), second.log_loss.mean(axis=1))[0, 1]
    assert correlation == pytest.approx(0.6, abs=CLOSE)


def test_a_planted_spread_is_smaller_by_its_share_and_leaves_the_noise_alone():
    first, second = drawn(LARGE, SMALLER_SPREAD, 0.3)

    for one, other in ((first.log_loss, second.log_loss), (first.final, second.final)):
        assert sigma(one) / sigma(other) == pytest.approx(0.7, rel=2 * CLOSE)
        assert noise(one) / noise(other) == pytest.approx(1, rel=2 * CLOSE)


@pytest.mark.parametrize(
    ("planted", "effect", "early", "final"),
    [
        pytest.param(HIGHER_EARLY, 0.2, 1.2, 1.0, id="early"),
        pytest.param(HIGHER_FINAL, 0.1, 1.0, 1.1, id="at the horizon"),
        # 1 - r falls from .65 to .52, and from .5 to .4
        pytest.param(LESS_EARLY_ERROR, 0.2, 0.48 / 0.35, 1.0, id="early, in 1 - r"),
        pytest.param(LESS_FINAL_ERROR, 0.2, 1.0, 0.6 / 0.5, id="at the horizon, in 1 - r"),
    ],
)
def test_planted_gains_are_relative_to_the_comparison_arm(planted, effect, early, final):
    first, second = drawn(LARGE, planted, effect)

    assert first.early.mean() / second.early.mean() == pytest.approx(early, abs=0.01)
    assert first.final.mean() / second.final.mean() == pytest.approx(final, abs=0.01)


def test_a_planted_variance_over_seeds_is_smaller_by_its_share():
    first, second = drawn(LARGE, QUIETER_SEEDS, 0.2)

    assert noise(first.log_loss) / noise(second.log_loss) == pytest.approx(0.8, rel=2 * CLOSE)
    assert sigma(first.log_loss) / sigma(second.log_loss) == pytest.approx(1, rel=2 * CLOSE)


def test_a_planted_signal_raises_tau_by_its_amount():
    arms = drawn(LARGE, BETTER_EARLY_RANKS, 0.1)

    ours, theirs = (kendalltau(arm.early[:, 0], arm.final[:, 1]).statistic for arm in arms)
    assert ours - theirs == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("effect", "message"),
    [(0.3, r"tau must be able to rise by 0\.3, got at most"), (-0.1, "effect must be >= 0")],
)
def test_tau_rises_no_further_than_the_seeds_noise_leaves_and_never_falls(effect, message):
    with pytest.raises(ValueError, match=message):
        agreement_for(LARGE._replace(reliability=0.5), effect)


@pytest.mark.parametrize(
    ("planted", "most"),
    [
        pytest.param(SMALLER_SPREAD, 1.0, id="a spread ends at 0"),
        pytest.param(QUIETER_SEEDS, 1.0, id="a variance ends at 0"),
        pytest.param(HIGHER_EARLY, 1 / 0.35 - 1, id="a correlation ends at 1, early"),
        pytest.param(HIGHER_FINAL, 1 / 0.50 - 1, id="a correlation ends at 1"),
        pytest.param(LESS_FINAL_ERROR, 1.0, id="an error ends at 0"),
    ],
)
def test_the_largest_effect_is_just_below_what_is_possible(planted, most):
    assert 0.97 * most < planted.largest(LARGE) < most


def test_the_largest_difference_of_tau_is_what_the_noise_leaves_and_can_be_planted():
    # Two Gaussians of correlation c have tau 2 / pi asin(c); here c = reliability x agreement.
    def tau(agreement):
        return 2 / math.pi * math.asin(LARGE.reliability * agreement)

    largest = BETTER_EARLY_RANKS.largest(LARGE)

    assert largest == pytest.approx(tau(1.0) - tau(LARGE.early_agreement), abs=0.01)
    assert LARGE.early_agreement < agreement_for(LARGE, largest) <= 1


@pytest.mark.parametrize("mean", [0.0, -0.2])
@pytest.mark.parametrize(
    "planted", [HIGHER_EARLY, LESS_EARLY_ERROR, HIGHER_FINAL, LESS_FINAL_ERROR]
)
def test_nothing_is_relative_to_a_correlation_that_is_not_positive(mean, planted):
    model = LARGE._replace(early_correlation=mean, final_correlation=mean)

    assert planted.largest(model) == 0


def test_gaussian_scores_have_gaussian_tails_and_heavy_ones_do_not():
    plain, heavy = (
        drawn(LARGE._replace(heavy_tailed=tails))[1].log_loss[:, 0] for tails in (False, True)
    )

    assert kurtosis(plain) == pytest.approx(0, abs=0.2)
    assert kurtosis(heavy) > 1
    assert heavy.std() == pytest.approx(plain.std(), rel=0.1)


def test_correlations_never_leave_their_range():
    first, _ = drawn(LARGE._replace(final_correlation=0.97), HIGHER_FINAL, 0.1)

    assert np.abs(first.final).max() < 1


def test_studies_follow_one_another_from_one_source_of_randomness():
    model = LARGE._replace(configurations=5)

    once, again = (
        list(draw_studies(model, ALIKE, studies=3, generator=np.random.default_rng(1)))
        for _ in range(2)
    )

    assert len(once) == 3
    assert all((a[0].final == b[0].final).all() for a, b in zip(once, again, strict=True))
    assert not np.allclose(once[0][0].final, once[1][0].final)


def test_a_model_of_a_large_study_is_the_one_it_was_drawn_from():
    # Little noise: it would hide how arms and epochs agree.
    truth = LARGE._replace(seeds=3, reliability=0.98)

    model = model_of(*drawn(truth))

    assert model is not None
    assert model.configurations == truth.configurations
    assert model.seeds == truth.seeds
    for name, wanted in truth._asdict().items():
        assert getattr(model, name) == pytest.approx(wanted, rel=0.03), name


@pytest.mark.parametrize("reliability", [0.5, 0.8])
def test_a_model_of_a_noisy_study_has_spreads_and_agreements_without_the_noise(reliability):
    model = model_of(*drawn(LARGE._replace(reliability=reliability, early_agreement=0.8)))

    assert model is not None
    assert model.loss_spread == pytest.approx(0.20, rel=0.03)
    assert model.correlation_spread == pytest.approx(0.04, rel=0.03)
    assert model.reliability == pytest.approx(reliability, rel=0.03)
    assert model.arm_correlation == pytest.approx(0.6, abs=0.05)
    assert model.early_agreement == pytest.approx(0.8, abs=0.05)


def test_configurations_that_lack_a_score_are_not_in_the_model():
    first, second = drawn(LARGE._replace(configurations=6))
    first.final[2, 1] = math.nan

    model = model_of(first, second)

    assert model is not None
    assert model.configurations == 5


@pytest.mark.parametrize("shape", [(0, 2), (2, 2), (8, 1)])
def test_a_study_without_three_configurations_and_two_seeds_has_no_model(shape):
    arm = arm_scores(np.random.default_rng(0).normal(0.5, 0.1, size=shape))

    assert model_of(arm, arm) is None


def test_a_model_of_constant_scores_can_still_be_drawn_from():
    constant = arm_scores(np.full((8, 2), 0.5))

    model = model_of(constant, constant)

    assert model is not None
    (arms,) = draw_studies(model, ALIKE, studies=1, generator=np.random.default_rng(0))
    assert all(np.isfinite(scores).all() for arm in arms for scores in arm[1:])


def test_the_model_is_that_of_the_random_arm_of_the_run(tmp_path):
    run = write_synthetic_run(tmp_path / "run")

    model = model_of_run(run.path)

    # 0.9 - 0.02 c + 0.004 seed for c = 0..3, seeds 1 and 2
    noise = 0.004**2 / 2
    spread = math.sqrt(0.02**2 * 5 / 3 - noise / 2)
    assert (model.configurations, model.seeds) == (4, 2)
    assert model.final_correlation == pytest.approx(0.9 - 0.03 + 0.006)
    assert model.correlation_spread == pytest.approx(spread)


def test_a_run_without_both_arms_says_what_to_do_and_a_folder_that_is_none_is_named(tmp_path):
    run = write_synthetic_run(tmp_path / "run", arms=("pretrained", "shuffled"))

    with pytest.raises(ResultsError, match=r"must hold a pretrained and a random arm .*; leave it"):
        model_of_run(run.path)
    with pytest.raises(ResultsError, match=str(tmp_path)):
        model_of_run(tmp_path)


def test_the_variation_is_told_with_its_numbers():
    text = variation(TYPICAL._replace(early_correlation=0.123, arm_correlation=0.45))

    assert "val_correlation 0.123 at the early epoch" in text
    assert text.endswith("correlation of the two arms 0.45")
