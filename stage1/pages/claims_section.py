"""The verdicts as rows, sentences and further numbers; report and terminal share the rows."""

from __future__ import annotations

from stage1.claims.claim import Claim
from stage1.claims.judge import Evaluation
from stage1.pages.blocks import Block, Details, Heading, Inline, Mark, Strong, Table, paragraph
from stage1.pages.numbers import claimed_effect, effect, effect_interval, p_value, significant

OURS = "ours, beside the plan's number"
"""Marks a line that the plan does not have."""


def is_beside(claim: Claim) -> bool:
    """Whether a line is ours and not one of the plan's claims."""
    return bool(claim.definition.beside)


def verdict_table(claims: list[Claim], *, ours: str = f" ({OURS})") -> Table:
    """A row per claim; `ours` follows the name of a line that the plan does not have."""
    rows: list[list[Inline]] = [
        [
            claim.definition.label + ours if is_beside(claim) else Strong(claim.definition.label),
            claimed_effect(claim),
            effect(claim, claim.interval.estimate),
            effect_interval(claim),
            p_value(claim.p),
            Mark(claim.verdict.value),
            claim.attribution or "does not apply",
        ]
        for claim in claims
    ]
    header = ["claim", "claimed", "estimate", "interval", "p", "verdict", "attribution"]
    return Table(header, rows, stacked=True)


def verdict_blocks(evaluation: Evaluation, *, level: float) -> list[Block]:
    """The section of the verdicts; `level` is the two-sided error rate of a deciding interval."""
    claims = evaluation.lines
    blocks: list[Block] = [Heading("Verdicts"), verdict_table(claims)]
    blocks.append(
        paragraph(
            f"Each verdict rests on one interval, at {1 - level:.2%} confidence, so that "
            "the six claims together (not the lines beside them) give a false finding in "
            f"{level * len(evaluation.claims):.0%} of studies at most; p is of that interval, "
            f"times {len(evaluation.claims)}. An effect is positive where the claim holds; cost is "
            "a ratio of seconds per step. The verdicts hold for these bars, this validation period "
            "and these language models.",
            note=True,
        )
    )
    for claim in claims:
        blocks += _in_words(claim)
    return blocks


def _in_words(claim: Claim) -> list[Block]:
    kind = f" ({OURS})" if is_beside(claim) else ""
    is_in_sentence = not claim.reason or claim.reason in claim.sentence
    reason = "" if is_in_sentence else f" {_sentence(claim.reason)}"
    warning = " (Warning: interpolation is not shown to be beaten.)" if claim.warning else ""
    blocks: list[Block] = [
        Heading(f"{claim.definition.label}{kind}", level=3),
        paragraph(Mark(claim.verdict.value), f" {_sentence(claim.sentence)}{reason}{warning}"),
    ]
    rows: list[list[Inline]] = [["what is estimated", claim.definition.estimand]]
    if all(claim.arm_pair):
        rows.append(["arms", " against ".join(claim.arm_pair)])
    rows += [[name, significant(value)] for name, value in claim.shown.items()]
    rows += [[f"robustness: {name}", text] for name, text in claim.robustness.items()]
    return [*blocks, Details("Further numbers", [Table(["what", "value"], rows)])]


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
