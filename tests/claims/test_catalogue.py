"""The table of the claims: what the plan claims, and what every record has."""

import math
from itertools import pairwise

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

WITHOUT_EFFECT = (Verdict.NOT_SUPPORTED, Verdict.INCONCLUSIVE)
SIX = {
    "1": ("sensitivity", 0.2),
    "2": ("early gain", 0.2),
    "3": ("gain at the horizon", 0.1),
    "4": ("stability", 0.2),
    "5": ("early signal", 0.1),
    "6": ("cost", 1.15),
}


def test_the_plans_six_claims_have_the_sizes_of_the_plan_and_share_five_per_cent_of_errors():
    claims = {claim.number: (claim.name, claim.claimed) for claim in PLANNED}

    assert SIX.items() <= claims.items()
    assert len(PLANNED) * ERROR_RATE == pytest.approx(0.05)


def test_a_line_beside_a_claim_comes_right_after_it_and_claims_as_much():
    for before, line in pairwise(DEFINITIONS):
        if line.beside:
            assert line.number.startswith(before.number)
            assert (line.name, line.claimed) == (before.name, before.claimed)
            assert line.label == f"{line.number} {line.beside}"


def test_a_new_run_registers_every_claim_about_scores_by_a_name_of_its_own():
    about_scores = {name: size for name, size in SIX.values() if name != "cost"}
    beside = {"early gain, error reduction": 0.2, "gain at the horizon, error reduction": 0.1}

    assert (about_scores | beside).items() <= REGISTERED.sizes.items()
    assert len(REGISTERED.sizes) == len(ABOUT_SCORES)
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
@pytest.mark.parametrize(("score", "also"), [(0.5, WITHOUT_EFFECT), (math.nan, ())])
def test_every_definition_takes_arms_with_the_same_score_everywhere_or_none(
    definition, score, also
):
    same = arm_scores(np.full((40, 2), score))

    verdict = judged(definition, same, same).decision.verdict
    assert verdict in (Verdict.NOT_EVALUABLE, *also)
