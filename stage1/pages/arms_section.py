"""How each arm did: end table, the plan's numbers by epoch, time and memory, what a step costs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from stage1.base.metric_table import CORRELATION, INTERPOLATION, LOSS, USER_METRIC
from stage1.claims.catalogue import COST
from stage1.claims.intervals import Values
from stage1.claims.judge import Evaluation
from stage1.claims.scores import RunTables, Scores, curve_values
from stage1.claims.step_cost import SizeCost
from stage1.claims.verdicts import Verdict
from stage1.pages.blocks import Block, Heading, Inline, Table, paragraph
from stage1.pages.numbers import number, ratio, ratio_interval
from stage1.run.columns import DESIGN, STATUSES
from stage1.run.registration import CostPlan, Preregistration
from stage1.run.resolved_space import ResolvedSpace
from stage1.run.summary import baseline_value, full_horizon, progress, summarize_arms

PLAN_EPOCHS = (1, 3, 5)
"""At which the plan wants its numbers, apart from the early epoch and the end."""
_PEAKS = ("peak_rss_mb", "peak_vram_mb")
NOTE = (
    "Best, median and spread (standard deviation) are over the design's configurations that "
    "completed with every seed planned for them (configs), each by its mean over seeds. They "
    "describe this run; "
    "they do not test a difference between arms. Interpolation draws a straight line across the "
    "hidden bars."
)


def progress_text(tables: RunTables, *, decided: bool = False, control_too: bool = False) -> str:
    """How far the study has come, in one line without a full stop; see `summary.progress`."""
    stages = progress(
        tables.trials,
        tables.space,
        tables.registration,
        decided=decided,
        control_too=control_too,
    )
    ended = " and ".join(f"{p.ended} of {p.planned} {stage}" for stage, p in stages.items())
    if all(part.ended >= part.planned for part in stages.values()):
        return f"Ended: {ended} trials"
    return (
        f"Ended so far: {ended} trials; if the study does not run any more, the command that "
        "started it goes on with --resume"
    )


def arm_table(tables: RunTables) -> Table:
    """The end table: a row per arm and one for linear interpolation."""
    trials, space, registration = tables.trials, tables.space, tables.registration
    rows: list[list[Inline]] = [
        [
            str(row.Index),
            _counts({status: getattr(row, status) for status in STATUSES}),
            str(row.configurations),
            *(number(value) for value in (row.best, row.median, row.spread)),
            number(row.seconds, digits=1),
        ]
        for row in summarize_arms(trials, space, registration).itertuples()
    ]
    baseline = number(baseline_value(trials, space.objective.metric))
    rows.append([INTERPOLATION, "", "", baseline, baseline, "", ""])
    header = ["arm", "trials", "configs", "best", "median", "spread", "s / trial"]
    return Table(header, rows, numbers_from=2)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def arm_blocks(tables: RunTables) -> list[Block]:
    """The section of the end table."""
    return [
        Heading(f"{tables.space.objective.metric} by arm"),
        arm_table(tables),
        paragraph(NOTE, note=True),
    ]


# The plan's own table -------------------------------------------------------------------------


def plan_epochs(horizon: int, *others: int) -> list[int]:
    """The epochs at which the plan wants its numbers, the end and others; none is beyond it."""
    return sorted(epoch for epoch in {*PLAN_EPOCHS, *others, horizon} if epoch <= horizon)


def plan_blocks(trials: pd.DataFrame, space: ResolvedSpace, scores: Scores) -> list[Block]:
    """The section of the plan's own numbers."""
    return [
        Heading("The plan's table"),
        _by_epoch(CORRELATION, scores.correlation, trials, scores),
        _by_epoch(LOSS, scores.loss, trials, scores),
        paragraph(
            "Means over the configurations and seeds of the design that count in every arm. A "
            "diverged trial counts with correlation 0 and the loss of predicting 0, and no loss "
            "counts for more than that.",
            note=True,
        ),
        _time_and_memory(trials, space),
        paragraph(
            "Of the design's completed trials: means, and for memory the largest peak of the "
            "process. Trials run beside each other and share the machine, so these seconds do not "
            "decide the claim on cost; steps that were timed on their own do.",
            note=True,
        ),
    ]


def user_metric_blocks(tables: RunTables, scores: Scores) -> list[Block]:
    """The section of the metrics that a user has written; nothing without any."""
    columns = [USER_METRIC + name for name in tables.registration.metrics]
    if not columns:
        return []
    return [
        Heading("Metrics of your own"),
        *(
            _by_epoch(column, curve_values(tables, scores, column), tables.trials, scores)
            for column in columns
        ),
        paragraph(
            "Means over the same trials as above. They were registered by the source of their "
            "functions before the first trial, and describe this run: no verdict, no trial and no "
            "choice rests on them.",
            note=True,
        ),
    ]


