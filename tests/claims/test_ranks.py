"""Rank correlations and regrets, against scipy and tables written by hand."""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations, permutations

import numpy as np
import pytest
from made_runs import arm_scores, judged
from scipy.stats import kendalltau

from stage1.claims import ranks
from stage1.claims.catalogue import EARLY_SIGNAL, ERROR_RATE
from stage1.claims.ranks import early_tau, same_seed_tau, selection_regret, tau_ceiling
from stage1.claims.verdicts import Verdict

tau_difference = partial(ranks.tau_difference, error_rate=ERROR_RATE)


def drawn_arm(generator, *, configurations=20, seeds=2, noise=0.6, digits=None):
    """Early and final scores that agree in part; rounded scores have ties."""
    quality = generator.normal(size=(configurations, 1))
    early, final = quality + generator.normal(0, noise, size=(2, configurations, seeds))
    return (early, final) if digits is None else (early.round(digits), final.round(digits))


def scipy_early_tau(early, final):
    """scipy's tau is variant b unless told otherwise."""
    pairs = permutations(range(early.shape[1]), 2)
    return np.mean([kendalltau(early[:, s], final[:, t]).statistic for s, t in pairs])


@pytest.fixture(params=[None, 0], ids=["without ties", "with many ties"])
def digits(request):
    return request.param


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_early_tau_ceiling_and_same_seed_tau_are_scipys_over_pairs_of_seeds(
    generator, seeds, digits
):
    early, final = drawn_arm(generator, seeds=seeds, digits=digits)

    ends = [kendalltau(one, other).statistic for one, other in combinations(final.T, 2)]
    same = [kendalltau(one, other).statistic for one, other in zip(early.T, final.T, strict=True)]
    assert early_tau(early, final) == pytest.approx(scipy_early_tau(early, final))
    assert tau_ceiling(final) == pytest.approx(np.mean(ends))
    assert same_seed_tau(early, final) == pytest.approx(np.mean(same))


def test_the_luck_of_a_seed_is_no_early_signal(generator):
    luck = generator.normal(size=(300, 2))  # configurations do not differ at all

    assert same_seed_tau(luck, luck) == pytest.approx(1)
    assert abs(early_tau(luck, luck)) < 4 * math.sqrt(4 / (9 * 300))  # tau's error under no signal


def test_a_constant_column_and_one_seed_have_no_tau(generator):
    early, final = drawn_arm(generator)
    early[:, 0] = 0.0

    assert math.isnan(early_tau(early, final))
    assert math.isnan(same_seed_tau(early, final))
    assert early_tau(early, final, tied=0.0) == pytest.approx(
        kendalltau(early[:, 1], final[:, 0]).statistic / 2
    )
    assert math.isnan(early_tau(final[:, :1], final[:, :1]))  # one seed
    assert math.isnan(tau_ceiling(final[:, :1]))


# --- regret ---


FINAL = np.array([[0.5, 0.7], [0.4, 0.6], [0.9, 0.5]])  # means .6, .5, .7


@pytest.mark.parametrize(
    ("early", "final", "regret"),
    [
        # Seed 1 chooses the second (loses .2), seed 2 the first (loses .1).
        pytest.param([[0.1, 0.5], [0.3, 0.2], [0.2, 0.1]], FINAL, 0.15, id="by hand"),
        pytest.param([[1, 1], [0, 0], [2, 2]], FINAL, 0, id="the ranking of the means"),
        pytest.param([[0, 0], [0, 0]], [[0.2, 0.2], [0.8, 0.8]], 0.6, id="ties: the first"),
    ],
)
def test_the_regret_of_choosing_early_is_what_the_best_would_have_given_more(early, final, regret):
    assert selection_regret(np.array(early), np.array(final)) == pytest.approx(regret)


# --- difference of two arms ---


def test_a_bootstrap_sample_is_scipys_tau_of_the_repeated_rows(generator, digits):
    n, samples = 12, 60
    first = drawn_arm(generator, configurations=n, noise=0.3, digits=digits)
    second = drawn_arm(generator, configurations=n, noise=1.0, digits=digits)

    difference = tau_difference(
        first, second, error_rate=0.2, resamples=samples, generator=np.random.default_rng(7)
    )

    counts = np.random.default_rng(7).multinomial(n, np.full(n, 1 / n), size=samples)
    drawn = [
        scipy_early_tau(*(part.repeat(count, axis=0) for part in first))
        - scipy_early_tau(*(part.repeat(count, axis=0) for part in second))
        for count in counts
    ]
    assert difference.estimate == pytest.approx(scipy_early_tau(*first) - scipy_early_tau(*second))
    assert (difference.low, difference.high) == pytest.approx(np.quantile(drawn, [0.1, 0.9]))
    tail = min(np.mean(np.array(drawn) <= 0), np.mean(np.array(drawn) >= 0))
    assert difference.p == pytest.approx(min(2 * max(tail, 1 / samples), 1))


