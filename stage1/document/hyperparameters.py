"""What was searched, and how much each hyperparameter matters in each arm."""

from __future__ import annotations

from stage1.claims.inputs import RunTables
from stage1.claims.scores import Scores
from stage1.document.blocks import Block, Code, Heading, Inline, Table, paragraph
from stage1.document.design import describe_domain
from stage1.document.numbers import UNDEFINED
from stage1.figures.importance import (
    ENOUGH_CONFIGURATIONS,
    LEAST_CONFIGURATIONS,
    VarianceShares,
    variance_shares,
)
from stage1.results import RANDOM


def hyperparameter_blocks(tables: RunTables, scores: Scores) -> list[Block]:
    """The section of the hyperparameters."""
    variances, note = _variances(tables, scores)
    space = tables.space["space"]
    rows: list[list[Inline]] = [
        [Code(key), describe_domain(domain), *_shares(variances, key)]
        for key, domain in space.items()
    ]
    arms: list[str] = []
    if variances is not None:
        arms = list(variances.shares)
        others = [part for part in variances.parts if part not in space]
        rows += [[part, "", *_shares(variances, part)] for part in others]
    header = ["hyperparameter", "searched", *arms]
    return [
        Heading("Hyperparameters"),
        Table(header, rows, numbers_from=2 if arms else None, stacked=True),
        paragraph(note, note=True),
    ]


def _shares(variances: VarianceShares | None, part: str) -> list[str]:
    if variances is None:
        return []
    if part not in variances.parts:
        return [UNDEFINED] * len(variances.shares)
    place = variances.parts.index(part)
    return [f"{shares[place]:.1f}%" for shares in variances.shares.values()]


def _variances(tables: RunTables, scores: Scores) -> tuple[VarianceShares | None, str]:
    """Parts of the variance in every arm and how to read them, or why there are none."""
    common = tables.registration.roles.get(RANDOM, tables.registration.arms[0])
    try:
        variances = variance_shares(scores, tables.space["space"], common=common)
    except ValueError as error:
        return None, f"How much each matters: the trials do not fit the study: {error}."
    if variances is None:
        return None, (
            f"How much each matters is estimated from {LEAST_CONFIGURATIONS} configurations on "
            f"whose losses differ; {scores.complete} are complete in every arm."
        )
    note = (
        "Variance of log val_loss between configurations that each explains alone (functional "
        f"ANOVA), in every arm in per cent of the total of arm {common}, so that arms can be "
        "compared: a smaller number means that the choice matters less."
    )
    if variances.configurations < ENOUGH_CONFIGURATIONS:
        note += (
            f" Only a hint: {variances.configurations} configurations, {ENOUGH_CONFIGURATIONS} are "
            "needed to trust it."
        )
    return variances, note
