"""What was planned, what came of it, and what was left out and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from stage1.claims.evaluate import Evaluation
from stage1.claims.inputs import RunTables
from stage1.claims.scores import Scores
from stage1.document.blocks import Block, Heading, Inline, Table, paragraph
from stage1.document.numbers import share
from stage1.faults import plural
from stage1.preregistration import Preregistration
from stage1.results import COMPLETED, DESIGN, DIVERGED, FAILED
from stage1.summary import count_exclusions


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
        f"{registration.early_epoch}. The verdicts are computed from these trials alone"
        f", once; the search finds the configuration to export."
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
        told = "The run deviates from what was registered; the top of this report says how."
    else:
        told = "Nothing deviates from what was registered before the first trial."
    return [*blocks, paragraph(told)]


def describe_domain(domain: dict[str, Any]) -> str:
    """What was searched of one hyperparameter.

    Args:
        domain: As under `space` in the resolved study.
    """
    if "options" in domain:
        text = ", ".join("none" if option is None else str(option) for option in domain["options"])
    else:
        scale = ", in the exponent" if domain.get("log") else ""
        whole = "whole numbers " if domain["type"] == "int" else ""
        text = f"{whole}{domain['low']:g} to {domain['high']:g}{scale}"
    condition = " and ".join(f"{key} = {value}" for key, value in domain.get("when", {}).items())
    return f"{text}; only where {condition}" if condition else text
