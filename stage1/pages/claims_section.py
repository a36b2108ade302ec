"""The verdicts as rows, sentences and further numbers; report and terminal share the rows."""

from __future__ import annotations

from typing import NamedTuple

from stage1.claims.claim import Claim
from stage1.claims.evaluate import Evaluation
from stage1.pages.blocks import Block, Details, Heading, Inline, Mark, Strong, Table, paragraph
from stage1.pages.numbers import (
    claimed_effect,
    effect,
    effect_interval,
    p_value,
    significant,
)

OURS = "ours, beside the plan's number"
"""Marks a line that the plan does not have."""


class VerdictRow(NamedTuple):
    """One claim as it stands in a table."""

    claim: str
    claimed: str
    estimate: str
    interval: str
    p: str
    verdict: str
    attribution: str


def is_beside(claim: Claim) -> bool:
    """Whether a line is ours and not one of the plan's claims."""
    return bool(claim.definition.beside)


def verdict_row(claim: Claim) -> VerdictRow:
    """A claim in the unit of its effect."""
    return VerdictRow(
        claim=claim.definition.label,
        claimed=claimed_effect(claim),
        estimate=effect(claim, claim.interval.estimate),
        interval=effect_interval(claim),
        p=p_value(claim.p),
        verdict=claim.verdict.value,
        attribution=claim.attribution,
    )


def verdict_table(claims: list[Claim], *, ours: str = f" ({OURS})") -> Table:
    """A row per claim; `ours` follows the name of a line that the plan does not have."""
    rows: list[list[Inline]] = []
    for claim in claims:
        name, *numbers, verdict, attribution = verdict_row(claim)
        named = name + ours if is_beside(claim) else Strong(name)
        rows.append([named, *numbers, Mark(verdict), attribution or "does not apply"])
    return Table(list(VerdictRow._fields), rows, stacked=True)


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
