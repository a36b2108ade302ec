"""What a study could see, as a table and in sentences, for 80 columns."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from stage1.base.text import plural
from stage1.claims.error_rates import (
    ENOUGH,
    MOST_CONFIGURATIONS,
    MOST_FOR_RANKS,
    TIMING_NOISE,
    Power,
)
from stage1.claims.finding import EARLY_GAIN, EARLY_SIGNAL, FINAL_GAIN, SENSITIVITY, STABILITY
from stage1.plan.outlook import COST_LABEL, CostOutlook, Outlook, percent
from stage1.plan.texts import AT_LEAST, AT_MOST, NOTHING, TIMES, framed
from stage1.run.columns import PRETRAINED, RANDOM, SHUFFLED
from stage1.run.registration import COST_MARGIN, COST_ROUNDS
from stage1.study.space import Design

_SELDOM = 0.9
"""Where fewer studies than this share can be evaluated, the plan says so."""

_SUBJECTS = {
    SENSITIVITY: ("the spread between configurations", "smaller"),
    EARLY_GAIN: ("val_correlation at the early epoch", "higher"),
    FINAL_GAIN: ("val_correlation at the horizon", "higher"),
    STABILITY: ("the variance between seeds", "smaller"),
    EARLY_SIGNAL: ("the rank correlation of early and final scores", "higher"),
}
_ERRORS = {
    EARLY_GAIN: ("the error (1 - val_correlation) at the early epoch", "smaller"),
    FINAL_GAIN: ("the error (1 - val_correlation) at the horizon", "smaller"),
}
CLAIMS_NOTE = (
    f"seen from: smallest true effect whose direction this design finds in {percent(ENOUGH)} of "
    "studies; none: no possible effect is. direction, SUPPORTED: share of studies that say so if "
    "the effect is exactly as claimed; SUPPORTED is rare there by intention, since the whole "
    "interval must lie at or above the claim. needed: configurations that find the direction of "
    f"the claimed effect in {percent(ENOUGH)} of studies, a power of two. b: ours, beside the "
    "plan's number."
)


def claims_table(lines: list[Outlook], cost: CostOutlook | None) -> Table:
    """What this design would see."""
    table = framed("What this design would see")
    table.add_column("claim", no_wrap=True)
    for name in ("claimed", "seen from", "direction", "SUPPORTED", "needed"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(*_claim_row(line))
    if cost:
        table.add_row(
            COST_LABEL,
            f"{AT_MOST} {TIMES}{COST_MARGIN:.2f}",
            f"{AT_MOST} {TIMES}{cost.within:.2f}",
            *[NOTHING] * 3,
        )
    return table


def _claim_row(line: Outlook) -> tuple[str, ...]:
    claimed = f"{AT_LEAST} {line.amount(line.claimed)}"
    power = line.power
    if power is None:
        return line.label, claimed, "none", *[NOTHING] * 3
    seen = "none" if line.seen_from is None else line.amount(line.seen_from)
    if power.at_claimed is None:
        return line.label, claimed, seen, *[NOTHING] * 3
    shares = (
        f"{share.value:.0%}" for share in (power.at_claimed.positive, power.at_claimed.supported)
    )
    most = MOST_FOR_RANKS if line.claim == EARLY_SIGNAL else MOST_CONFIGURATIONS
    needed = f"> {most:,}" if power.configurations is None else f"{power.configurations:,}"
    return line.label, claimed, seen, *shares, needed


def model_text(variation: str, *, like: Path | None) -> str:
    """What the simulated studies rest on.

    Args:
        variation: How their scores vary, in words.
        like: Run folder that this is taken from; None for a typical study.
    """
    if like:
        return f"Simulated studies vary as the one in {like} did: {variation}."
    return (
        f"Simulated studies vary as is typical of the bundled bars: {variation}. Other data vary "
        "otherwise: once a first run is there, --like RUN plans by its scores."
    )


def claim_texts(lines: list[Outlook], cost: CostOutlook | None, *, roles: set[str]) -> list[str]:
    """What the design can and cannot decide, in sentences.

    Args:
        lines: Of claims 1 to 5; none where their arms are missing.
        cost: None where nothing is timed.
        roles: Of the study's arms.
    """
    texts = [in_words(line) for line in lines]
    texts += missing_arm_texts(roles)
    if cost:
        texts.append(
            f"{COST_LABEL}: decided if a step with the T5 takes at most {cost.within:.2f} or at "
            f"least {cost.beyond:.2f} times as long as one with the vanilla encoder, if timings "
            f"vary by {percent(TIMING_NOISE)} ({COST_ROUNDS} of each); in between it may stay "
            "open. Configurations do not matter."
        )
    return texts


def smaller_design_text(lines: list[Outlook], design: Design) -> str:
    """Which claim was simulated with a smaller design than the study's; empty if none was."""
    smaller = [
        line
        for line in lines
        if (line.configurations, line.seeds) != (design.configurations, design.seeds)
    ]
    return " ".join(
        f"{line.label} was simulated with {line.configurations} configurations and "
        f"{plural(line.seeds, 'seed')} only, since ranks take long; the study sees rather more."
        for line in smaller
    )


def missing_arm_texts(roles: set[str]) -> list[str]:
    """What falls away with the arms that a study does not have."""
    missing = [role for role in (PRETRAINED, RANDOM) if role not in roles]
    texts = []
    if missing:
        texts.append(
            f"Claims 1 to 5 cannot be evaluated: they compare a {PRETRAINED} arm with a {RANDOM} "
            f"one, and the study has no {' and no '.join(missing)} arm."
        )
    if PRETRAINED not in roles:
        texts.append(f"{COST_LABEL}: cannot be evaluated, since no {PRETRAINED} T5 is timed.")
    if not missing and SHUFFLED not in roles:
        texts.append(
            f"Without a {SHUFFLED} arm an effect cannot be put down to what the weights learned."
        )
    return texts


def in_words(line: Outlook) -> str:
    """What the design says of a claim, as a sentence."""
    if line.power is None:
        return f"{line.label}: no number of configurations decides it: {line.never}."
    subject, word = (_ERRORS if line.beside else _SUBJECTS)[line.claim]
    claimed, seen = line.claimed, line.seen_from
    if line.not_here:
        at_claimed = line.power.at_claimed
        some = at_claimed is not None and at_claimed.evaluable.hits
        subject = "most such studies cannot evaluate it" if some else "cannot be evaluated"
        here = f"{subject}: {line.not_here}"
    elif seen is None:
        here = (
            f"not seen with {line.configurations} configurations, however much {word} {subject} is"
        )
    else:
        only = " only" if seen > claimed else ""
        here = f"seen{only} if {subject} is at least {line.amount(seen)} {word}"
    needed = "" if line.enough else f", which {_needed(line.power)}"
    return f"{line.label}: {here}; {line.amount(claimed)} is claimed{needed}.{_seldom(line)}"


def _needed(power: Power) -> str:
    """What would see the claimed effect; goes on after a comma."""
    if power.at_claimed is None:
        return "is not possible with scores like these"
    if power.configurations is not None:
        return f"{power.configurations:,} configurations would see"
    most = MOST_FOR_RANKS if power.claim == EARLY_SIGNAL else MOST_CONFIGURATIONS
    return f"even {most:,} configurations would not see"


def _seldom(line: Outlook) -> str:
    """A warning where the preconditions of a claim fail now and then."""
    if line.not_here or line.power is None or line.power.at_claimed is None:
        return ""
    evaluable = line.power.at_claimed.evaluable.value
    if evaluable >= _SELDOM:
        return ""
    return f" Only {evaluable:.0%} of such studies can evaluate it at all."
