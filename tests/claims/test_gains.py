"""Claims 2 and 3, and the error reductions beside them, against numbers by hand and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_runs import arm_scores, drawn_arm, judged
from scipy import stats

from stage1.claims.catalogue import EARLY_ERROR, EARLY_GAIN, FINAL_ERROR, FINAL_GAIN
from stage1.claims.verdicts import Verdict


def arm_at(mean, *, configurations=16, seeds=2):
    """Final scores, the same as early ones, close around a mean."""
    luck = np.array([0.001, -0.001])[:seeds]
    offsets = np.linspace(-0.005, 0.005, configurations)[:, None] + luck
    return arm_scores(mean + offsets, early=mean + offsets)


@pytest.mark.parametrize(
    ("claim", "effect"),
    [
        (FINAL_GAIN, 0.6 / 0.5 - 1),
        (EARLY_GAIN, 0.4 / 0.25 - 1),
        (FINAL_ERROR, 1 - 0.4 / 0.5),
        (EARLY_ERROR, 1 - 0.6 / 0.75),
    ],
    ids=lambda one: getattr(one, "label", None),
)
def test_a_gain_is_the_ratio_of_mean_correlations_or_of_what_is_missing_to_one(claim, effect):
    first = arm_scores([[0.6, 0.7], [0.5, 0.6]], early=[[0.5, 0.5], [0.3, 0.3]])
    second = arm_scores([[0.5, 0.5], [0.6, 0.4]], early=[[0.3, 0.3], [0.2, 0.2]])

    assert judged(claim, first, second).effect.estimate == pytest.approx(effect)


@pytest.mark.parametrize("claim", [EARLY_GAIN, FINAL_GAIN])
def test_a_gain_leaves_out_zero_exactly_where_the_paired_t_test_rejects(generator, claim):
    rejected = set()
    for gain in np.linspace(-0.15, 0.15, 13):
        first, second = drawn_arm(generator, mean=0.5 * (1 + gain)), drawn_arm(generator)

        effect = judged(claim, first, second).effect

        scores = [arm.early if claim is EARLY_GAIN else arm.final for arm in (first, second)]
        p = stats.ttest_rel(*(arm.mean(axis=1) for arm in scores)).pvalue
        assert effect.p == pytest.approx(p)
        assert (effect.low > 0 or effect.high < 0) is bool(p < 0.05 / 6)
        rejected.add(bool(p < 0.05 / 6))

    assert rejected == {True, False}


def test_a_configuration_is_scored_by_the_seeds_that_it_has():
    first = arm_scores([[0.6, math.nan], [0.8, 0.4], [math.nan, math.nan]])
    second = arm_scores([[0.5, math.nan], [0.4, 0.4], [math.nan, math.nan]])

    finding = judged(FINAL_GAIN, first, second)

    assert finding.effect.estimate == pytest.approx(0.6 / 0.45 - 1)
    assert finding.shown["mean val_correlation, second arm"] == pytest.approx(0.45)
    assert finding.shown["difference"] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("claim", "mean", "evaluable"),
    [
        pytest.param(FINAL_GAIN, 0.89, False, id="late: at most 12 %"),
        pytest.param(FINAL_GAIN, 0.84, False, id="late: at most 19 %"),
        pytest.param(FINAL_GAIN, 0.83, True, id="late: 20.5 % are possible"),
        pytest.param(EARLY_GAIN, 0.72, False, id="early: at most 38.9 %"),
        pytest.param(EARLY_GAIN, 0.71, True, id="early: 40.8 % are possible"),
        pytest.param(FINAL_ERROR, 0.95, True, id="error reduction: at any level"),
    ],
)
def test_a_gain_needs_room_for_twice_the_claimed_size(claim, mean, evaluable):
    finding = judged(claim, arm_at(mean * (1 + 1.1 * claim.claimed)), arm_at(mean))

    assert (finding.decision.verdict is not Verdict.NOT_EVALUABLE) is evaluable


@pytest.mark.parametrize(
    ("gain", "scatter", "verdict"),
    [
        pytest.param(-0.05, 0.0, "CONTRADICTED", id="a loss"),
        pytest.param(0.0, 0.01, "NOT SUPPORTED", id="none"),
        pytest.param(0.02, 0.0, "NOT EVALUABLE", id="a direction"),
        pytest.param(0.0, 0.2, "NOT EVALUABLE", id="open"),
    ],
)
def test_a_ceiling_forbids_support_and_nothing_else(gain, scatter, verdict):
    offsets = scatter * np.tile([1.0, -1.0], 8)[:, None]

    decision = judged(FINAL_GAIN, arm_scores(0.9 * (1 + gain) + offsets), arm_at(0.9)).decision

    assert decision.verdict.value == verdict
    assert ("at most 11.1% is possible" in decision.reason) is (verdict == "NOT EVALUABLE")


def test_diverged_trials_are_no_room_for_a_gain():
    final = np.full((16, 1), 0.9)
    final[:4] = 0
    diverged = final == 0

    finding = judged(FINAL_GAIN, arm_at(0.92, seeds=1), arm_scores(final, diverged=diverged))

    assert finding.decision.verdict is Verdict.NOT_EVALUABLE
    assert "at most 11.1%" in finding.decision.reason


def test_a_score_that_one_arm_lacks_counts_in_neither():
    first, second = (arm_scores(np.full((16, 2), mean)) for mean in (0.6, 0.5))
    first.early[3, 0] = math.nan
    second.early[3, 0] = 0.9  # goes with its partner

    finding = judged(EARLY_GAIN, first, second)

    assert finding.effect.estimate == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("mean", "spread", "evaluable"),
    [
        pytest.param(0.30, 0.02, True, id="clearly above"),
        pytest.param(0.30, 0.60, False, id="above on average alone"),
        pytest.param(0.04, 0.001, False, id="below"),
        pytest.param(0.00, 0.10, False, id="around zero"),
        pytest.param(-0.30, 0.02, False, id="negative"),
    ],
)
def test_a_gain_needs_a_comparison_arm_clearly_above_a_twentieth(mean, spread, evaluable):
    offsets = np.linspace(-spread, spread, 12)[:, None] + np.zeros(2)

    finding = judged(FINAL_GAIN, arm_at(0.4, configurations=12), arm_scores(mean + offsets))

    assert (finding.decision.verdict is not Verdict.NOT_EVALUABLE) is evaluable


def test_the_comparison_arms_level_is_judged_by_its_own_t_interval():
    other = 0.1 + np.linspace(-0.1, 0.1, 12)
    low = stats.ttest_1samp(other, 0).confidence_interval(1 - 0.05 / 6).low
    shift = 0.05 - low

    above, below = (
        judged(FINAL_GAIN, arm_at(0.4, configurations=12), arm_scores(scores[:, None]))
        for scores in (other + shift + 1e-6, other + shift - 1e-6)
    )

    assert above.decision.verdict is not Verdict.NOT_EVALUABLE
    assert below.decision.verdict is Verdict.NOT_EVALUABLE


@pytest.mark.parametrize("claim", [EARLY_GAIN, FINAL_GAIN, EARLY_ERROR])
def test_one_configuration_is_too_few(claim):
    finding = judged(claim, arm_scores([[0.6, 0.6]]), arm_scores([[0.5, 0.5]]))

    assert finding.decision.verdict is Verdict.NOT_EVALUABLE
    assert "two configurations" in finding.decision.reason


@pytest.mark.parametrize(
    ("claim", "gain", "verdict"),
    [
        pytest.param(EARLY_GAIN, 0.25, "SUPPORTED", id="early above 20 %"),
        pytest.param(EARLY_GAIN, 0.15, "DIRECTION ONLY", id="early below 20 %"),
        pytest.param(FINAL_GAIN, 0.15, "SUPPORTED", id="late above 10 %"),
        pytest.param(FINAL_GAIN, 0.07, "DIRECTION ONLY", id="late below 10 %"),
        pytest.param(FINAL_GAIN, 0.0, "NOT SUPPORTED", id="late none"),
        pytest.param(FINAL_GAIN, -0.05, "CONTRADICTED", id="late a loss"),
    ],
)
def test_claims_two_and_three_ask_for_a_fifth_and_a_tenth(claim, gain, verdict):
    finding = judged(claim, arm_at(0.5 * (1 + gain)), arm_at(0.5))

    assert finding.decision.verdict.value == verdict


def test_the_error_reductions_interval_is_what_a_paired_t_test_of_errors_accepts(generator):
    first, second = drawn_arm(generator, mean=0.93), drawn_arm(generator, mean=0.9)

    effect = judged(FINAL_ERROR, first, second).effect

    step = 1e-4
    grid = np.arange(-1, 1, step)  # of the reduction
    ours, theirs = (1 - arm.final.mean(axis=1)[:, None] for arm in (first, second))
    accepted = grid[stats.ttest_1samp(ours - (1 - grid) * theirs, 0).pvalue > 0.05 / 6]
    assert (effect.low, effect.high) == pytest.approx((accepted[0], accepted[-1]), abs=step)


def test_a_comparison_arm_without_error_leaves_nothing_to_reduce():
    perfect = arm_scores(np.ones((8, 2)))

    finding = judged(FINAL_ERROR, arm_at(0.9, configurations=8), perfect)

    assert finding.decision.verdict is Verdict.NOT_EVALUABLE
