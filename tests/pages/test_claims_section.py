"""The verdicts as rows and sentences."""

from __future__ import annotations

from made_claims import made_claim, made_evaluation, unknown_claim

from stage1.claims.intervals import Interval
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import Details, Mark, Paragraph, Strong, Table
from stage1.pages.claims_section import verdict_blocks, verdict_table

LEVEL = 0.05 / 6


def blocks_of(*claims, beside=()):
    return verdict_blocks(made_evaluation(claims=list(claims), beside=list(beside)), level=LEVEL)


def paragraphs(blocks):
    return [
        "".join(part if isinstance(part, str) else part.text for part in block.parts)
        for block in blocks
        if isinstance(block, Paragraph)
    ]


def test_a_row_has_claim_size_estimate_interval_p_verdict_and_attribution():
    claim = made_claim("2", interval=Interval(0.16, 0.13, 0.19, 0.0002), attribution="not tested")

    (row,) = verdict_table([claim]).rows

    assert row == [
        *(Strong("2 early gain"), "≥ +20%", "+16.0%", "[+13.0%, +19.0%]"),
        *("0.001", Mark("SUPPORTED"), "not tested"),  # p times 6 claims: .0012
    ]


def test_lines_beside_a_claim_are_said_to_be_ours_and_are_not_strong():
    table = next(
        b for b in blocks_of(made_claim("2"), beside=[made_claim("2b")]) if isinstance(b, Table)
    )

    assert table.rows[0][0] == Strong("2 early gain")
    assert table.rows[1][0] == "2b error reduction (ours, beside the plan's number)"
    assert table.rows[1][5] == Mark("SUPPORTED")


def test_cost_has_no_attribution():
    table = next(b for b in blocks_of(made_claim("6", attribution="")) if isinstance(b, Table))

    assert table.rows[0][-1] == "does not apply"


def test_each_claim_has_its_sentence_and_reason_in_words():
    claim = made_claim(
        verdict=Verdict.DIRECTION_ONLY, sentence="The spread is smaller", reason="size compatible"
    )

    assert paragraphs(blocks_of(claim))[1:] == [
        "DIRECTION ONLY The spread is smaller. Size compatible."
    ]


def test_a_reason_that_the_sentence_tells_is_not_told_again():
    told = paragraphs(blocks_of(unknown_claim("5", "needs two seeds")))[1]

    assert told.count("needs two seeds") == 1


def test_further_numbers_are_folded_away():
    claim = made_claim(shown={"spread, random": 0.04321}, robustness={"label swap": "p = 0.2"})

    (details,) = [block for block in blocks_of(claim) if isinstance(block, Details)]

    (table,) = details.blocks
    assert table.rows == [
        ["what is estimated", claim.definition.estimand],
        ["arms", "pretrained against random"],
        ["spread, random", "0.04321"],
        ["robustness: label swap", "p = 0.2"],
    ]


def test_the_confidence_of_an_interval_is_told():
    assert "at 99.17% confidence" in paragraphs(blocks_of(made_claim()))[0]
