"""What was planned, what came of it, and what was left out and why."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pandas as pd

from stage1.base.text import plural, shell_line
from stage1.claims.designs import told_apart
from stage1.claims.judge import ASKING_FOR_CONTROL, Evaluation
from stage1.claims.scores import RunTables, Scores
from stage1.claims.verdicts import GAINS
from stage1.pages.blocks import (
    Block,
    Code,
    Commands,
    Heading,
    Inline,
    Mark,
    Strong,
    Table,
    paragraph,
)
from stage1.pages.figures.importance_figures import VarianceShares, variance_shares
from stage1.pages.numbers import UNDEFINED, share
from stage1.run.columns import COMPLETED, DESIGN, DIVERGED, FAILED, RANDOM, SHUFFLED
from stage1.run.edges import Edge, edges
from stage1.run.registration import Preregistration
from stage1.run.resolved_space import Choice, Domain
from stage1.run.summary import count_exclusions, planned_by_arm


def design_blocks(tables: RunTables, evaluation: Evaluation) -> list[Block]:
    """The section of the design and its exclusions."""
    blocks: list[Block] = [
        Heading("Design and exclusions"),
        paragraph(_plan(tables.registration)),
        *_looks(tables.registration, evaluation),
        *(paragraph(text) for text in (_apart(tables, evaluation), _control(tables, evaluation))),
        _by_arm(tables, evaluation),
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
    return [block for block in [*blocks, *_checks(evaluation)] if block != paragraph("")]


def _plan(registration: Preregistration) -> str:
    size, arms = registration.size, registration.paired_arms
    distinct = registration.distinct_of(size.configurations)
    named = plural(size.configurations, "configuration")
    if distinct < size.configurations:
        named += f" ({distinct} different ones)"
    seeds = f"each trained with {plural(size.seeds, 'seed')}"
    if size.replicated is not None and size.seeds > 1:
        seeds = f"each trained with one seed, the first {size.replicated} with {size.seeds}"
    looks = (
        f"Looks were registered at {' and '.join(map(str, size.looks))} configurations"
        f"{', which spend ' + registration.spending if registration.spending else ''}; verdicts "
        "are given at looks alone, and the design stops at the first one that decides claim 1"
        if size.grows
        else "The verdicts are computed from these trials alone, once"
    )
    return (
        f"Planned before the first trial: {named} of a scrambled Sobol sequence, {seeds} in "
        f"{plural(len(arms), 'arm')} ({', '.join(arms)}) = {size.pairs(distinct) * len(arms)} "
        f"trials, to epoch {registration.horizon_epoch} and never stopped for a bad score. The "
        f"early epoch is {registration.early_epoch}. {looks}. The search finds the configuration "
        "to export."
    )


def _looks(registration: Preregistration, evaluation: Evaluation) -> list[Block]:
    """The looks taken, each with its level and verdicts; nothing without one."""
    if not evaluation.looks:
        return []
    claims = [one.definition for one in evaluation.claims if one.id in evaluation.looks[0].verdicts]
    rows: list[list[Inline]] = [
        [
            str(look.configurations),
            "registered" if look.configurations in registration.size.looks else "extension",
            str(registration.distinct_of(look.configurations)),
            f"{1 - look.level:.2%}",
            *(Mark(look.verdicts[definition.number].value) for definition in claims),
        ]
        for look in evaluation.looks
    ]
    header = ["look", "planned", "different configurations", "confidence"]
    return [
        Table(
            [*header, *(definition.label for definition in claims)],
            rows,
            caption="Looks taken",
            stacked=True,
        )
    ]


def _apart(tables: RunTables, evaluation: Evaluation) -> str:
    """Whether the design tells its settings apart; empty before the first configuration."""
    values = evaluation.scores.values
    if values.empty or len(tables.space.space) < 2:
        return ""
    aliased = told_apart(tables.space, values)
    if aliased:
        return f"Settings: {aliased}. What is said of one of them may be due to the other."
    return f"Settings: {plural(len(values), 'configuration')} tell every pair of them apart."


def _control(tables: RunTables, evaluation: Evaluation) -> str:
    """How many shuffled trainings there are and why; empty without that arm."""
    registration, trials = tables.registration, tables.trials
    arm, control = registration.roles.get(SHUFFLED), registration.control
    if arm is None or control is None:
        return ""
    made = int(((trials["stage"] == DESIGN) & (trials["arm"] == arm)).sum())
    first = f"on the first {plural(control, 'configuration')}" if control else "on none"
    gains = [
        claim.definition.label
        for claim in evaluation.claims
        if claim.definition in ASKING_FOR_CONTROL and claim.verdict in GAINS
    ]
    why = (
        f"{' and '.join(gains)} asked for it, so that the gain can be attributed"
        if gains
        else "no claim that asks for it came out positive, and nothing else needs it"
    )
    return (
        f"Arm {arm}: planned {first} in any case and on all once there is a gain to attribute; "
        f"{plural(made, 'training')}: {why}."
    )


def _by_arm(tables: RunTables, evaluation: Evaluation) -> Table:
    scores, registration = evaluation.scores, tables.registration
    planned = planned_by_arm(
        tables.trials,
        registration,
        decided=evaluation.decided,
        control_too=evaluation.asks_for_control,
    )
    design = tables.trials[tables.trials["stage"] == DESIGN]
    rows: list[list[Inline]] = []
    for arm in scores.correlation:
        status = design.loc[design["arm"] == arm, "status"].value_counts()
        counted = int(np.isfinite(scores.correlation[arm][:, :, -1]).sum())
        diverged = int(scores.diverged[arm].sum())
        rows.append(
            [
                arm,
                str(planned[arm]),
                *(str(status.get(name, 0)) for name in (COMPLETED, DIVERGED, FAILED)),
                str(max(planned[arm] - int(status.sum()), 0)),
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
    blocks: list[Block] = [Table([*counts.columns], rows, caption=caption, numbers_from=3)]
    if FAILED in set(counts["status"]):
        advice = "Once its cause is mended, a failed trial is run again: tune with --retry-failed."
        blocks.append(paragraph(advice))
    return blocks


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
        *_edge_blocks(tables),
    ]


def edge_texts(tables: RunTables) -> dict[str, str]:
    """Where to search further, by the line of a new study's file that would do it."""
    found = edges(tables.trials, tables.space, tables.registration)
    return {
        line: f"{name} was searched to {end:g}, and near it lie {_who([*group])}; better ones may "
        "lie beyond it, and a new study would search "
        for (line, name, end), group in groupby(
            sorted(found, key=lambda one: one.line), key=lambda one: (one.line, one.name, one.end)
        )
    }


