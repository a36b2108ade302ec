"""Run folders with a planted truth, and a real run, from their tables to the verdicts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from made_claims import read_strictly
from made_runs import (
    FACTOR,
    FREEZE,
    LR,
    PATCH,
    PLANTED,
    RICH_SPACE,
    changed_study,
    planted,
    registered,
    study_tables,
    synthetic_study,
    write_run,
)

from stage1.claims.claim import claims_json
from stage1.claims.judge import evaluate
from stage1.claims.scores import RunTables, read_run
from stage1.claims.verdicts import ATTRIBUTABLE, NO_GAIN, NOT_ATTRIBUTABLE, NOT_SHOWN, NOT_TESTED
from stage1.pages.study_page import facts

REAL_RUN = Path(__file__).parent / "n32_trials.parquet"
"""A study of the default space: 32 Sobol configurations, pretrained and random, one seed."""
SIZE = "transfer_learning.lm_name_or_path"


@pytest.fixture
def judged_run(tmp_path):
    """The claims of a planted run by number, from its folder."""

    def judge(name):
        evaluation = evaluate(read_run(write_run(tmp_path / "run", PLANTED[name]())))
        told = facts(evaluation)
        read_strictly(claims_json(evaluation.claims, evaluation.beside, evaluation.looks, told))
        return evaluation, {claim.id: claim for claim in evaluation.lines}

    return judge


@pytest.mark.parametrize(
    ("name", "verdicts", "reason"),
    [
        pytest.param(
            "nothing learned",
            {"1": "NOT SUPPORTED", "2": "CONTRADICTED", "3": "CONTRADICTED"},
            "flatter because worse",
            id="P learns nothing",
        ),
        pytest.param(
            "all diverged",
            {"1": "INCONCLUSIVE", "2": "CONTRADICTED", "3": "CONTRADICTED"},
            "the same score",
            id="all of P diverged",
        ),
        pytest.param(
            "flatter because worse",
            {"1": "NOT SUPPORTED", "3": "CONTRADICTED"},
            "flatter because worse",
            id="P is worse with half the spread",
        ),
        pytest.param(
            "a loss at a ceiling",
            {"2": "CONTRADICTED", "3": "CONTRADICTED"},
            "",
            id="a loss where there is no room for a gain",
        ),
    ],
)
def test_what_is_no_gain_supports_nothing_and_nothing_is_attributed(
    judged_run, name, verdicts, reason
):
    evaluation, claims = judged_run(name)

    assert {number: claims[number].verdict.value for number in verdicts} == verdicts
    assert reason in claims["1"].reason
    assert {claim.attribution for claim in claims.values() if claim.id != "6"} == {NO_GAIN}
    for number in "45":
        assert claims[number].reason.startswith("not in this design")
    assert not evaluation.asks_for_control


@pytest.mark.parametrize(
    ("name", "attribution"),
    [
        ("bad control", ATTRIBUTABLE),
        ("good control", NOT_ATTRIBUTABLE),
        ("uncertain control", NOT_SHOWN),
        ("unfinished control", NOT_TESTED),
        ("no control", NOT_TESTED),
    ],
)
def test_a_gain_is_attributed_by_the_comparison_with_shuffled_weights(
    judged_run, name, attribution
):
    evaluation, claims = judged_run(name)

    assert claims["3"].verdict.value == "SUPPORTED"
    assert claims["3"].attribution == attribution
    assert evaluation.asks_for_control


def test_a_fixed_draw_in_place_of_the_pretrained_weights_is_not_more_stable(judged_run):
    _, claims = judged_run("fixed draw")

    assert claims["4"].verdict.value == "NOT EVALUABLE"
    assert claims["4"].reason.startswith("not in this design")
    assert claims["4"].attribution == NO_GAIN


def test_beside_arms_with_one_draw_a_fixed_draw_is_as_stable_as_they_are(judged_run):
    _, claims = judged_run("fixed draw beside fixed arms")

    assert claims["4"].arm_pair == ("pretrained", "random_fixed")
    assert claims["4"].interval.low < 0 < claims["4"].interval.high
    assert claims["4"].verdict.value in ("INCONCLUSIVE", "NOT SUPPORTED")


@pytest.mark.parametrize(
    ("noise", "attribution"), [(0.02, ATTRIBUTABLE), (0.001, NOT_ATTRIBUTABLE), (None, NOT_TESTED)]
)
def test_stability_is_attributed_by_shuffled_weights_of_one_draw(noise, attribution):
    losses = {
        "pretrained": (0.4, 0.1, 0.004),
        "random": (0.4, 0.1, 0.02),
        "shuffled": (0.4, 0.1, 0.004),  # varies with the seed: no partner of this claim
        "random_fixed": (0.4, 0.1, 0.02),
    }
    if noise is not None:
        losses["shuffled_fixed"] = (0.4, 0.1, noise)
    tables = study_tables(planted(**losses), design={"looks": [16, 32], "seeds": 2})

    claim = evaluate(tables).claims[3]

    assert (claim.verdict.value, claim.attribution) == ("SUPPORTED", attribution)


def test_copies_of_configurations_are_no_evidence(judged_run, tmp_path):
    evaluation, claims = judged_run("four of eight distinct")
    tables = PLANTED["four of eight distinct"]()
    first_four = tables._replace(
        trials=tables.trials[tables.trials["config_id"] < "design004"],
        registration=tables.registration.model_copy(update={"configurations": 4}),
    )

    assert claims["1"].verdict.value == "NOT EVALUABLE"
    assert claims["1"].reason == "needs 16 different configurations, got 4"
    assert claims["3"].verdict.value == "NOT SUPPORTED"
    once = {claim.id: claim for claim in evaluate(first_four).lines}
    for number in ("2", "3", "2b", "3b"):
        assert claims[number].interval == once[number].interval
    assert any("holds 4 different configurations" in text for text in evaluation.warnings)


def test_settings_that_vary_together_leave_claim_1_open_and_are_named(tmp_path):
    tables = PLANTED["no control"]()
    tables.trials[f"param.{FREEZE}"] = 0
    number = tables.trials["config_id"].str.removeprefix("design").astype(int)
    tables.trials[f"param.{LR}"] = 1e-4 * 100 ** (number / 32)
    tables.trials[f"param.{FACTOR}"] = 0.03 * 100 ** (number / 32)
    tables.trials[f"param.{PATCH}"] = [4 if n % 2 else 16 for n in number]
    space = changed_study(tables.space, space=RICH_SPACE)

    evaluation = evaluate(read_run(write_run(tmp_path / "run", tables._replace(space=space))))

    claim = evaluation.claims[0]
    assert claim.verdict.value == "NOT EVALUABLE"
    assert f"cannot tell {LR} from {FACTOR}" in claim.reason
    assert not evaluation.decided
    assert evaluation.claims[2].verdict.value == "SUPPORTED"


# --- a real run ---


@pytest.fixture(scope="module")
def real_run() -> RunTables:
    """The real run as a design with looks; of its curves only the ends are kept."""
    trials = pd.read_parquet(REAL_RUN)
    sizes = {"type": "choice", "options": ["english-t5-nano", "english-t5-micro"]}
    space = changed_study(
        synthetic_study(arms=("pretrained", "random"), horizon=15),
        design={"looks": [16, 32]},
        space=RICH_SPACE | {SIZE: sizes},
    )
    return PLANTED["no control"]()._replace(
        space=space,
        registration=registered(space),
        trials=trials,
        curves=trials.assign(epoch=trials["epochs"]),
    )


@pytest.mark.parametrize(
    ("look", "ratio", "low", "high", "verdict"),
    [(16, 1.330, 1.060, 1.670, "CONTRADICTED"), (32, 1.231, 0.994, 1.525, "NOT SUPPORTED")],
)
def test_a_real_run_comes_out_as_published(real_run, look, ratio, low, high, verdict):
    """Numbers of an independent program on the same table; the effect is 1 - the ratio."""
    claim = evaluate(real_run, look).claims[0]

    assert claim.verdict.value == verdict
    assert claim.interval[:3] == pytest.approx((1 - ratio, 1 - high, 1 - low), abs=6e-4)
    assert [earlier.look for earlier in claim.earlier] == [16][: look // 16 - 1]


def test_the_settings_of_a_real_run_can_be_told_apart(real_run):
    assert all("cannot tell" not in claim.reason for claim in evaluate(real_run).claims)
