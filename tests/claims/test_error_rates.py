"""How often the verdicts err, on made-up studies; benchmarks/claims.py counts many more."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stage1.claims.catalogue import (
    COST,
    EARLY_ERROR,
    EARLY_GAIN,
    EARLY_SIGNAL,
    FINAL_ERROR,
    FINAL_GAIN,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.error_rates import (
    Share,
    any_false_finding,
    count,
    error_rates,
    family_defect,
    simulate,
)
from stage1.claims.intervals import Interval
from stage1.claims.ranks import tau_difference
from stage1.claims.synthetic import ALIKE, ScoreModel, draw_studies
from stage1.claims.verdicts import Decision, Finding, Verdict

DESIGN = ScoreModel(configurations=16, seeds=2)
STUDIES = 250
"""With half of the true standard error every claim is found without an effect in 5 % or more of
the studies: 12, where 6 are allowed."""


@pytest.fixture(params=[False, True], ids=["Gaussian", "heavy tails"])
def model(request):
    return DESIGN._replace(heavy_tailed=request.param)


@pytest.mark.parametrize("claim", [SENSITIVITY, EARLY_GAIN, FINAL_GAIN, STABILITY])
def test_no_effect_is_found_too_often_without_one_nor_supported_at_just_what_is_claimed(
    model, claim
):
    without = simulate(model, claim, 0.0, studies=STUDIES, seed=1)
    at_claimed = simulate(model, claim, claim.claimed, studies=STUDIES, seed=2)

    assert not without.found.exceeds(0.05 / 6)
    assert without.evaluable.value > 0.9
    assert not at_claimed.supported.exceeds(0.05 / 12)


@pytest.mark.parametrize(
    ("claim", "effect"),
    [(SENSITIVITY, 0.8), (EARLY_GAIN, 0.1), (FINAL_GAIN, 0.1), (STABILITY, 0.95), (COST, 0.2)],
)
def test_a_large_effect_is_seen_in_most_studies(claim, effect):
    large = DESIGN._replace(configurations=64)

    counts = simulate(large, claim, effect, studies=40, seed=3)

    assert counts.found.value > 0.8


@pytest.mark.parametrize("claim", [EARLY_ERROR, FINAL_ERROR])
def test_error_reductions_err_as_seldom(claim):
    without = simulate(DESIGN, claim, 0.0, studies=STUDIES, seed=4)
    at_claimed = simulate(DESIGN, claim, claim.claimed, studies=STUDIES, seed=5)

    assert not without.found.exceeds(0.05 / 6)
    assert not at_claimed.supported.exceeds(0.05 / 12)
    assert at_claimed.positive.value > 0.5


def test_a_cost_at_the_margin_is_judged_wrongly_no_more_often_than_allowed():
    counts = simulate(DESIGN, COST, 0.0, studies=1000, seed=6)

    assert not counts.found.exceeds(0.05 / 6)
    assert not counts.supported.exceeds(0.05 / 12)


def test_a_bootstrap_of_ranks_finds_no_difference_too_often_where_there_is_none():
    studies, level = 120, 0.1
    model = DESIGN._replace(configurations=32)
    generator = np.random.default_rng(7)

    found = 0
    for first, second in draw_studies(model, ALIKE, studies=studies, generator=generator):
        interval = tau_difference(
            (first.early, first.final),
            (second.early, second.final),
            error_rate=level,
            resamples=200,
            generator=generator,
        )
        found += interval.low > 0 or interval.high < 0

    assert not Share(found, studies).exceeds(level)


def test_at_least_one_of_six_errs_no_more_often_than_allowed():
    share = any_false_finding(DESIGN, studies=150, seed=8)

    assert share.studies == 150
    assert not share.exceeds(0.05)


# --- counting ---


def test_a_share_has_the_error_of_a_proportion_and_exceeds_a_nominal_one_by_more_than_three():
    share = Share(20, 400)

    assert share.value == 0.05
    assert share.error == pytest.approx(math.sqrt(0.05 * 0.95 / 400))
    assert Share(0, 400).error == pytest.approx(Share(1, 400).error)  # not known to be 0
    assert math.isnan(Share(0, 0).value)
    assert math.isnan(Share(0, 0).error)
    # At 2 % of 1000 studies: 20 hits, and 3 errors are 3 sqrt(1000 .02 .98) = 13.3.
    assert not Share(33, 1000).exceeds(0.02)
    assert Share(34, 1000).exceeds(0.02)


@pytest.mark.parametrize(
    ("low", "high", "verdict", "counted"),
    [
        pytest.param(0.3, 0.5, "SUPPORTED", (1, 1, 1, 1), id="supported"),
        pytest.param(0.1, 0.5, "DIRECTION ONLY", (1, 1, 0, 1), id="direction only"),
        pytest.param(0.3, 0.5, "INCONCLUSIVE", (1, 1, 0, 1), id="positive, scale dependent"),
        pytest.param(-0.5, -0.1, "CONTRADICTED", (1, 0, 0, 1), id="contradicted"),
        pytest.param(-0.5, -0.1, "NOT SUPPORTED", (1, 0, 0, 1), id="lower, not relatively"),
        pytest.param(-0.1, 0.5, "INCONCLUSIVE", (0, 0, 0, 1), id="inconclusive"),
        pytest.param(-math.inf, math.inf, "INCONCLUSIVE", (0, 0, 0, 1), id="without ends"),
        pytest.param(0.3, 0.5, "NOT EVALUABLE", (0, 0, 0, 0), id="not evaluable"),
    ],
)
def test_a_direction_is_counted_by_the_interval_of_an_evaluable_claim(low, high, verdict, counted):
    interval = Interval(math.nan, low, high, math.nan)

    counts = count(iter(2 * [Finding(interval, Decision(Verdict(verdict), ""), {})]))

    assert tuple(share.hits for share in counts) == tuple(2 * hits for hits in counted)
    assert all(share.studies == 2 for share in counts)


@pytest.mark.parametrize(
    ("effect", "found", "positive"), [(0.5, 50, 50), (-0.5, 50, 0)], ids=["cheap", "dear"]
)
def test_a_cost_is_found_on_either_side_of_the_margin(effect, found, positive):
    # Six rounds with 5 % noise: the interval is 0.1 wide on either side, a fifth of the effect.
    counts = simulate(DESIGN, COST, effect, studies=50, seed=0)

    assert (counts.found.hits, counts.positive.hits) == (found, positive)
    assert counts.supported.hits == positive


def test_the_same_seed_gives_the_same_counts():
    once, again = (simulate(DESIGN, FINAL_GAIN, 0.03, studies=30, seed=9) for _ in range(2))

    assert once == again
    assert 0 < once.positive.hits < 30


@pytest.mark.parametrize(
    ("claim", "model"),
    [
        pytest.param(
            EARLY_SIGNAL, DESIGN._replace(early_agreement=0.95, reliability=0.95), id="tau"
        ),
        # 1 / .84 - 1 = 19 %, 1 / .92 - 1 = 8.7 %
        pytest.param(EARLY_GAIN, DESIGN._replace(early_correlation=0.84), id="early gain"),
        pytest.param(FINAL_GAIN, DESIGN._replace(final_correlation=0.92), id="final gain"),
        pytest.param(FINAL_GAIN, DESIGN._replace(final_correlation=0.0), id="gain on zero"),
        pytest.param(FINAL_ERROR, DESIGN._replace(final_correlation=-0.1), id="error below zero"),
    ],
)
def test_an_effect_that_no_scores_can_have_has_no_rates_and_no_defect(claim, model):
    rates = error_rates(model, claim, studies=3, seed=0)

    assert rates.at_claimed is None
    assert rates.without_effect.found.studies == 3
    assert rates.defects == []


def test_a_rate_that_is_too_high_is_a_defect():
    counts = simulate(DESIGN, COST, 0.0, studies=10, seed=0)
    rates = error_rates(DESIGN, COST, studies=2, seed=0)
    often, seldom = Share(200, 1000), Share(1, 1000)

    found = rates._replace(without_effect=counts._replace(found=often))
    supported = rates._replace(
        without_effect=counts._replace(found=seldom), at_claimed=counts._replace(supported=often)
    )
    sound = supported._replace(at_claimed=counts._replace(supported=seldom))

    assert any("where there is none" in text for text in found.defects)
    assert any("SUPPORTED" in text for text in supported.defects)
    assert sound.defects == []
    beside = found._replace(definition=EARLY_ERROR).defects[0]
    assert beside.startswith("early gain, error reduction: ")
    assert family_defect(often) != ""
    assert family_defect(seldom) == ""
