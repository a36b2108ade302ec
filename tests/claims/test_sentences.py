"""Verdicts in plain words."""

from __future__ import annotations

import math

import pytest

from stage1.claims.catalogue import DEFINITIONS
from stage1.claims.finding import EARLY_GAIN, EARLY_SIGNAL, FINAL_GAIN, SENSITIVITY, STABILITY
from stage1.claims.intervals import NO_INTERVAL, Interval
from stage1.claims.sentences import (
    ESTIMANDS,
    claim_sentence,
    cost_sentence,
    signed_share,
)
from stage1.claims.verdicts import Verdict


def sentence(name, interval, verdict, **replaced):
    arguments = {
        "arms": ("pretrained", "random"),
        "effect": interval,
        "claimed": 0.2,
        "verdict": verdict,
        "reason": "",
    }
    return claim_sentence(name, **(arguments | replaced))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (SENSITIVITY, "the spread between hyperparameter configurations is 25.0% smaller"),
        (EARLY_GAIN, "val_correlation at the early epoch is 25.0% higher"),
        (FINAL_GAIN, "val_correlation at the horizon is 25.0% higher"),
        (STABILITY, "the variance between seeds is 25.0% smaller"),
        (EARLY_SIGNAL, "agreement with the final ranking is 0.250 higher"),
    ],
)
def test_a_positive_effect_is_told_in_the_claims_own_words(name, words):
    text = sentence(name, Interval(0.25, 0.05, 0.4, 0.01), Verdict.DIRECTION_ONLY)

    assert words in text
    assert text.startswith("With pretrained weights")
    assert "than with random ones" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (SENSITIVITY, "25.0% larger than"),
        (EARLY_GAIN, "25.0% lower than"),
        (STABILITY, "25.0% larger than"),
        (EARLY_SIGNAL, "0.250 lower than"),
    ],
)
def test_a_negative_effect_is_told_as_its_opposite(name, words):
    text = sentence(name, Interval(-0.25, -0.4, -0.05, 0.01), Verdict.CONTRADICTED)

    assert words in text
    assert "the effect is the other way" in text
    assert "-" not in text  # a minus sign beside "larger" would say the contrary


def test_both_ends_of_the_interval_are_told_with_their_direction():
    text = sentence(FINAL_GAIN, Interval(0.1, -0.05, 0.25, 0.2), Verdict.INCONCLUSIVE)

    assert "(5.0% lower to 25.0% higher)" in text


def test_an_interval_without_ends_is_any_amount():
    text = sentence(FINAL_GAIN, Interval(0.1, -math.inf, math.inf, 0.2), Verdict.INCONCLUSIVE)

    assert "(any amount lower to any amount higher)" in text


def test_the_claimed_size_is_told_in_the_unit_of_the_effect():
    interval = Interval(0.25, 0.05, 0.4, 0.01)

    share = sentence(FINAL_GAIN, interval, Verdict.DIRECTION_ONLY, claimed=0.1)
    difference = sentence(EARLY_SIGNAL, interval, Verdict.DIRECTION_ONLY, claimed=0.1)

    assert "(10%)" in share
    assert "(0.10)" in difference


@pytest.mark.parametrize("name", list(DEFINITIONS))
def test_what_is_not_evaluable_is_told_by_its_reason_alone(name):
    text = sentence(name, NO_INTERVAL, Verdict.NOT_EVALUABLE, reason="needs two seeds")

    assert text == "This study cannot tell: needs two seeds."


@pytest.mark.parametrize("name", list(DEFINITIONS))
@pytest.mark.parametrize("verdict", [one for one in Verdict if one != Verdict.NOT_EVALUABLE])
def test_every_verdict_of_every_claim_has_a_whole_sentence(name, verdict):
    text = sentence(name, Interval(0.25, 0.05, 0.4, 0.01), verdict)

    assert text.endswith(".")
    assert "{" not in text
    assert "nan" not in text


def test_the_error_reduction_speaks_of_what_is_missing():
    text = sentence(FINAL_GAIN, Interval(0.3, 0.2, 0.4, 0.001), Verdict.SUPPORTED, on_errors=True)

    assert "what is missing to a perfect correlation is 30.0% less than" in text


def test_every_claim_names_its_estimand():
    assert list(ESTIMANDS) == list(DEFINITIONS)


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
    [
        (0.123, "+12.3%"),
        (-0.05, "-5.0%"),
        (9.99, "+999.0%"),
        (10.0, ">+999%"),
        (-170.0, "<-999%"),
    ],
)
def test_a_share_beyond_all_sense_is_only_said_to_be_beyond(value, written):
    assert signed_share(value) == written
