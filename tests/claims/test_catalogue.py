"""The table of the claims: what the plan claims, and what every record has."""

import math

import numpy as np
import pytest
from made_runs import arm_scores, judged

from stage1.claims.catalogue import (
    ABOUT_SCORES,
    COST,
    DEFINITIONS,
    ERROR_RATE,
    PLANNED,
    REGISTERED,
)
from stage1.claims.verdicts import Verdict


def test_the_plan_has_six_claims_of_these_sizes():
    assert [(claim.number, claim.name, claim.claimed) for claim in PLANNED] == [
        ("1", "sensitivity", 0.2),
        ("2", "early gain", 0.2),
        ("3", "gain at the horizon", 0.1),
        ("4", "stability", 0.2),
        ("5", "early signal", 0.1),
        ("6", "cost", 1.15),
    ]


def test_the_plans_claims_share_an_error_rate_of_five_per_cent():
    assert pytest.approx(0.05) == 6 * ERROR_RATE


def test_a_line_beside_a_claim_comes_after_it_and_claims_as_much():
    labels = [definition.label for definition in DEFINITIONS]

    assert labels == [
        "1 sensitivity",
        "2 early gain",
        "2b error reduction",
        "3 gain at the horizon",
        "3b error reduction",
        "4 stability",
        "5 early signal",
        "6 cost",
    ]
    sizes = {definition.name: definition.claimed for definition in PLANNED}
    assert all(line.claimed == sizes[line.name] for line in DEFINITIONS)


def test_a_new_run_registers_every_claim_about_scores_by_a_name_of_its_own():
    assert REGISTERED.sizes == {
        "sensitivity": 0.2,
        "early gain": 0.2,
        "gain at the horizon": 0.1,
        "stability": 0.2,
        "early signal": 0.1,
        "early gain, error reduction": 0.2,
        "gain at the horizon, error reduction": 0.1,
    }
    assert REGISTERED.error_rate == ERROR_RATE


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda one: one.registered_name)
def test_every_record_is_whole(definition):
    assert definition.estimand
    if definition in ABOUT_SCORES:
        assert all((definition.subject, definition.more, definition.less, definition.planted))


def test_the_cost_is_not_judged_by_scores():
    with pytest.raises(ValueError, match="must be about scores, got cost"):
        COST.judge(None, None, error_rate=ERROR_RATE)


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
