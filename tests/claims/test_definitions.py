"""Claims 1, 4 and 5: what they estimate, and when they cannot be judged."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import kendalltau
from score_tables import arm_scores, drawn_arm, judged

from stage1.claims.catalogue import ABOUT_SCORES, EARLY_SIGNAL, SENSITIVITY, STABILITY
from stage1.claims.scores import MOST_NOT_FINITE, scored, too_few_finite
from stage1.claims.spread import noise_corrected_variance
from stage1.claims.verdicts import Verdict


@pytest.fixture
def generator():
    return np.random.default_rng(0)


# --- sensitivity ---


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


def test_sensitivity_needs_two_seeds(generator):
    first, second = (drawn_arm(generator, seeds=1) for _ in range(2))

    decision = judged(SENSITIVITY, first, second).decision

    assert decision.verdict is Verdict.NOT_EVALUABLE
    assert "two seeds" in decision.reason


def test_sensitivity_needs_three_configurations(generator):
    first, second = (drawn_arm(generator, configurations=2) for _ in range(2))

    decision = judged(SENSITIVITY, first, second).decision

    assert decision.verdict is Verdict.NOT_EVALUABLE
    assert "three configurations" in decision.reason


@pytest.mark.parametrize(("reliability", "evaluable"), [(0.51, True), (0.49, False)])
def test_sensitivity_needs_a_comparison_arm_that_is_half_signal(reliability, evaluable):
    # Seeds at m + d and m - d have the error variance d^2 in their mean.
    variance = levels(1.0, noise=0).mean(axis=1).var(ddof=1)
    noisy = spread_arm(1.0, noise=math.sqrt((1 - reliability) * variance))

    finding = judged(SENSITIVITY, spread_arm(0.1), noisy)

    share = finding.shown["share of the variance that is not seed noise, second arm"]
    assert share == pytest.approx(reliability)
    assert (finding.decision.verdict is not Verdict.NOT_EVALUABLE) is evaluable


def test_a_comparison_arm_that_is_all_noise_is_not_evaluable():
    decision = judged(SENSITIVITY, spread_arm(1.0), spread_arm(0.01, noise=1.0)).decision

    assert decision.verdict is Verdict.NOT_EVALUABLE
    assert "0%" in decision.reason


def test_a_spread_that_is_all_noise_never_supports_the_claim():
    finding = judged(SENSITIVITY, spread_arm(0.01, noise=0.05), spread_arm(1.0))

    assert finding.effect.low >= SENSITIVITY.claimed
    assert finding.decision.verdict is Verdict.DIRECTION_ONLY
    assert "noise" in finding.decision.reason


def test_sensitivity_is_scale_dependent_where_correlations_spread_more():
    finding = judged(SENSITIVITY, spread_arm(0.1, on_r=0.8), spread_arm(1.0, on_r=0.05))

    assert finding.effect.low >= SENSITIVITY.claimed
    assert finding.shown["smaller by, on val_correlation"] < 0
    assert finding.decision.verdict is Verdict.INCONCLUSIVE
    assert "scale dependent" in finding.decision.reason


def test_sensitivity_is_scale_dependent_where_fishers_z_alone_spreads_more():
    # Near 1, z stretches what r has little room for: dz = dr / (1 - r^2).
    finding = judged(
        SENSITIVITY, spread_arm(0.1, mean=0.95, on_r=0.1), spread_arm(1.0, mean=0.3, on_r=0.02)
    )

    assert finding.shown["smaller by, on val_correlation"] > 0
    assert finding.shown["smaller by, on Fisher's z"] < 0
    assert finding.decision.verdict is Verdict.INCONCLUSIVE
    assert "scale dependent" in finding.decision.reason


def test_sensitivity_is_scale_dependent_where_the_raw_correlation_alone_spreads_more():
    finding = judged(
        SENSITIVITY, spread_arm(0.1, mean=0.3, on_r=0.5), spread_arm(1.0, mean=0.95, on_r=0.03)
    )

    assert finding.shown["smaller by, on val_correlation"] < 0
    assert finding.shown["smaller by, on Fisher's z"] > 0
    assert finding.decision.verdict is Verdict.INCONCLUSIVE


def test_a_direction_is_told_whatever_the_other_scales_say():
    finding = judged(SENSITIVITY, spread_arm(0.85, on_r=1.0), spread_arm(1.0, on_r=0.1))

    assert finding.decision.verdict is Verdict.DIRECTION_ONLY


# --- stability ---


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
    ("configurations", "seeds", "noise"),
    [
        pytest.param(48, 1, 1.0, id="one seed"),
        pytest.param(2, 3, 1.0, id="two configurations"),
        pytest.param(48, 2, 0.0, id="seeds without any difference"),
    ],
)
def test_stability_needs_seeds_that_differ_in_three_configurations(
    generator, configurations, seeds, noise
):
    shape = {"configurations": configurations, "seeds": seeds}

    finding = judged(
        STABILITY, noisy_arm(generator, noise, **shape), noisy_arm(generator, 1.0, **shape)
    )

    assert finding.decision.verdict is Verdict.NOT_EVALUABLE


def test_stability_is_not_evaluable_where_everything_diverged(generator):
    gone = np.ones((48, 3), dtype=bool)

    finding = judged(STABILITY, noisy_arm(generator, 1.0, diverged=gone), noisy_arm(generator, 1.0))

    assert finding.decision.verdict is Verdict.NOT_EVALUABLE


# --- early signal ---


def ranked_arm(generator, *, early, late, configurations=40, seeds=2):
    """Quality plus noise of these sizes at the early epoch and at the horizon."""
    quality = generator.normal(size=(configurations, 1))
    noise = generator.normal(size=(2, configurations, seeds))
    return arm_scores(quality + late * noise[1], early=quality + early * noise[0])


def taus(arm):
    early = [kendalltau(arm.early[:, s], arm.final[:, 1 - s]).statistic for s in (0, 1)]
    return np.mean(early), kendalltau(*arm.final.T).statistic


def test_the_effect_is_the_difference_of_taus_across_seeds(generator):
    first = ranked_arm(generator, early=0.2, late=0.2)
    second = ranked_arm(generator, early=3.0, late=0.2)

    finding = judged(EARLY_SIGNAL, first, second)

    (ours, our_ceiling), (theirs, their_ceiling) = taus(first), taus(second)
    assert finding.effect.estimate == pytest.approx(ours - theirs)
    assert finding.shown["tau, first arm"] == pytest.approx(ours)
    assert finding.shown["ceiling, second arm"] == pytest.approx(their_ceiling)
    assert finding.shown["tau / ceiling, first arm"] == pytest.approx(ours / our_ceiling)
    assert finding.decision.verdict is Verdict.SUPPORTED


def test_the_same_scores_always_have_the_same_interval(generator):
    arms = [ranked_arm(generator, early=0.5, late=0.2) for _ in range(2)]

    assert judged(EARLY_SIGNAL, *arms) == judged(EARLY_SIGNAL, *arms)


@pytest.mark.parametrize(("configurations", "evaluable"), [(31, False), (32, True)])
def test_early_signal_needs_thirty_two_configurations(generator, configurations, evaluable):
    arms = [
        ranked_arm(generator, early=0.3, late=0.2, configurations=configurations) for _ in range(2)
    ]

    finding = judged(EARLY_SIGNAL, *arms)

    assert (finding.decision.verdict is not Verdict.NOT_EVALUABLE) is evaluable
    assert math.isfinite(finding.effect.estimate)
    assert finding.effect.bounded is evaluable


def test_configurations_that_lack_a_seed_do_not_count_in_early_signal(generator):
    first, second = (ranked_arm(generator, early=0.3, late=0.2) for _ in range(2))
    gappy = first._replace(final=first.final.copy())
    gappy.final[:9, 1] = math.nan

    decision = judged(EARLY_SIGNAL, gappy, second).decision

    assert decision.verdict is Verdict.NOT_EVALUABLE
    assert "got 31" in decision.reason


def test_early_signal_needs_two_seeds(generator):
    arms = [ranked_arm(generator, early=0.3, late=0.2, seeds=1) for _ in range(2)]

    decision = judged(EARLY_SIGNAL, *arms).decision

    assert decision.verdict is Verdict.NOT_EVALUABLE
    assert "two seeds" in decision.reason


@pytest.mark.parametrize("noisy", [0, 1])
def test_early_signal_needs_final_ranks_that_agree_between_seeds_in_both_arms(generator, noisy):
    late = [0.1, 0.1]
    late[noisy] = 2.0
    arms = [ranked_arm(generator, early=0.3, late=noise) for noise in late]

    decision = judged(EARLY_SIGNAL, *arms).decision

    assert taus(arms[noisy])[1] < 0.5 < taus(arms[1 - noisy])[1]
    assert decision.verdict is Verdict.NOT_EVALUABLE
    assert "agree between seeds" in decision.reason


@pytest.mark.parametrize("constant", ["early", "final"])
def test_early_signal_is_not_evaluable_where_all_scores_are_tied(generator, constant):
    first, second = (ranked_arm(generator, early=0.3, late=0.2) for _ in range(2))
    tied = first._replace(**{constant: np.full((40, 2), 0.5)})

    assert judged(EARLY_SIGNAL, tied, second).decision.verdict is Verdict.NOT_EVALUABLE


def test_a_perfect_signal_in_both_arms_has_an_interval_without_width_and_no_verdict():
    perfect = arm_scores(np.linspace(0.1, 0.9, 40)[:, None] + np.zeros(2))

    assert judged(EARLY_SIGNAL, perfect, perfect).decision.verdict is Verdict.NOT_EVALUABLE


def test_a_lower_signal_contradicts_the_claim_where_it_is_lower_relative_to_the_ceiling(generator):
    first = ranked_arm(generator, early=2.0, late=0.2, configurations=64)
    second = ranked_arm(generator, early=0.2, late=0.2, configurations=64)

    finding = judged(EARLY_SIGNAL, first, second)

    assert finding.effect.high < 0
    assert finding.decision.verdict is Verdict.CONTRADICTED


def test_a_lower_signal_that_only_the_seeds_noise_makes_low_does_not_contradict_the_claim(
    generator,
):
    first = ranked_arm(generator, early=0.05, late=0.5, configurations=128)
    second = ranked_arm(generator, early=0.2, late=0.05, configurations=128)

    finding = judged(EARLY_SIGNAL, first, second)

    (ours, our_ceiling), (theirs, their_ceiling) = taus(first), taus(second)
    assert finding.effect.high < 0
    assert ours / our_ceiling > theirs / their_ceiling
    assert finding.decision.verdict is Verdict.NOT_SUPPORTED


# --- what all share ---


@pytest.mark.parametrize("definition", ABOUT_SCORES)
@pytest.mark.parametrize(
    "shape", [(0, 2), (1, 1), (1, 2), (3, 2)], ids=["none", "one trial", "one", "three"]
)
def test_every_definition_takes_a_study_of_any_size(generator, definition, shape):
    arms = [arm_scores(generator.normal(0.5, 0.05, size=shape)) for _ in range(2)]

    finding = judged(definition, *arms)

    assert isinstance(finding.decision.verdict, Verdict)


@pytest.mark.parametrize("definition", ABOUT_SCORES)
def test_every_definition_takes_arms_in_which_every_score_is_the_same(definition):
    constant = arm_scores(np.full((40, 2), 0.5))

    finding = judged(definition, constant, constant)

    assert finding.decision.verdict in (Verdict.NOT_EVALUABLE, Verdict.NOT_SUPPORTED)


@pytest.mark.parametrize("definition", ABOUT_SCORES)
def test_every_definition_takes_arms_without_any_score(definition):
    nothing = arm_scores(np.full((40, 2), math.nan))

    finding = judged(definition, nothing, nothing)

    assert finding.decision.verdict is Verdict.NOT_EVALUABLE


@pytest.mark.parametrize(
    ("ours", "theirs", "too_few"),
    [
        pytest.param(21, 21, True, id="both above"),
        pytest.param(20, 90, False, id="first just at it"),
        pytest.param(90, 20, False, id="second just at it"),
        pytest.param(0, 0, False, id="none"),
    ],
)
def test_a_comparison_ends_with_more_than_a_fifth_diverged_in_both_arms(ours, theirs, too_few):
    arms = [
        arm_scores(np.full((50, 2), 0.5), diverged=(np.arange(100) < count).reshape(50, 2))
        for count in (ours, theirs)
    ]

    assert bool(too_few_finite(*arms)) is too_few
    assert MOST_NOT_FINITE == 0.2


def test_trials_that_are_left_out_are_no_part_of_the_diverged_share():
    final = np.full((50, 2), 0.5)
    final[25:] = math.nan
    diverged = np.zeros((50, 2), dtype=bool)
    diverged[:6] = True  # 12 of the 50 trials that count

    arm = arm_scores(final, diverged=diverged)

    assert too_few_finite(arm, arm).startswith("24%")


def test_a_configuration_is_scored_if_all_arms_have_any_score_of_it():
    first = np.array([[0.1, math.nan], [math.nan, math.nan], [0.2, 0.3]])
    second = np.array([[math.nan, 0.2], [0.1, 0.1], [math.nan, math.nan]])

    assert scored(first, second) == 1
