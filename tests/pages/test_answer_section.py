"""The first screen: an honest sentence for every verdict, before any look too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_claims import made_claim, made_evaluation, unknown_claim
from made_runs import arm_scores, scores_of, study_tables

from stage1.claims.intervals import Interval
from stage1.claims.tuning_value import tuning_value
from stage1.claims.verdicts import (
    ATTRIBUTABLE,
    NOT_ATTRIBUTABLE,
    NOT_SHOWN,
    NOT_TESTED,
    Verdict,
)
from stage1.pages.answer_section import answers, leaderboard_blocks, leaderboard_table
from stage1.pages.blocks import Paragraph

NUMBERS = np.random.default_rng(5).normal(size=(16, 1))
TABLES = study_tables(
    {
        "pretrained": arm_scores(0.8 + 0.02 * NUMBERS + [[0, 0.002]]),
        "random": arm_scores(0.78 + 0.04 * NUMBERS + [[0, 0.002]]),
    }
)
ENDS = {
    Verdict.SUPPORTED: Interval(0.25, 0.22, 0.28, 0.001),
    Verdict.DIRECTION_ONLY: Interval(0.15, 0.02, 0.28, 0.004),
    Verdict.INCONCLUSIVE: Interval(0.1, -0.1, 0.3, 0.2),
    Verdict.NOT_SUPPORTED: Interval(0.01, -0.05, 0.07, 0.2),
    Verdict.CONTRADICTED: Interval(-0.1, -0.15, -0.05, 0.001),
}
REASONS = {Verdict.DIRECTION_ONLY: "size compatible"}


def told(*claims, tables=TABLES):
    """The three answers of an evaluation that has these claims."""
    evaluation = made_evaluation(claims=list(claims), scores=scores_of(tables))
    return [
        "".join(part if isinstance(part, str) else part.text for part in answer.parts)
        for answer in answers(tables, evaluation)
    ]


def claim_with(number, verdict, **changes):
    fields = {"interval": ENDS[verdict], "reason": REASONS.get(verdict, "")} | changes
    return made_claim(number, verdict=verdict, **fields)


@pytest.mark.parametrize(
    ("verdict", "lead", "ending"),
    [
        (Verdict.SUPPORTED, "Yes", f"that is the claimed gain of 10% or more; {ATTRIBUTABLE}"),
        (Verdict.DIRECTION_ONLY, "Yes", f"the claimed gain of 10% is open; {ATTRIBUTABLE}"),
        (Verdict.INCONCLUSIVE, "Open", "no effect and the claimed gain of 10% both fit"),
        (Verdict.NOT_SUPPORTED, "Not as claimed", "the claimed gain of 10% is excluded"),
        (Verdict.CONTRADICTED, "No", "that is a loss, not a gain"),
    ],
)
def test_whether_pretraining_helps_has_a_form_for_every_verdict(verdict, lead, ending):
    helps, _, _ = told(claim_with("3", verdict))

    assert helps.startswith(f"Does pretraining help here? {lead}: with this checkpoint")
    assert "than with random weights on these bars (" in helps
    assert "at 99.2% confidence after 32 configurations)" in helps
    assert helps.endswith(f"{ending}.")
    assert ("lower than" in helps) == (verdict is Verdict.CONTRADICTED)


@pytest.mark.parametrize(
    ("attribution", "ending"),
    [
        (NOT_ATTRIBUTABLE, "not attributable to what the weights learned."),
        (NOT_TESTED, "attribution not tested."),
        (NOT_SHOWN, "attribution not shown: the comparison with shuffled weights is open."),
    ],
)
def test_a_gain_says_whether_the_weights_learned_it(attribution, ending):
    helps, _, _ = told(claim_with("3", Verdict.SUPPORTED, attribution=attribution))

    assert helps.endswith(f"; {ending}")


def test_without_room_for_a_gain_the_error_reduction_answers():
    full = unknown_claim("3", "at most 11.6% is possible")

    helps, _, _ = told(full, claim_with("3b", Verdict.CONTRADICTED))

    assert "what val_correlation misses to 1 at the end of training is 10.0% more than" in helps


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        pytest.param([unknown_claim("3", "why")], "Cannot be said: why.", id="not evaluable"),
        pytest.param(
            [unknown_claim("3", "2 of 8 trials have ended")._replace(look=0)],
            "Not known yet: 2 of 8 trials have ended.",
            id="before the first look",
        ),
        pytest.param([], "The study does not ask.", id="no such claim"),
    ],
)
def test_without_an_answer_the_reason_is_told(claims, expected):
    helps, _, _ = told(*claims)

    assert helps == f"Does pretraining help here? {expected}"


@pytest.mark.parametrize(
    ("verdict", "lead", "ending"),
    [
        (Verdict.SUPPORTED, "Yes", "that is the claimed 20% smaller gap or more"),
        (Verdict.DIRECTION_ONLY, "Yes", "whether it reaches the claimed 20% smaller gap is open"),
        (Verdict.INCONCLUSIVE, "Open", "no effect and the claimed 20% smaller gap both fit"),
        (Verdict.NOT_SUPPORTED, "Not as claimed", "the claimed 20% smaller gap is excluded"),
        (Verdict.CONTRADICTED, "No", "tuning is worth more, not less"),
    ],
)
def test_whether_tuning_is_easier_tells_the_gap_of_each_arm(verdict, lead, ending):
    scores = scores_of(TABLES)
    losses = (-scores.arm(arm).log_loss for arm in ("pretrained", "random"))
    gaps = [100 * math.expm1(gap) for gap in tuning_value(*losses, error_rate=0.05).gaps]
    estimate, low, high, _ = ENDS[verdict]

    _, easier, _ = told(claim_with("1", verdict))

    assert easier.startswith(f"Is it easier to tune? {lead}: the loss of a typical pick is ")
    assert f"{gaps[0]:.1f}% above that of the best of three with pretrained" in easier
    assert f"and {gaps[1]:.1f}% with random ones" in easier
    assert f"the ratio is {1 - estimate:.2f} ({1 - high:.2f} to {1 - low:.2f}, at 99.2%" in easier
    assert easier.endswith(f"{ending}.")


def test_an_answer_that_a_guard_turned_has_the_guards_reason():
    guarded = claim_with(
        "1",
        Verdict.NOT_SUPPORTED,
        interval=ENDS[Verdict.SUPPORTED],
        reason="flatter because worse",
    )

    _, easier, _ = told(guarded)

    assert easier.startswith("Is it easier to tune? Not as claimed: ")
    assert easier.endswith("; flatter because worse.")


def test_what_to_train_has_arm_configuration_score_and_cost():
    cost = made_claim("6", interval=Interval(1.12, 1.11, 1.13, 0.001), claimed=1.15)

    _, _, train = told(cost)

    best = scores_of(TABLES).arm("random").final.mean(axis=1)
    place, score = int(best.argmax()), best.max()
    # Between the two seeds .002: a standard deviation of .0014, of their mean .0010.
    assert (
        f"What to train? random design{place:03d} (val_correlation {score:.4f} +- 0.0010" in train
    )
    assert "a tie" not in train
    assert train.endswith(
        "A step with a T5 costs 12.0% more than with a vanilla encoder (+11.0% to +13.0%), within "
        "the allowed 15%."
    )


@pytest.mark.parametrize(
    ("verdict", "ending"),
    [
        (Verdict.CONTRADICTED, "beyond the allowed 15%."),
        (Verdict.INCONCLUSIVE, "too noisy to compare with the allowed 15%."),
        (Verdict.NOT_EVALUABLE, "beside a vanilla encoder is timed after the last trial."),
    ],
)
def test_the_cost_has_a_form_for_every_verdict(verdict, ending):
    interval = Interval(1.2, 1.1, 1.3, 0.5)

    _, _, train = told(made_claim("6", verdict=verdict, interval=interval, claimed=1.15))

    assert train.endswith(ending)


def shifted(shift, *, seeds=2):
    """Arms that differ by `shift`, the shuffled control ahead; between seeds .002."""
    level = 0.9 + 0.01 * np.arange(4)[:, None] + 0.002 * np.arange(seeds)
    return study_tables(
        {
            "pretrained": arm_scores(level),
            "random": arm_scores(level - shift),
            "shuffled": arm_scores(level + 0.01),
        }
    )


def test_a_tie_names_the_other_arms_best_and_no_control_is_recommended():
    _, _, tied = told(tables=shifted(0.001))
    _, _, apart = told(tables=shifted(0.002))
    _, _, single = told(tables=shifted(0.001, seeds=1))

    assert "pretrained design003 (" in tied
    assert "; a tie with random design003 (0.9300): take the cheaper" in tied
    assert "a tie" not in apart
    assert "with one seed each a tie cannot be told" in single


def test_before_the_first_complete_configuration_there_is_nothing_to_train():
    nothing = TABLES._replace(trials=TABLES.trials.iloc[:0])
    evaluation = made_evaluation(claims=[])

    *_, train = answers(nothing, evaluation)

    assert str(train.parts[1]).startswith(" Nothing yet: no configuration has completed")
    assert isinstance(leaderboard_blocks(nothing)[1], Paragraph)


def test_the_leaderboard_has_ten_rows_of_arms_that_one_would_train():
    table = leaderboard_table(shifted(0.001))

    assert table.header[1:] == [
        "arm",
        "configuration",
        "val_correlation",
        "+-",
        "seeds",
        "s / trial",
    ]
    assert [row[1:5] for row in table.rows[:2]] == [
        ["pretrained", "design003", "0.9310", "0.0010"],
        ["random", "design003", "0.9300", "0.0010"],
    ]
    assert {row[1] for row in table.rows} == {"pretrained", "random"}
    assert len(table.rows) == 8
    assert len(leaderboard_table(TABLES).rows) == 10
