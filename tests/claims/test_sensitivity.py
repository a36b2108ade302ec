"""Claim 1 on arms with a known gap, and what keeps a smaller gap from supporting it."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from made_runs import arm_scores, drawn_arm, judged

from stage1.claims.catalogue import SENSITIVITY
from stage1.claims.verdicts import Verdict


def even_arm(spread, *, configurations=32, mean=0.5, on_r=0.1, level=2.0, seeds=1):
    """Evenly spread configurations whose correlation has `on_r` times the spread of log loss."""
    even = np.linspace(-1, 1, configurations)[:, None] + np.zeros(seeds)
    return arm_scores(mean + spread * on_r * even, log_loss=-level - spread * even)


def gap(losses):
    """Mean over all samples of three, written out."""
    samples = map(sorted, combinations(-losses.mean(axis=1), 3))
    return np.mean([best - middle for _, middle, best in samples])


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_effect_is_the_share_by_which_tuning_is_worth_less(generator, seeds):
    first, second = (
        drawn_arm(generator, configurations=20, seeds=seeds, loss_spread=spread)
        for spread in (0.1, 0.2)
    )

    finding = judged(SENSITIVITY, first, second)

    gaps = [gap(arm.log_loss) for arm in (first, second)]
    assert finding.effect.estimate == pytest.approx(1 - gaps[0] / gaps[1])
    assert finding.effect.low < finding.effect.estimate < finding.effect.high
    assert finding.shown["what tuning is worth, second arm"] == pytest.approx(gaps[1])


@pytest.mark.parametrize(
    ("spread", "verdict"),
    [(0.1, "SUPPORTED"), (0.85, "DIRECTION ONLY"), (1.0, "NOT SUPPORTED"), (2.0, "CONTRADICTED")],
)
def test_sensitivity_is_judged_by_how_much_less_tuning_is_worth(spread, verdict):
    finding = judged(SENSITIVITY, even_arm(spread), even_arm(1.0))

    assert finding.decision.verdict.value == verdict


@pytest.mark.parametrize(
    ("planned", "lost", "reason"),
    [
        pytest.param(16, 0, "", id="enough"),
        pytest.param(15, 0, "needs 16 different configurations, got 15", id="too few planned"),
        pytest.param(16, 4, "", id="four lost"),
        pytest.param(32, 21, "11 configurations have a score in both arms", id="too many lost"),
    ],
)
def test_sensitivity_needs_16_configurations_or_12_that_are_left(planned, lost, reason):
    first, second = (even_arm(spread, configurations=planned) for spread in (0.1, 1.0))
    first.log_loss[:lost] = math.nan

    decision = judged(SENSITIVITY, first, second).decision

    assert (decision.verdict is Verdict.NOT_EVALUABLE) is bool(reason)
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("level", "verdict"),
    [
        pytest.param(1.0, "NOT SUPPORTED", id="worse"),
        pytest.param(2.0, "SUPPORTED", id="as good"),
        pytest.param(3.0, "SUPPORTED", id="better"),
    ],
)
@pytest.mark.parametrize("spread", [0.5, 0.85])
def test_what_is_flatter_because_it_is_worse_is_not_supported(level, verdict, spread):
    flat = even_arm(spread, level=level)

    decision = judged(SENSITIVITY, flat, even_arm(1.0)).decision

    if spread == 0.85 and verdict == "SUPPORTED":
        verdict = "DIRECTION ONLY"
    assert decision.verdict.value == verdict
    assert decision.reason.startswith("flatter because worse") is (level == 1.0)


@pytest.mark.parametrize(
    ("first", "second", "on_r", "on_z"),
    [
        pytest.param((0.5, 0.8), (0.5, 0.05), -1, -1, id="both scales"),
        # Near 1, z stretches what r has little room for: dz = dr / (1 - r^2).
        pytest.param((0.95, 0.1), (0.3, 0.02), 1, -1, id="Fisher's z alone"),
        pytest.param((0.3, 0.5), (0.95, 0.03), -1, 1, id="the raw correlation alone"),
    ],
)
@pytest.mark.parametrize("claimed", [0.2, 0.95], ids=["SUPPORTED", "DIRECTION ONLY"])
def test_a_smaller_gap_that_is_a_larger_one_in_correlations_depends_on_the_scale(
    first, second, on_r, on_z, claimed
):
    arms = [
        even_arm(spread, mean=mean, on_r=part)
        for spread, (mean, part) in ((0.1, first), (1.0, second))
    ]

    finding = SENSITIVITY.statistic(*arms, claimed=claimed, error_rate=0.05)

    assert finding.effect.low > 0
    assert np.sign(finding.shown["smaller by, on val_correlation"]) == on_r
    assert np.sign(finding.shown["smaller by, on Fisher's z"]) == on_z
    assert finding.decision.verdict is Verdict.INCONCLUSIVE
    assert "scale dependent" in finding.decision.reason


def clipped(arm, count):
    """The same arm with so many diverged configurations, which all have one loss."""
    losses = arm.log_loss.copy()
    losses[:count] = 0.0
    return arm._replace(log_loss=losses)


@pytest.mark.parametrize("diverged", [32, 31])
def test_an_arm_whose_configurations_are_all_alike_has_nothing_to_compare(diverged):
    finding = judged(SENSITIVITY, clipped(even_arm(0.5), diverged), even_arm(1.0))

    assert finding.decision.verdict is Verdict.INCONCLUSIVE
    assert "the same score" in finding.decision.reason
    assert math.isnan(finding.effect.estimate)


def test_beside_the_verdict_stand_gain_spread_cliffs_and_what_goes_unseen():
    first, second = even_arm(0.05), even_arm(0.06)
    first.log_loss[[3, 5], 0] += 0.5
    second.log_loss[[5, 9, 20], 0] += 0.5

    shown = judged(SENSITIVITY, first, second).shown

    cliffs = "cliffs, val_loss over 10.5% above the arm's median, in"
    assert shown[f"{cliffs} first arm only"] == 1
    assert shown[f"{cliffs} second arm only"] == 2
    assert shown[f"{cliffs} both"] == 1
    assert shown["failures rarer than this share of the space go unseen"] == pytest.approx(
        0.0894, abs=1e-4
    )
    spreads = [arm.log_loss.std(ddof=1) for arm in (first, second)]
    (name,) = [name for name in shown if name.startswith("ratio of standard deviations")]
    assert shown[name] == pytest.approx(spreads[0] / spreads[1])
    gain = "gain of 8 tries, ratio"
    assert shown[f"{gain}, from"] < shown[gain] < shown[f"{gain}, to"]