def _who(group: list[Edge]) -> str:
    return " and ".join(
        f"{one.near} of the best {len(one.values)} {one.arm} configurations (best: "
        f"{one.values[0]:.3g})"
        for one in group
    )


def _edge_blocks(tables: RunTables) -> list[Block]:
    """Where to search further and how; no block where no end is near."""
    texts = edge_texts(tables)
    if not texts:
        return []
    name = f"{tables.space.name}-further"
    commands = [
        shell_line("new", name, **{"from": tables.run.path}),
        shell_line("tune", f"{name}/space.yaml", warm_start=tables.run.path),
    ]
    return [
        *(paragraph(Strong("Search further:"), f" {t}", Code(line)) for line, t in texts.items()),
        paragraph(
            "That is a hint, no test: an end is named where chance alone would put so many of an "
            "arm's best configurations there in one case of a hundred. An edited study is a new "
            "one, whose search can begin with what this one has found:",
            note=True,
        ),
        Commands(commands),
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
    variances = variance_shares(scores, tables.space, common=common)
    if isinstance(variances, str):
        return None, f"How much each matters is not told: {variances}."
    return variances, (
        "Variance of log val_loss between configurations that each explains alone (functional "
        f"ANOVA), in every arm in per cent of the total of arm {common}, so that arms can be "
        "compared: a smaller number means that the choice matters less. The figure shows what "
        "chance would give."
    )
