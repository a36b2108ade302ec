"""A tested claim: its sentence, its p and claims.json."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_claims import made_claim, read_strictly

from stage1.claims.catalogue import (
    ABOUT_SCORES,
    EARLY_GAIN,
    EARLY_SIGNAL,
    FINAL_ERROR,
    FINAL_GAIN,
    PLANNED,
    SENSITIVITY,
    STABILITY,
)
from stage1.claims.claim import claims_json, cost_sentence, score_sentence, signed_share
from stage1.claims.intervals import NO_INTERVAL, Interval
from stage1.claims.verdicts import Verdict


def sentence(definition, effect, verdict, reason=""):
    return score_sentence(
        definition, arms=("pretrained", "random"), effect=effect, verdict=verdict, reason=reason
    )


UP, DOWN = Interval(0.25, 0.05, 0.4, 0.01), Interval(-0.25, -0.4, -0.05, 0.01)
OPEN, ENDLESS = Interval(0.1, -0.05, 0.25, 0.2), Interval(0.1, -math.inf, math.inf, 0.2)


@pytest.mark.parametrize(
    ("definition", "effect", "verdict", "words"),
    [
        (
            SENSITIVITY,
            UP,
            "DIRECTION ONLY",
            "minus the middle one) is 25.0% smaller than",
        ),
        (EARLY_GAIN, UP, "DIRECTION ONLY", "val_correlation at the early epoch is 25.0% higher"),
        (FINAL_GAIN, UP, "DIRECTION ONLY", "the claimed size (10%) is not"),
        (STABILITY, UP, "DIRECTION ONLY", "the variance between seeds is 25.0% smaller"),
        (EARLY_SIGNAL, UP, "DIRECTION ONLY", "final ranking is 0.250 higher"),
        (EARLY_SIGNAL, UP, "DIRECTION ONLY", "the claimed size (0.10) is not"),
        (FINAL_ERROR, UP, "SUPPORTED", "missing to a perfect correlation is 25.0% less than"),
        (SENSITIVITY, DOWN, "CONTRADICTED", "25.0% larger than"),
        (EARLY_GAIN, DOWN, "CONTRADICTED", "25.0% lower than"),
        (STABILITY, DOWN, "CONTRADICTED", "25.0% larger than"),
        (EARLY_SIGNAL, DOWN, "CONTRADICTED", "0.250 lower than"),
        (FINAL_GAIN, OPEN, "INCONCLUSIVE", "(5.0% lower to 25.0% higher)"),
        (FINAL_GAIN, ENDLESS, "INCONCLUSIVE", "(any amount lower to any amount higher)"),
    ],
)
def test_an_effect_is_told_in_the_claims_own_words_and_unit(definition, effect, verdict, words):
    text = sentence(definition, effect, Verdict(verdict))

    assert words in text
    assert text.startswith("With pretrained weights")
    assert "than with random ones" in text
    assert "-" not in text  # a minus sign beside "larger" would say the contrary


@pytest.mark.parametrize("definition", ABOUT_SCORES)
def test_every_verdict_has_a_whole_sentence_and_what_is_not_evaluable_its_reason_alone(definition):
    unknown = sentence(definition, NO_INTERVAL, Verdict.NOT_EVALUABLE, reason="needs two seeds")
    texts = [sentence(definition, UP, one) for one in Verdict if one != Verdict.NOT_EVALUABLE]

    assert unknown == "This study cannot tell: needs two seeds."
    for text in texts:
        assert text.endswith(".")
        assert "{" not in text
        assert "nan" not in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.SUPPORTED, "within what the plan allows (1.15)"),
        (Verdict.CONTRADICTED, "more than the plan allows (1.15)"),
        (Verdict.INCONCLUSIVE, "not clear enough"),
    ],
)
def test_the_cost_is_told_as_a_multiple_with_its_interval(verdict, words):
    text = cost_sentence("t5-small", Interval(1.2, 1.1, 1.3, 0.1), margin=1.15, verdict=verdict)

    assert "A step with t5-small takes 1.200 times as long" in text
    assert "(1.100 to 1.300)" in text
    assert words in text


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.123, "+12.3%"), (-0.05, "-5.0%"), (9.99, "+999.0%"), (10.0, ">+999%"), (-170.0, "<-999%")],
)
def test_a_share_beyond_all_sense_is_only_said_to_be_beyond(value, written):
    assert signed_share(value) == written


def test_a_claim_is_kept_under_the_names_that_programs_read_apart_from_lines_beside_and_facts():
    claim = made_claim(
        "1",
        shown={"tau": np.float64(0.25), "ceiling": math.nan, "epoch": np.float64(math.inf)},
        interval=Interval(0.3, 0.1, 0.5, 0.002),
        verdict=Verdict.DIRECTION_ONLY,
        attribution="attribution not tested",
        reason="size compatible",
    )

    text = claims_json([claim], [made_claim("2b")], [], {"deviations": ["none"]})

    content = read_strictly(text)
    (claim,), (beside,) = content["claims"], content["beside"]
    assert {
        "id": "1",
        "arm_pair": ["pretrained", "random"],
        "estimate": 0.3,
        "low": 0.1,
        "high": 0.5,
        "p": pytest.approx(0.002 * 6),
        "verdict": "DIRECTION ONLY",
        "attribution": "attribution not tested",
        "reason": "size compatible",
        "shown": {"tau": 0.25, "ceiling": None, "epoch": None},
    }.items() <= claim.items()
    assert (beside["id"], content["deviations"]) == ("2b", ["none"])


@pytest.mark.parametrize(
    "interval",
    [
        pytest.param(NO_INTERVAL, id="no interval"),
        pytest.param(Interval(0.3, -math.inf, math.inf, 0.4), id="no ends"),
        pytest.param(Interval(0.3, math.nan, math.nan, math.nan), id="no bounds"),
    ],
)
def test_what_is_not_finite_is_null(interval):
    content = read_strictly(claims_json([made_claim(interval=interval)], [], [], {}))

    (claim,) = content["claims"]
    assert claim["low"] is None
    assert claim["high"] is None
    assert (claim["estimate"] is None) is math.isnan(interval.estimate)
    assert (claim["p"] is None) is math.isnan(interval.p)


@pytest.mark.parametrize(("p", "printed"), [(0.001, 0.001 * len(PLANNED)), (0.5, 1), (0, 0)])
def test_the_printed_p_is_that_of_one_interval_times_the_number_of_claims(p, printed):
    assert made_claim(interval=Interval(0.1, 0, 1, p)).p == pytest.approx(printed)
