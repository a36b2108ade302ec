"""The verdicts as rows, sentences and further numbers; report and terminal share the rows."""

from __future__ import annotations

from typing import NamedTuple

from stage1.claims.claim import Claim
from stage1.claims.evaluate import Evaluation
from stage1.claims.verdicts import Verdict
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


ERROR_REDUCTION = "error reduction"
"""What the lines beside a claim show."""


class VerdictRow(NamedTuple):
    """One claim as it stands in a table."""

    claim: str
    claimed: str
    estimate: str
    interval: str
    p: str
    verdict: str
    attribution: str


def in_order(evaluation: Evaluation) -> list[Claim]:
    """The six claims, each with the lines beside it right beneath."""
    return [
        line
        for claim in evaluation.claims
        for line in (claim, *(b for b in evaluation.beside if b.id.startswith(claim.id)))
    ]


def is_beside(claim: Claim) -> bool:
    """Whether a line is ours and not one of the plan's six."""
    return not claim.id.isdigit()


def claim_name(claim: Claim) -> str:
    """Number and name; a line beside a claim stands beneath it and needs no more."""
    return f"{claim.id} {ERROR_REDUCTION if is_beside(claim) else claim.name}"


def verdict_row(claim: Claim) -> VerdictRow:
    """A claim in the unit of its effect."""
    return VerdictRow(
        claim=claim_name(claim),
        claimed=claimed_effect(claim),
        estimate=effect(claim, claim.interval.estimate),
        interval=effect_interval(claim),
        p=p_value(claim.p),
        verdict=claim.verdict.value,
        attribution=claim.attribution,
    )


def verdict_blocks(evaluation: Evaluation, *, level: float) -> list[Block]:
    """The section of the verdicts.

    Args:
        evaluation: Of the run.
        level: Error rate of a deciding interval, two-sided, in (0, 1).
    """
    claims = in_order(evaluation)
    blocks: list[Block] = [Heading("Verdicts"), _table(claims)]
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


def _table(claims: list[Claim]) -> Table:
    header = ["claim", "claimed", "estimate", "interval", "p", "verdict", "attribution"]
    rows: list[list[Inline]] = []
    for claim in claims:
        row = verdict_row(claim)
        name = f"{row.claim} ({OURS})" if is_beside(claim) else row.claim
        attribution = row.attribution or "does not apply"
        rows.append(
            [
                Strong(name) if not is_beside(claim) else name,
                *row[1:5],
                Mark(row.verdict),
                attribution,
            ]
        )
    return Table(header, rows, stacked=True)


def _in_words(claim: Claim) -> list[Block]:
    kind = f" ({OURS})" if is_beside(claim) else ""
    told = not claim.reason or claim.reason in claim.sentence
    reason = "" if told else f" {_sentence(claim.reason)}"
    warning = " (Warning: interpolation is not shown to be beaten.)" if claim.warning else ""
    blocks: list[Block] = [
        Heading(f"{claim_name(claim)}{kind}", level=3),
        paragraph(Mark(claim.verdict.value), f" {_sentence(claim.sentence)}{reason}{warning}"),
    ]
    rows: list[list[Inline]] = [["what is estimated", claim.estimand]]
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


GLOSSARY: dict[str, str] = {
    Verdict.SUPPORTED: "The whole interval lies at or above the lower end of what is claimed.",
    Verdict.DIRECTION_ONLY: "The effect is positive; how large it is stays open, or it is smaller "
    "than claimed.",
    Verdict.INCONCLUSIVE: "Neither no effect nor one of the claimed size is excluded: the study is "
    "too small for an answer. It is no sign of absence.",
    Verdict.NOT_SUPPORTED: "An effect of the claimed size is excluded; its direction is open.",
    Verdict.CONTRADICTED: "The effect is the other way.",
    Verdict.NOT_EVALUABLE: "The study cannot speak to the claim; the reason says why.",
}
"""What the verdicts mean."""
