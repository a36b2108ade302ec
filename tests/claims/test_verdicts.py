"""From intervals to verdicts: the table of verdicts row by row, and what would decide."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stage1.claims.intervals import NO_INTERVAL, Interval, mean_interval
from stage1.claims.verdicts import (
    MEANINGS,
    Verdict,
    advice,
    configurations_needed,
    decide,
    decide_cost,
)

CLAIMED = 0.2


def between(low, high):
    middle = (low + high) / 2 if math.isfinite(low + high) else 0.3
    return Interval(middle, low, high, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        pytest.param(0.21, 0.40, "SUPPORTED", id="above the claimed size"),
        pytest.param(0.20, 0.40, "SUPPORTED", id="from just the claimed size"),
        pytest.param(0.20, 0.20, "SUPPORTED", id="the claimed size alone"),
        pytest.param(0.19, 0.40, "DIRECTION ONLY", id="from below the claimed size"),
        pytest.param(0.01, 0.20, "DIRECTION ONLY", id="positive up to the claimed size"),
        pytest.param(0.01, 0.19, "DIRECTION ONLY", id="positive below the claimed size"),
        pytest.param(0.00, 0.40, "INCONCLUSIVE", id="from just zero"),
        pytest.param(-0.10, 0.40, "INCONCLUSIVE", id="from below zero past the claimed size"),
        pytest.param(-0.10, 0.20, "INCONCLUSIVE", id="from below zero to the claimed size"),
        pytest.param(-0.10, 0.19, "NOT SUPPORTED", id="around zero below the claimed size"),
        pytest.param(0.00, 0.19, "NOT SUPPORTED", id="from zero below the claimed size"),
        pytest.param(-0.10, 0.00, "NOT SUPPORTED", id="up to just zero"),
        pytest.param(0.00, 0.00, "NOT SUPPORTED", id="zero alone"),
        pytest.param(-0.30, -0.01, "CONTRADICTED", id="below zero"),
        pytest.param(-math.inf, math.inf, "INCONCLUSIVE", id="no ends"),
        pytest.param(0.30, math.inf, "INCONCLUSIVE", id="no upper end"),
        pytest.param(-math.inf, -0.1, "INCONCLUSIVE", id="no lower end"),
        pytest.param(-math.inf, 0.1, "INCONCLUSIVE", id="no lower end, around zero"),
    ],
)
def test_an_interval_has_the_verdict_of_its_row(low, high, verdict):
    assert decide(between(low, high), claimed=CLAIMED).verdict.value == verdict


def test_every_verdict_is_explained_and_without_an_estimate_there_is_none():
    assert set(MEANINGS) == set(Verdict)
    assert decide(NO_INTERVAL, claimed=CLAIMED).verdict is Verdict.NOT_EVALUABLE
    assert decide_cost(NO_INTERVAL, margin=1.15).verdict is Verdict.NOT_EVALUABLE


@pytest.mark.parametrize(
    ("high", "reason"), [(0.2, "size compatible"), (0.1999, "smaller than claimed")]
)
def test_a_shown_direction_says_whether_the_claimed_size_is_compatible(high, reason):
    assert decide(between(0.05, high), claimed=CLAIMED).reason == reason


def test_an_inconclusive_claim_says_what_would_decide_it():
    decision = decide(between(-0.1, 0.5), claimed=CLAIMED, advice="about 40 configurations")

    assert decision.reason == "about 40 configurations"


@pytest.mark.parametrize(
    ("low", "needed"),
    [
        pytest.param(-0.5, 64, id="twice the reach, four times as many"),
        pytest.param(-0.25, 36, id="one and a half times the reach"),
        pytest.param(0.0, 17, id="at zero already: one more"),
        pytest.param(0.5 * (1 - math.sqrt(10)) + 1e-9, 160, id="ten times as many"),
        pytest.param(0.5 * (1 - math.sqrt(10)) - 1e-6, None, id="more than ten times as many"),
        pytest.param(-math.inf, None, id="no lower end"),
        pytest.param(-1e200, None, id="next to no lower end"),
    ],
)
def test_configurations_needed_grow_with_the_square_of_the_reach(low, needed):
    assert configurations_needed(Interval(0.5, low, 1.5, 0.3), 16) == needed


@pytest.mark.parametrize("estimate", [0.0, -0.05, math.nan])
def test_no_number_of_configurations_shows_an_effect_that_is_not_there(estimate):
    assert configurations_needed(Interval(estimate, -0.5, 0.5, 0.9), 16) is None


def test_a_study_as_large_as_advised_finds_the_effect_if_it_is_as_estimated():
    values = np.random.default_rng(3).normal(0.3, 1, size=40)
    interval = mean_interval(values, error_rate=0.05 / 6)

    needed = configurations_needed(interval, len(values))

    error = values.std(ddof=1) / math.sqrt(needed)
    assert interval.low < 0
    # With more configurations Student's quantile is smaller still.
    assert values.mean() - stats.t.isf(0.05 / 12, needed - 1) * error > 0


def test_advice_names_the_number_and_the_next_design_or_says_that_none_would_do():
    few = advice(Interval(0.5, -0.25, 1.25, 0.3), 16)
    many = advice(Interval(0.001, -0.5, 0.5, 0.9), 16)

    assert "36 configurations" in few
    assert "a design of 64" in few
    assert many.startswith("cannot be decided with up to 10 times as many")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        pytest.param(0.90, 1.14, "SUPPORTED", id="below the margin"),
        pytest.param(0.90, 1.15, "SUPPORTED", id="up to just the margin"),
        pytest.param(1.02, 1.16, "INCONCLUSIVE", id="around the margin"),
        pytest.param(1.15, 1.30, "INCONCLUSIVE", id="from just the margin"),
        pytest.param(1.16, 1.30, "CONTRADICTED", id="above the margin"),
        pytest.param(0.00, math.inf, "INCONCLUSIVE", id="no upper end"),
    ],
)
def test_a_cost_ratio_has_the_verdict_of_its_place_around_the_margin(low, high, verdict):
    assert decide_cost(between(low, high), margin=1.15).verdict.value == verdict