def _by_epoch(
    metric: str, by_arm: dict[str, Values], trials: pd.DataFrame, scores: Scores
) -> Table:
    horizon = int(scores.epochs[-1])
    epochs = plan_epochs(horizon, scores.early_epoch)
    names = {scores.early_epoch: " (early)", horizon: " (end)"}
    rows: list[list[Inline]] = [
        [arm, *(number(_mean(values[..., epoch])) for epoch in epochs)]
        for arm, values in by_arm.items()
    ]
    baseline = number(baseline_value(trials, metric))
    rows.append([INTERPOLATION, *([baseline] * len(epochs))])
    header = ["arm", *(f"{epoch}{names.get(epoch, '')}" for epoch in epochs)]
    return Table(header, rows, caption=f"{metric} after epoch", numbers_from=1)


def _mean(values: Values) -> float:
    """Of the finite ones; NaN without any."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _time_and_memory(trials: pd.DataFrame, space: ResolvedSpace) -> Table:
    by_arm = full_horizon(trials, space, [DESIGN]).groupby("arm")
    means, peaks = by_arm[["seconds", "seconds_per_step"]].mean(), by_arm[list(_PEAKS)].max()
    by_column = pd.DataFrame(
        {
            "seconds": means["seconds"],
            "step": 1000 * means["seconds_per_step"],
            **{column: peaks[column] for column in _PEAKS},
        }
    ).reindex(list(space.arms))
    rows: list[list[Inline]] = [
        [str(arm), *(number(v, digits=d) for v, d in zip(values, (1, 1, 0, 0), strict=True))]
        for arm, *values in by_column.itertuples()
    ]
    header = ["arm", "s / trial", "ms / step", "peak memory, MB", "peak GPU memory, MB"]
    return Table(header, rows, caption="Time and memory", numbers_from=1)


# What a step costs ------------------------------------------------------------------------------


def cost_blocks(evaluation: Evaluation, registration: Preregistration) -> list[Block]:
    """The section of the cost; says so where nothing was timed."""
    blocks: list[Block] = [Heading("Cost")]
    if not evaluation.costs:
        return [
            *blocks,
            paragraph(
                "No T5 was timed against the vanilla encoder often enough: that happens when all "
                "trials have ended, and takes two rounds or more."
            ),
        ]
    blocks += [
        _table(evaluation.costs, registration.cost),
        paragraph(
            "Geometric means over rounds in which both encoders were timed one after the other; "
            "the vanilla encoder has the width of its T5. Memory is the largest peak of a process "
            "that timed both, so differences of a few dozen MB mean nothing.",
            note=True,
        ),
    ]
    verdicts = [claim.verdict for claim in evaluation.claims if claim.definition is COST]
    if registration.cost is not None and Verdict.SUPPORTED not in verdicts:
        blocks.append(paragraph(smaller_sizes(evaluation.costs, registration.cost)))
    return blocks


def _table(costs: list[SizeCost], plan: CostPlan | None) -> Table:
    header = [
        *("T5", "patch_len", "rounds", "ms / step, T5", "ms / step, vanilla", "ratio", "interval"),
        *("memory, T5, MB", "memory, vanilla, MB"),
    ]
    on_gpu = any(cost.gpu_memory_mb[0] > 0 for cost in costs)
    if on_gpu:
        header += ["GPU memory, T5, MB", "GPU memory, vanilla, MB"]
    rows: list[list[Inline]] = []
    for cost in costs:
        memory = cost.memory_mb + (cost.gpu_memory_mb if on_gpu else ())
        rows.append(
            [
                f"{cost.size} (decides)" if _decides(cost, plan) else cost.size,
                str(cost.patch_len),
                str(cost.rounds),
                *(number(1000 * seconds, digits=1) for seconds in cost.seconds_per_step),
                ratio(cost.ratio.estimate),
                ratio_interval(cost.ratio.low, cost.ratio.high),
                *(number(value, digits=0) for value in memory),
            ]
        )
    return Table(header, rows, numbers_from=1, stacked=True)


def _decides(cost: SizeCost, plan: CostPlan | None) -> bool:
    return plan is not None and (cost.size, cost.patch_len) == (plan.size, plan.patch_len)


def smaller_sizes(costs: list[SizeCost], plan: CostPlan) -> str:
    """Which cheaper T5 of the run keeps the margin with its whole interval, in words.

    Costs are cheapest first; if the T5 that decides was not timed, every one is a candidate.
    """
    allowed = f"+{plan.margin - 1:.0%}"
    decisive = [place for place, cost in enumerate(costs) if _decides(cost, plan)]
    candidates = costs[: decisive[0]] if decisive else costs
    if not candidates:
        return f"The run has no cheaper T5 than {plan.size} that could keep the plan's {allowed}."
    within = [cost for cost in candidates if cost.ratio.high <= plan.margin]
    if not within:
        return f"No cheaper T5 of the run stays within the plan's {allowed} with its interval."
    named = ", ".join(
        f"{cost.size} at patch_len {cost.patch_len} ({ratio(cost.ratio.estimate)}, at most "
        f"{ratio(cost.ratio.high)})"
        for cost in within
    )
    return f"Cheaper, and within the plan's {allowed} with the whole interval: {named}."
