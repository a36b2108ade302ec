"""Variances over seeds and their ratios, against loops and simulation."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from made_runs import arm_scores, judged
from scipy import stats

from stage1.claims import stability
from stage1.claims.catalogue import ERROR_RATE, STABILITY
from stage1.claims.verdicts import Verdict

seed_variance_ratio = partial(stability.seed_variance_ratio, error_rate=ERROR_RATE)


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


# --- ratio of variances over seeds ---


def test_configurations_with_one_score_in_either_arm_are_left_out_of_both(generator):
    first, second = drawn_scores(generator, seeds=2), drawn_scores(generator, seeds=2)
    gappy = first.copy(), second.copy()
    gappy[0][3, 0] = gappy[1][7, 1] = math.nan

    kept = [np.delete(arm, [3, 7], axis=0) for arm in (first, second)]
    assert seed_variance_ratio(*gappy) == pytest.approx(seed_variance_ratio(*kept))


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

    assert math.isnan(seed_variance_ratio(equal, varied).estimate)
    assert math.isnan(seed_variance_ratio(varied, equal).estimate)


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
