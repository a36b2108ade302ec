"""What was planned, what came of it, and what was left out and why."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stage1.base.text import plural
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, Scores
from stage1.pages.blocks import Block, Code, Heading, Inline, Table, paragraph
from stage1.pages.figures.importance_figures import (
    LEAST_CONFIGURATIONS,
    VarianceShares,
    variance_shares,
)
from stage1.pages.numbers import UNDEFINED, share
from stage1.run.columns import COMPLETED, DESIGN, DIVERGED, FAILED, RANDOM
from stage1.run.registration import Preregistration
from stage1.run.resolved_space import Choice, Domain
from stage1.run.summary import count_exclusions


def design_blocks(tables: RunTables, evaluation: Evaluation) -> list[Block]:
    """The section of the design and its exclusions."""
    blocks: list[Block] = [
        Heading("Design and exclusions"),
        paragraph(_plan(tables.registration)),
        _by_arm(tables, evaluation.scores),
        paragraph(
            "Counted: pairs of configuration and seed that the verdicts use. A pair that is "
            "missing or failed in one arm is left out of all arms; a diverged trial counts, with "
            "the worst score there is.",
            note=True,
        ),
    ]
    reasons = evaluation.scores.left_out
    if reasons:
        rows: list[list[Inline]] = [[reason, str(count)] for reason, count in reasons.items()]
        blocks.append(
            Table(["left out because", "pairs"], rows, caption="Pairs left out", numbers_from=1)
        )
    blocks += _failures(tables.trials)
    return [*blocks, *_checks(evaluation)]


def _plan(registration: Preregistration) -> str:
    seeds, arms = len(registration.seeds), len(registration.arms)
    return (
        f"Planned before the first trial: {plural(registration.configurations, 'configuration')} "
        f"of a scrambled Sobol set, each trained with {plural(seeds, 'seed')} in "
        f"{plural(arms, 'arm')} = {registration.configurations * seeds * arms} trials, to epoch "
        f"{registration.horizon_epoch} and never stopped for a bad score. The early epoch is "
        f"{registration.early_epoch}. The verdicts are computed from these trials alone, once; the "
        "search finds the configuration to export."
    )


def _by_arm(tables: RunTables, scores: Scores) -> Table:
    registration = tables.registration
    planned = registration.configurations * len(registration.seeds)
    design = tables.trials[tables.trials["stage"] == DESIGN]
    rows: list[list[Inline]] = []
    for arm in scores.correlation:
        status = design.loc[design["arm"] == arm, "status"].value_counts()
        counted = int(np.isfinite(scores.correlation[arm][:, :, -1]).sum())
        diverged = int(scores.diverged[arm].sum())
        rows.append(
            [
                arm,
                str(planned),
                *(str(status.get(name, 0)) for name in (COMPLETED, DIVERGED, FAILED)),
                str(max(planned - int(status.sum()), 0)),
                str(counted),
                share(diverged / counted) if counted else share(np.nan),
            ]
        )
    header = [
        *("arm", "planned", "completed", "diverged", "failed", "missing", "counted"),
        "diverged, of counted",
    ]
    return Table(header, rows, caption="Trials of the design", numbers_from=1)


def _failures(trials: pd.DataFrame) -> list[Block]:
    """Diverged and failed trials of every stage, by arm and reason."""
    counts = count_exclusions(trials)
    if counts.empty:
        return [paragraph("No trial of the design or the search diverged or failed.")]
    rows: list[list[Inline]] = [[str(v) for v in row] for row in counts.itertuples(index=False)]
    caption = "Diverged and failed trials, search included"
    return [Table([*counts.columns], rows, caption=caption, numbers_from=3)]


def _checks(evaluation: Evaluation) -> list[Block]:
    blocks: list[Block] = []
    if evaluation.checks:
        rows: list[list[Inline]] = [[what, result] for what, result in evaluation.checks]
        blocks.append(Table(["check", "result"], rows, caption="Checks of the pairing"))
    if evaluation.deviations:
        verdict = "The run deviates from what was registered; the top of this report says how."
    else:
        verdict = "Nothing deviates from what was registered before the first trial."
    return [*blocks, paragraph(verdict)]


def describe_domain(domain: Domain) -> str:
    """What was searched of one hyperparameter."""
    if isinstance(domain, Choice):
        text = ", ".join("none" if option is None else str(option) for option in domain.options)
    else:
        scale = ", in the exponent" if domain.log else ""
        whole = "whole numbers " if domain.type == "int" else ""
        text = f"{whole}{domain.low:g} to {domain.high:g}{scale}"
    condition = " and ".join(f"{key} = {value}" for key, value in domain.when.items())
    return f"{text}; only where {condition}" if condition else text


def hyperparameter_blocks(tables: RunTables, scores: Scores) -> list[Block]:
    """The section of the hyperparameters."""
    variances, note = _variances(tables, scores)
    space = tables.space.space
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
        variances = variance_shares(scores, tables.space.space, common=common)
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
        f"compared: a smaller number means that the choice matters less.{variances.hint}"
    )
    return variances, note
