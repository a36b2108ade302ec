"""The verdicts as rows, sentences and further numbers; report and terminal share the rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

from stage1.claims.claim import Claim, Look
from stage1.claims.judge import Evaluation
from stage1.claims.verdicts import NOT_IN_THIS_DESIGN
from stage1.pages.blocks import Block, Details, Heading, Inline, Mark, Strong, Table, paragraph
from stage1.pages.numbers import (
    claimed_effect,
    effect,
    effect_interval,
    interval_text,
    p_value,
    significant,
)

OURS = "ours, beside the plan's number"
"""Marks a line that the plan does not have."""


def is_beside(claim: Claim) -> bool:
    """Whether a line is ours and not one of the plan's claims."""
    return bool(claim.definition.beside)


def is_absent(claim: Claim) -> bool:
    """Whether the design was not made for a claim."""
    return claim.reason.startswith(NOT_IN_THIS_DESIGN)


def verdict_table(claims: list[Claim], *, ours: str = f" ({OURS})") -> Table:
    """A row per claim that is in the design; `ours` follows the name of a line beside a claim."""
    claims = [claim for claim in claims if not is_absent(claim)]
    several = any(claim.earlier for claim in claims)
    rows: list[list[Inline]] = [
        [
            claim.definition.label + ours if is_beside(claim) else Strong(claim.definition.label),
            claimed_effect(claim),
            effect(claim, claim.interval.estimate),
            effect_interval(claim),
            p_value(claim.p),
            Mark(claim.verdict.value),
            claim.attribution or "does not apply",
            str(claim.look or "none"),
            *([_earlier(claim)] if several else []),
        ]
        for claim in claims
    ]
    header = ["claim", "claimed", "estimate", "interval", "p", "verdict", "attribution", "look"]
    return Table([*header, *(["earlier looks"] if several else [])], rows, stacked=True)


def _earlier(claim: Claim) -> str:
    """What the looks before said."""
    return "; ".join(
        f"{one.look}: {one.verdict.value} {effect(claim, one.estimate)} "
        f"{interval_text(claim, one.low, one.high)}"
        for one in claim.earlier
    )


def absent_text(claims: list[Claim]) -> str:
    """The claims that the design was not made for, in one line; empty if there are none."""
    absent = [
        f"{claim.definition.label} ({reason})" if reason else claim.definition.label
        for claim in claims
        if is_absent(claim)
        for reason in [claim.reason.removeprefix(NOT_IN_THIS_DESIGN).strip(" :;,()")]
    ]
    return f"{_sentence(NOT_IN_THIS_DESIGN)[:-1]}: {'; '.join(absent)}." if absent else ""


def look_text(evaluation: Evaluation) -> str:
    """At which look the verdicts are given, and what the earlier ones said; empty before one."""
    if not evaluation.looks:
        return ""
    *earlier, last = evaluation.looks
    here = {claim.id for claim in evaluation.claims if not is_absent(claim)}
    said = "".join(f"; at {look.configurations}: {_verdicts(look, here)}" for look in earlier)
    return f"Judged after {last.configurations} configurations{said}."


def _verdicts(look: Look, claims: Collection[str]) -> str:
    """Verdicts with the numbers of the claims that have them."""
    numbers: dict[str, list[str]] = {}
    for number, verdict in look.verdicts.items():
        if number in claims:
            numbers.setdefault(verdict.value, []).append(number)
    return ", ".join(f"{' '.join(having)} {verdict}" for verdict, having in numbers.items())


def verdict_blocks(evaluation: Evaluation, *, level: float) -> list[Block]:
    """The section of the verdicts; `level` is the error rate of a claim over all looks."""
    claims = evaluation.lines
    blocks: list[Block] = [Heading("Verdicts"), verdict_table(claims)]
    if absent := absent_text(claims):
        blocks.append(paragraph(absent))
    at_look = evaluation.looks[-1].level if evaluation.looks else level
    blocks.append(
        paragraph(
            f"Each verdict rests on one interval, at {1 - at_look:.2%} confidence (cost "
            f"{1 - level:.2%}), so that the six claims together (not the lines beside them) give a "
            f"false finding in {level * len(evaluation.claims):.0%} of studies at most, over all "
            "looks that could be taken; p is that interval's, made comparable with "
            f"{level * len(evaluation.claims):g}. An effect is positive where the claim holds; "
            "cost is a ratio of seconds per step. The verdicts hold for these bars, this "
            "validation period and these language models.",
            note=True,
        )
    )
    return blocks


def words_blocks(
    evaluation: Evaluation, figures: Mapping[str, list[Block]] | None = None
) -> list[Block]:
    """The section that takes the claims one by one, with their figures by their numbers."""
    blocks: list[Block] = [Heading("The claims in words")]
    left = dict(figures or {})
    for claim in evaluation.lines:
        if not is_absent(claim):
            blocks += _in_words(claim, left.pop(claim.id, []))
    return [*blocks, *chain.from_iterable(left.values())]


def _in_words(claim: Claim, figures: list[Block]) -> list[Block]:
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
    return [*blocks, *figures, Details("Further numbers", [Table(["what", "value"], rows)])]


def _sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")
