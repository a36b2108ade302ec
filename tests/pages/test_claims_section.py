"""The verdicts as rows and sentences."""

from __future__ import annotations

from made_claims import made_claim, made_evaluation, unknown_claim

from stage1.claims.claim import EarlierVerdict, Look
from stage1.claims.intervals import Interval
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import Details, Mark, Paragraph, Strong, Table
from stage1.pages.claims_section import look_text, verdict_blocks, verdict_table, words_blocks

LEVEL = 0.05 / 6
NOT_EVALUABLE = Verdict.NOT_EVALUABLE


def blocks_of(*claims, beside=()):
    return verdict_blocks(made_evaluation(claims=list(claims), beside=list(beside)), level=LEVEL)


def words_of(*claims):
    return words_blocks(made_evaluation(claims=list(claims)))


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
        *("0.001", Mark("SUPPORTED"), "not tested", "32"),  # p times 6 claims: .0012
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

    assert table.rows[0][-2] == "does not apply"


def test_each_claim_has_its_sentence_and_reason_in_words():
    claim = made_claim(
        verdict=Verdict.DIRECTION_ONLY, sentence="The spread is smaller", reason="size compatible"
    )

    assert paragraphs(words_of(claim)) == ["DIRECTION ONLY The spread is smaller. Size compatible."]


def test_a_reason_that_the_sentence_tells_is_not_told_again():
    (told,) = paragraphs(words_of(unknown_claim("5", "needs two seeds")))

    assert told.count("needs two seeds") == 1


def test_further_numbers_are_folded_away():
    claim = made_claim(shown={"spread, random": 0.04321}, robustness={"label swap": "p = 0.2"})

    (details,) = [block for block in words_of(claim) if isinstance(block, Details)]

    (table,) = details.blocks
    assert table.rows == [
        ["what is estimated", claim.definition.estimand],
        ["arms", "pretrained against random"],
        ["spread, random", "0.04321"],
        ["robustness: label swap", "p = 0.2"],
    ]


def test_claims_that_are_not_in_the_design_take_one_line_together():
    absent = [
        unknown_claim("4", "not in this design: needs random_fixed and shuffled_fixed"),
        unknown_claim("5", "not in this design (32 configurations with two seeds)"),
    ]
    claims = [made_claim("1"), *absent]

    (table,) = [block for block in blocks_of(*claims) if isinstance(block, Table)]
    (line, _) = paragraphs(blocks_of(*claims))

    assert [row[0] for row in table.rows] == [Strong("1 sensitivity")]
    assert line == (
        "Not in this design: 4 stability (needs random_fixed and shuffled_fixed); "
        "5 early signal (32 configurations with two seeds)."
    )
    assert paragraphs(words_of(*absent)) == []


def test_what_the_earlier_looks_said_stands_beside_the_verdict():
    earlier = EarlierVerdict(16, Verdict.INCONCLUSIVE, 0.1, -0.2, 0.4)
    claim = made_claim("1", earlier=(earlier,))
    looks = [
        Look(16, 0.001, {"1": Verdict.INCONCLUSIVE, "2": Verdict.INCONCLUSIVE, "5": NOT_EVALUABLE}),
        Look(32, 0.003, {"1": Verdict.SUPPORTED, "2": NOT_EVALUABLE, "5": NOT_EVALUABLE}),
    ]
    claims = [claim, made_claim("2"), unknown_claim("5", "not in this design")]
    evaluation = made_evaluation(claims=claims, looks=looks)

    table = verdict_table([claim])

    assert table.header[-2:] == ["look", "earlier looks"]
    assert table.rows[0][-2:] == ["32", "16: INCONCLUSIVE +10.0% [−20.0%, +40.0%]"]
    assert look_text(evaluation) == "Judged after 32 configurations; at 16: 1 2 INCONCLUSIVE."
    assert "at 99.70% confidence" in paragraphs(verdict_blocks(evaluation, level=LEVEL))[-1]


def test_the_confidence_of_an_interval_is_told():
    assert "at 99.17% confidence" in paragraphs(blocks_of(made_claim()))[0]