def test_p_is_below_the_error_rate_exactly_where_the_interval_leaves_out_zero(generator):
    seen = set()
    for noise in (0.3, 0.6, 0.9, 1.2, 2.0):
        first, second = drawn_arm(generator, noise=0.3), drawn_arm(generator, noise=noise)
        interval = tau_difference(
            first, second, error_rate=0.1, resamples=999, generator=np.random.default_rng(1)
        )
        outside = interval.low > 0 or interval.high < 0
        assert (interval.p < 0.1) is outside
        seen.add(outside)

    assert seen == {True, False}


PERFECT = np.arange(20.0)[:, None] + np.zeros(2)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda early, final: (early[:, :1], final[:, :1]), id="one seed"),
        pytest.param(lambda early, final: (0 * early, final), id="early scores all tied"),
        pytest.param(lambda early, final: (early, 0 * final), id="final scores all tied"),
        pytest.param(lambda early, final: (PERFECT, PERFECT), id="no width"),
    ],
)
def test_arms_without_a_tau_or_a_width_have_no_difference(generator, spoil):
    first, second = drawn_arm(generator), drawn_arm(generator)

    difference = tau_difference(spoil(*first), spoil(*second), generator=generator)

    assert all(math.isnan(number) for number in difference)


# --- claim 5 ---


def ranked_arm(generator, *, early, late, configurations=40, seeds=2):
    """Quality plus noise of these sizes at the early epoch and at the horizon."""
    quality = generator.normal(size=(configurations, 1))
    noise = generator.normal(size=(2, configurations, seeds))
    return arm_scores(quality + late * noise[1], early=quality + early * noise[0])


def taus(arm):
    early = [kendalltau(arm.early[:, s], arm.final[:, 1 - s]).statistic for s in (0, 1)]
    return np.mean(early), kendalltau(*arm.final.T).statistic


def test_the_effect_is_the_difference_of_taus_across_seeds_and_the_same_every_time(generator):
    first = ranked_arm(generator, early=0.2, late=0.2)
    second = ranked_arm(generator, early=3.0, late=0.2)

    finding = judged(EARLY_SIGNAL, first, second)

    (ours, our_ceiling), (theirs, their_ceiling) = taus(first), taus(second)
    assert finding.effect.estimate == pytest.approx(ours - theirs)
    assert finding.shown["tau, first arm"] == pytest.approx(ours)
    assert finding.shown["ceiling, second arm"] == pytest.approx(their_ceiling)
    assert finding.shown["tau / ceiling, first arm"] == pytest.approx(ours / our_ceiling)
    assert finding.decision.verdict is Verdict.SUPPORTED
    assert judged(EARLY_SIGNAL, first, second) == finding


@pytest.mark.parametrize(
    ("configurations", "gaps", "reason"),
    [
        pytest.param(32, 0, "", id="enough"),
        pytest.param(31, 0, "needs 32 configurations with two seeds each, got 31", id="one"),
        pytest.param(40, 9, "not in this design", id="nine without a seed"),
    ],
)
def test_early_signal_needs_thirty_two_configurations_with_every_seed(
    generator, configurations, gaps, reason
):
    first, second = (
        ranked_arm(generator, early=0.3, late=0.2, configurations=configurations) for _ in range(2)
    )
    first.final[:gaps, 1] = math.nan

    finding = judged(EARLY_SIGNAL, first, second)

    assert (finding.decision.verdict is Verdict.NOT_EVALUABLE) is bool(reason)
    assert reason in finding.decision.reason
    assert math.isfinite(finding.effect.estimate)
    assert finding.effect.bounded is not bool(reason)


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


@pytest.mark.parametrize(
    ("ours", "theirs", "configurations", "verdict"),
    [
        pytest.param((2.0, 0.2), (0.2, 0.2), 64, "CONTRADICTED", id="early scores agree less"),
        pytest.param((0.05, 0.5), (0.2, 0.05), 128, "NOT SUPPORTED", id="noisier seeds alone"),
    ],
)
def test_a_lower_signal_contradicts_the_claim_where_it_is_lower_relative_to_the_ceiling(
    generator, ours, theirs, configurations, verdict
):
    first, second = (
        ranked_arm(generator, early=early, late=late, configurations=configurations)
        for early, late in (ours, theirs)
    )

    finding = judged(EARLY_SIGNAL, first, second)

    (tau, ceiling), (other_tau, other_ceiling) = taus(first), taus(second)
    assert finding.effect.high < 0
    assert bool(tau / ceiling < other_tau / other_ceiling) is (verdict == "CONTRADICTED")
    assert finding.decision.verdict.value == verdict
