"""From intervals to verdicts: the table of verdicts row by row."""

from __future__ import annotations

import math

import pytest

from stage1.claims.intervals import NO_INTERVAL, Interval
from stage1.claims.verdicts import (
    MEANINGS,
    Verdict,
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
